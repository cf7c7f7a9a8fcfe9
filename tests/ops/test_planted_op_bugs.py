"""The specs are sharp: one line of a shipped op changed, and its spec's checks fail."""

import pytest
from testing.mutants import planted

from tinyvq.errors import GradientError
from tinyvq.function import Function
from tinyvq.ops import _activations as act
from tinyvq.ops import _arithmetic as ari
from tinyvq.ops import _attention as att
from tinyvq.ops import _convolutions as con
from tinyvq.ops import _elementwise as ele
from tinyvq.ops import _gaussian as gau
from tinyvq.ops import _likelihoods as lik
from tinyvq.ops import _losses as los
from tinyvq.ops import _normalization as nor
from tinyvq.ops import _pooling as poo
from tinyvq.ops import _products as pro
from tinyvq.ops import _quantization as qua
from tinyvq.ops import _reductions as red
from tinyvq.ops import _shapes as sha
from tinyvq.ops._specs import SPECS
from tinyvq.testing import OpSpec, verify

SPEC = {spec.name: spec for spec in SPECS}

Bug = tuple[str, type[Function], str, str]
BUGS: list[Bug] = [
    # broadcasting, and operands that are taken for one another
    ("add", ari.Add, "unbroadcast(gy, ctx.shapes[1])", "gy"),
    (
        "sub",
        ari.Sub,
        "unbroadcast(-gy, ctx.shapes[1])",
        "unbroadcast(gy, ctx.shapes[1])",
    ),
    ("mul", ari.Mul, "unbroadcast(gy * ctx.b", "unbroadcast(gy * ctx.a"),
    ("div", ari.Div, "-each * ctx.y", "-gy * ctx.y"),
    ("neg", ari.Neg, "return (-gy,)", "return (gy,)"),
    ("power", ari.Pow, "(self.exponent - 1)", "self.exponent"),
    ("power", ari.Pow, "if self.exponent == 0", "if self.exponent == 1"),
    ("maximum", ari.Maximum, "ctx.a > ctx.b", "ctx.a < ctx.b"),
    ("maximum", ari.Maximum, "unbroadcast(gy * (1 - share), ctx.b.shape)", "gy"),
    ("where", ari.Where, "np.where(ctx.condition, zero, gy)", "gy"),
    # the derivative of a curve
    ("exp", ele.Exp, "gy * ctx.y", "gy * ctx.y * ctx.y"),
    ("log", ele.Log, "gy / ctx.x", "gy * ctx.x"),
    ("sqrt", ele.Sqrt, "(2 * ctx.y)", "ctx.y"),
    ("absolute", ele.Abs, "gy * np.sign(ctx.x)", "gy"),
    ("clip", ele.Clip, "ctx.x <= self.high", "ctx.x <= 2 * self.high"),
    ("relu", act.ReLU, "relu_grad(ctx.y", "relu_grad(ctx.y + 1"),
    ("leaky_relu", act.LeakyReLU, "gy.dtype.type(self.slope)", "gy.dtype.type(0.01)"),
    ("sigmoid", act.Sigmoid, "(1 - ctx.y)", "(1 + ctx.y)"),
    ("silu", act.SiLU, "(ctx.x, gy)", "(gy, ctx.x)"),
    ("tanh", act.Tanh, "1 - ctx.y * ctx.y", "1 - ctx.y"),
    ("softplus", act.Softplus, "logistic(ctx.x)", "logistic(-ctx.x)"),
    ("softplus", act.Softplus, "np.log1p(", "np.log(1 + "),
    ("softmax", act.Softmax, "(gy - inner)", "gy"),
    ("softmax", act.Softmax, "largest, axis=self.axis)", "largest * 0, self.axis)"),
    # axes and counts
    ("sum", red.Sum, "to(gy, ctx.shape)", "to((2 - self.keepdims) * gy, ctx.shape)"),
    ("mean", red.Mean, "gy / n", "gy"),
    ("mean", red.Mean, "n = _count(ctx.shape, self.axis)", "n = ctx.shape[-1]"),
    ("var", red.Var, "(2 / n)", "(2 / (n + self.correction))"),
    ("var", red.Var, "* ctx.centred,)", "* (ctx.centred + 0.1),)"),
    ("max", red.Max, "* share.astype(gy.dtype)", "* 1"),
    # values that move
    ("reshape", sha.Reshape, "gy.reshape(ctx.shape)", "gy.T.reshape(ctx.shape)"),
    ("transpose", sha.Transpose, "np.argsort(self.axes)", "self.axes"),
    (
        "getitem",
        sha.Slice,
        "gx[self.key] = gy",
        "gx[self.key] = gy[::-1] if gy.ndim else 1",
    ),
    ("concatenate", sha.Concatenate, "return tuple(p if n", "return tuple(2 * p if n"),
    ("pad", sha.Pad, "slice(before, before + n)", "slice(0, n)"),
    ("upsample_nearest", sha.UpsampleNearest, "sum(axis=(2, 4))", "mean(axis=(2, 4))"),
    ("upsample_nearest", sha.UpsampleNearest, "w // s, s, c)", "s, w // s, c)"),
    ("avg_pool2d", poo.AvgPool2d, "gx[window] += share", "gx[window] = share"),
    (
        "avg_pool2d",
        poo.AvgPool2d,
        "share = gy / self.size**2",
        "share = gy / self.size",
    ),
    ("avg_pool2d", poo.AvgPool2d, "windows=windows", "windows=windows[:1]"),
    # products
    (
        "matmul",
        pro.MatMul,
        "b.swapaxes(-1, -2)",
        "b.reshape(*b.shape[:-2], -1, len(b))",
    ),
    ("matmul", pro.MatMul, "if b.ndim == 2:", "if b.ndim == 0:"),
    ("linear", pro.Linear, "gb = add_up(rows, 0)", "gb = add_up(rows[1:], 0)"),
    ("linear", pro.Linear, "as_rows(x).T, rows", "as_rows(x).T, 2 * rows"),
    (
        "conv2d",
        con.Conv2d,
        "gx = conv2d_input_grad(gy, w,",
        "gx = conv2d_input_grad(gy, w[::-1],",
    ),
    ("conv2d", con.Conv2d, "gb = _bias_grad(gy)", "gb = _bias_grad(gy[:, 1:])"),
    (
        "conv2d",
        con.Conv2d,
        "conv2d_weight_grad(x, gy,",
        "conv2d_weight_grad(x, gy * 2,",
    ),
    (
        "conv_transpose2d",
        con.ConvTranspose2d,
        "gy = conv2d_kernel(gx, w,",
        "gy = conv2d_kernel(gx, w[:, ::-1],",
    ),
    (
        "conv_transpose2d",
        con.ConvTranspose2d,
        "conv2d_weight_grad(gx, y,",
        "conv2d_weight_grad(gx, y * (self.stride != 2),",
    ),
    # losses, and the decisions of a quantizer
    ("mse_loss", los.MSELoss, "2 / ctx.difference.size", "1 / ctx.difference.size"),
    ("mse_loss", los.MSELoss, "-gx if ctx.needs[1]", "gx if ctx.needs[1]"),
    ("l1_loss", los.L1Loss, "gy / ctx.sign.size", "gy / len(ctx.sign.ravel()[1:])"),
    (
        "huber_loss",
        los.HuberLoss,
        "np.clip(r, -self.delta, self.delta)",
        "np.clip(r, -1, 1)",
    ),
    ("embedding", qua.Embedding, "code_sums(rows,", "code_sums(rows * (rows > 0),"),
    ("straight_through", qua.StraightThrough, "return gy, None", "return 0 * gy, None"),
    ("straight_through", qua.StraightThrough, "codes.copy()", "z.copy()"),
    (
        "vq_loss",
        qua.VQLoss,
        "weight = (self.commitment_weight * scale)",
        "weight = (self.codebook_weight * scale)",
    ),
    ("vq_loss", qua.VQLoss, "(-self.codebook_weight * scale)", "(-1 * scale)"),
    (
        "rotation_trick",
        qua.RotationTrick,
        "2 * z * dot(e, gy)",
        "2 * e * dot(z, gy)",
    ),
    ("rotation_trick", qua.RotationTrick, "turned *= length_e", "turned *= length_z"),
    ("rotation_trick", qua.RotationTrick, "square < np.finfo", "-square < np.finfo"),
    # norms, attention, likelihoods
    ("group_norm", nor.Normalize, "return gx.reshape", "return gy.reshape"),
    ("layer_norm", nor.Normalize, "return y.reshape", "return 1.01 * y.reshape"),
    (
        "batch_norm",
        nor.Normalize,
        "(gy.shape), gw, gb",
        "(gy.shape), gw, gw",
    ),
    ("l2_normalize", nor.L2Normalize, "(gy - y * ", "(gy + y * "),
    ("group_norm", nor.Normalize, "x.reshape(self.items, -1", "x.reshape(1, -1"),
    ("attention", att.Attention, "_heads(v), self.causal)", "_heads(v), False)"),
    ("attention", att.Attention, "_heads(gy), self.causal)", "_heads(gy), False)"),
    ("attention", att.Attention, "(q, k, v, ctx.lse,", "(q, k, v, ctx.lse + 1,"),
    ("gelu", act.GELU, "3 * u - (2 * _LINEAR) * x", "3 * u"),
    ("dropout", ele.Dropout, "gy * ctx.kept / (1 - self.p)", "gy * ctx.kept"),
    ("log_softmax", lik.LogSoftmax, "gy - np.exp", "gy - 2 * np.exp"),
    ("log_softmax", lik.LogSoftmax, "-np.expm1(its_y) * its_gy", "its_gy"),
    ("cross_entropy", lik.CrossEntropy, "np.expm1(ctx", "np.exp(ctx"),
    ("cross_entropy", lik.CrossEntropy, "g *= gy / len(g)", "g *= gy"),
    ("bce_with_logits", lik.BCEWithLogits, "(-gy / x.size)", "(gy / x.size)"),
    ("bce_with_logits", lik.BCEWithLogits, "t * logistic(-x)", "t * logistic(x)"),
    ("max_pool2d", poo.MaxPool2d, "here == ctx.y", "here >= -1"),
    ("max_pool2d", poo.MaxPool2d, "gx[window] +=", "gx[window] ="),
    ("uniform_kl", qua.UniformKL, "* ctx.centred", "* (ctx.centred + ctx.p)"),
    ("uniform_kl", qua.UniformKL, "np.log1p(excess)", "np.log(share)"),
    ("reparameterize", gau.Reparameterize, "gy * ctx.moved / 2", "gy * ctx.moved"),
    ("reparameterize", gau.Reparameterize, "np.exp(log_variance / 2)", "log_variance"),
    ("gaussian_kl", gau.GaussianKL, "* ctx.excess", "* (ctx.excess + 1)"),
    ("gaussian_kl", gau.GaussianKL, "gy / ctx.rows", "gy"),
    ("gaussian_kl", gau.GaussianKL, "(excess - log_variance)", "excess"),
]


@pytest.mark.parametrize(
    ("name", "function", "old", "new"), BUGS, ids=[f"{b[0]}: {b[3]}" for b in BUGS]
)
def test_a_planted_bug_is_rejected(
    name: str, function: type[Function], old: str, new: str
) -> None:
    with planted(function, old, new), pytest.raises(GradientError):
        verify_many(SPEC[name])


def verify_many(spec: OpSpec) -> None:
    for seed in range(100):
        verify(spec, spec.case(seed), seed)


def test_every_op_has_a_planted_bug() -> None:
    assert {name for name, *_ in BUGS} == SPEC.keys()
