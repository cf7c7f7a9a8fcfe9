"""What each op is, said once: how to draw a call of it, and its value in plain NumPy.

`tinyvq gradcheck` and the tests derive every check from these. The references are
written to be plainly right: loops over pixels and taps where that says it best.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyvq import ops
from tinyvq.function import Array, Function
from tinyvq.ops import _activations as act
from tinyvq.ops import _arithmetic as ari
from tinyvq.ops import _convolutions as con
from tinyvq.ops import _elementwise as ele
from tinyvq.ops import _losses as los
from tinyvq.ops import _products as pro
from tinyvq.ops import _quantization as qua
from tinyvq.ops import _reductions as red
from tinyvq.ops import _shapes as sha
from tinyvq.testing import Case, Draw, OpSpec


def _pair(draw: Draw, **how: Any) -> Case:
    """Two operands that broadcast."""
    shape = draw.shape()
    other = draw.broadcastable(shape)
    shapes = draw.choice(((shape, other), (other, shape)))
    return Case(tuple(draw.array(s, **how) for s in shapes))


def _one(**how: Any) -> Callable[[Draw], Case]:
    """One operand of any shape."""
    return lambda draw: Case((draw.array(draw.shape(), **how),))


def _distinct_pair(draw: Draw) -> Case:
    """Two operands that broadcast, no two values of them equal."""
    shape = draw.shape()
    other = draw.broadcastable(shape)
    n, m = math.prod(shape), math.prod(other)
    values = draw.array((n + m,), distinct=True)
    return Case((values[:n].reshape(shape), values[n:].reshape(other)))


def _power_case(draw: Draw) -> Case:
    if draw.choice((True, False)):
        exponent = draw.choice((2.0, 0.0, 1.0, 3.0, -1.0, 0.5, -2.5))
        return Case((draw.array(draw.shape(), positive=True),), {"exponent": exponent})
    whole = {"exponent": draw.choice((2.0, 0.0, 1.0, 3.0, -1.0, -2.0))}
    return Case((draw.array(draw.shape(), away_from=0.0),), whole)


def _power_reference(x: Array, exponent: float) -> Array:
    odd = exponent % 2 == 1
    size = np.exp(exponent * np.log(np.abs(x)))
    return np.where((x < 0) & odd, -size, size)


def _away_pair(draw: Draw) -> Case:
    """Two operands of one shape, nowhere nearer than a gap."""
    x = draw.array(draw.shape(sides=(1, 5)))
    return Case((x, x - draw.array(x.shape, away_from=0.0)))


def _where_case(draw: Draw) -> Case:
    shape = draw.shape()
    condition = draw.indices(2, draw.broadcastable(shape)).astype(bool)
    return Case((condition, draw.array(shape), draw.array(draw.broadcastable(shape))))


def _logits(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Logits of probabilities that are mixed, or nearly 0 and 1."""
    return draw.choice((1.0, 8.0)) * draw.array(shape)


def _logits_case(draw: Draw) -> Case:
    return Case((_logits(draw, draw.shape()),))


def _softmax_case(draw: Draw) -> Case:
    shape = list(draw.shape(dims=(1, 4)))
    axis = draw.integer(-len(shape), len(shape) - 1)
    shape[axis] = draw.integer(1, 5)
    return Case((_logits(draw, tuple(shape)),), {"axis": axis})


ARITHMETIC = (
    OpSpec("add", ops.add, _pair, lambda a, b: a + b, (ari.Add,), linear_in=((0, 1),)),
    OpSpec("sub", ops.sub, _pair, lambda a, b: a - b, (ari.Sub,), linear_in=((0, 1),)),
    OpSpec(
        "mul", ops.mul, _pair, lambda a, b: a * b, (ari.Mul,), linear_in=((0,), (1,))
    ),
    OpSpec(
        "div",
        ops.div,
        lambda draw: _pair(draw, away_from=0.0, gap=0.3),
        lambda a, b: a / b,
        (ari.Div,),
        linear_in=((0,),),
    ),
    OpSpec("neg", ops.neg, _one(), lambda x: -x, (ari.Neg,), linear_in=((0,),)),
    OpSpec(
        "power",
        ops.power,
        _power_case,
        _power_reference,
        (ari.Pow,),
    ),
    OpSpec(
        "maximum",
        ops.maximum,
        _distinct_pair,
        lambda a, b: np.where(a > b, a, b),
        (ari.Maximum,),
    ),
    OpSpec(
        "where",
        ops.where,
        _where_case,
        lambda c, a, b: c * a + (1 - c) * b,
        (ari.Where,),
        linear_in=((1, 2),),
        constants=(0,),
    ),
)


ELEMENTWISE = (
    OpSpec("exp", ops.exp, _one(), lambda x: np.e**x, (ele.Exp,)),
    OpSpec(
        "log",
        ops.log,
        _one(positive=True),
        lambda x: np.log2(x) / np.log2(np.e),
        (ele.Log,),
    ),
    OpSpec("sqrt", ops.sqrt, _one(positive=True), lambda x: x**0.5, (ele.Sqrt,)),
    OpSpec(
        "absolute",
        ops.absolute,
        _one(away_from=0.0),
        lambda x: np.where(x < 0, -x, x),
        (ele.Abs,),
    ),
    OpSpec(
        "clip",
        ops.clip,
        lambda draw: Case(
            (draw.array(draw.shape(), away_from=(-0.5, 0.8)),),
            {"low": -0.5, "high": 0.8},
        ),
        lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x)),
        (ele.Clip,),
    ),
)

ACTIVATIONS = (
    OpSpec(
        "relu",
        ops.relu,
        _one(away_from=0.0),
        lambda x: np.where(x > 0, x, 0.0),
        (act.ReLU,),
    ),
    OpSpec(
        "leaky_relu",
        ops.leaky_relu,
        lambda draw: Case(
            (draw.array(draw.shape(), away_from=0.0),),
            {"slope": draw.choice((0.01, 0.0, 0.2))},
        ),
        lambda x, slope: np.where(x > 0, x, slope * x),
        (act.LeakyReLU,),
    ),
    OpSpec(
        "sigmoid", ops.sigmoid, _one(), lambda x: 1 / (1 + np.e**-x), (act.Sigmoid,)
    ),
    OpSpec("silu", ops.silu, _logits_case, lambda x: x / (1 + np.e**-x), (act.SiLU,)),
    OpSpec("tanh", ops.tanh, _one(), lambda x: np.sinh(x) / np.cosh(x), (act.Tanh,)),
    OpSpec(
        "softplus",
        ops.softplus,
        _logits_case,
        lambda x: np.logaddexp(0, x),
        (act.Softplus,),
    ),
    OpSpec(
        "softmax",
        ops.softmax,
        _softmax_case,
        lambda x, axis: np.e**x / (np.e**x).sum(axis=axis, keepdims=True),
        (act.Softmax,),
    ),
)


def _reduction_case(draw: Draw, least: int = 1, distinct: bool = False) -> Case:
    """At least so many values along each axis that is reduced; 0 along others too."""
    ndim = draw.integer(0, 4)
    axes = tuple(range(ndim))
    axis = None
    if ndim:
        axis = draw.choice((None, 0, -1, axes[: draw.integer(0, ndim)], axes[::-2]))
    reduced = _axes(ndim, axis)
    shape = tuple(draw.integer(least if a in reduced else 0, 5) for a in axes)
    x = draw.array(shape, distinct=distinct)
    return Case((x,), {"axis": axis, "keepdims": draw.choice((False, True))})


def _var_case(draw: Draw) -> Case:
    case = _reduction_case(draw, least=2)
    (x,) = case.args
    single = not _axes(x.ndim, case.settings["axis"])  # each value is its own mean
    correction = 0 if single else draw.choice((0, 1))
    return Case(case.args, {**case.settings, "correction": correction})


def _reduce(x: Array, axis: Any, keepdims: bool, by: Callable[[Any], float]) -> Array:
    """Apply `by` to each list of values that is reduced to one."""
    axes = _axes(x.ndim, axis)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    shape, reduced = ([x.shape[a] for a in group] for group in (kept, axes))
    lists = x.transpose(kept + axes).reshape(math.prod(shape), math.prod(reduced))
    y = np.array([by(list(values)) for values in lists]).reshape(shape)
    return np.expand_dims(y, axes) if keepdims else y


def _axes(ndim: int, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def _variance(values: list[float], correction: int) -> float:
    centre = sum(values) / len(values)
    return sum((v - centre) ** 2 for v in values) / (len(values) - correction)


REDUCTIONS = (
    OpSpec(
        "sum",
        ops.sum,
        lambda draw: _reduction_case(draw, least=0),
        lambda x, axis, keepdims: _reduce(x, axis, keepdims, sum),
        (red.Sum,),
        linear_in=((0,),),
    ),
    OpSpec(
        "mean",
        ops.mean,
        _reduction_case,
        lambda x, axis, keepdims: _reduce(x, axis, keepdims, lambda v: sum(v) / len(v)),
        (red.Mean,),
        linear_in=((0,),),
    ),
    OpSpec(
        "var",
        ops.var,
        _var_case,
        lambda x, axis, keepdims, correction: _reduce(
            x, axis, keepdims, lambda v: _variance(v, correction)
        ),
        (red.Var,),
    ),
    OpSpec(
        "max",
        ops.max,
        lambda draw: _reduction_case(draw, distinct=True),
        lambda x, axis, keepdims: _reduce(x, axis, keepdims, max),
        (red.Max,),
    ),
)


def _reshape_case(draw: Draw) -> Case:
    sides = draw.shape(dims=(1, 4))
    total = int(np.prod(sides))
    shape = draw.choice(((total,), sides[::-1], (1, total), (*sides, 1)))
    return Case((draw.array(sides),), {"shape": shape})


def _slice_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(dims=(2, 4), sides=(1, 5)))
    first, second = x.shape[:2]
    keys: tuple[Any, ...] = (
        (slice(None, None, 2),),
        (draw.integer(-first, first - 1),),
        (..., slice(1, None)),
        (slice(None, None, -1), draw.integer(0, second - 1)),
        (None, slice(0, 0)),
        (slice(None), None, slice(draw.integer(0, second), None)),
    )
    return Case((x,), {"key": draw.choice(keys)})


def _concatenate_case(draw: Draw) -> Case:
    shape = draw.shape(dims=(1, 3))
    axis = draw.integer(0, len(shape) - 1)
    parts = [(*shape[:axis], draw.integer(0, 4), *shape[axis + 1 :]) for _ in range(3)]
    return Case(tuple(draw.array(part) for part in parts), {"axis": axis})


def _concatenate_reference(*xs: Array, axis: int) -> Array:
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    y, at = np.empty(shape), 0
    for x in xs:
        np.moveaxis(y, axis, 0)[at : at + x.shape[axis]] = np.moveaxis(x, axis, 0)
        at += x.shape[axis]
    return y


def _pad_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(dims=(1, 4), sides=(0, 3)))
    widths = [(draw.integer(0, 2), draw.integer(0, 2)) for _ in x.shape]
    return Case((x,), {"widths": widths, "value": 0.0})


def _pad_reference(x: Array, widths: Any, value: float) -> Array:
    sides = [b + n + a for (b, a), n in zip(widths, x.shape, strict=True)]
    y = np.full(sides, value)
    for at in np.ndindex(x.shape):
        y[tuple(i + b for i, (b, _) in zip(at, widths, strict=True))] = x[at]
    return y


def _image(draw: Draw, least: int = 1) -> Array:
    n, c = draw.integer(0, 2), draw.integer(1, 3)
    return draw.array((n, draw.integer(least, 6), draw.integer(least, 6), c))


def _pool_case(draw: Draw) -> Case:
    size = draw.integer(1, 3)
    return Case((_image(draw, size),), {"size": size, "stride": draw.integer(1, 3)})


def _pool_reference(x: Array, size: int, stride: int) -> Array:
    p, q = ((n - size) // stride + 1 for n in x.shape[1:3])
    y = np.empty((x.shape[0], p, q, x.shape[3]))
    for u, v in itertools.product(range(p), range(q)):
        window = x[:, u * stride : u * stride + size, v * stride : v * stride + size]
        y[:, u, v] = window.mean(axis=(1, 2))
    return y


SHAPES = (
    OpSpec(
        "reshape",
        lambda x, shape: ops.reshape(x, *shape),
        _reshape_case,
        lambda x, shape: np.array(list(x.flat)).reshape(shape),
        (sha.Reshape,),
        linear_in=((0,),),
    ),
    OpSpec(
        "transpose",
        lambda x, axes: ops.transpose(x, *axes),
        lambda draw: Case(
            (draw.array((2, 3, 1, 4)),),
            {"axes": draw.choice(((), (0, 2, 3, 1), (3, 1, 0, 2), (-1, 0, 1, 2)))},
        ),
        lambda x, axes: np.einsum(
            x, list(range(4)), [a % 4 for a in axes or (3, 2, 1, 0)]
        ),
        (sha.Transpose,),
        linear_in=((0,),),
    ),
    OpSpec(
        "getitem",
        ops.getitem,
        _slice_case,
        lambda x, key: x[key].copy(),
        (sha.Slice,),
        linear_in=((0,),),
    ),
    OpSpec(
        "concatenate",
        lambda *xs, axis: ops.concatenate(xs, axis),
        _concatenate_case,
        _concatenate_reference,
        (sha.Concatenate,),
        linear_in=((0, 1, 2),),
    ),
    OpSpec(
        "pad",
        ops.pad,
        _pad_case,
        _pad_reference,
        (sha.Pad,),
        linear_in=((0,),),
    ),
    OpSpec(
        "upsample_nearest",
        ops.upsample_nearest,
        lambda draw: Case((_image(draw),), {"scale": draw.integer(1, 3)}),
        lambda x, scale: np.kron(x, np.ones((1, scale, scale, 1))),
        (sha.UpsampleNearest,),
        linear_in=((0,),),
    ),
    OpSpec(
        "avg_pool2d",
        ops.avg_pool2d,
        _pool_case,
        _pool_reference,
        (sha.AvgPool2d,),
        linear_in=((0,),),
    ),
)


def _matmul_case(draw: Draw) -> Case:
    batch = draw.shape(dims=(0, 2), sides=(0, 3))
    i, l, j = (draw.integer(0, 9) for _ in range(3))
    shared = draw.choice((False, True))
    b = draw.array((l, j) if shared else (*batch, l, j))
    return Case((draw.array((*batch, i, l)), b))


def _linear_case(draw: Draw) -> Case:
    c, k = draw.integer(0, 9), draw.integer(0, 9)
    x = draw.array((*draw.shape(dims=(0, 2), sides=(0, 3)), c))
    b = draw.array((k,)) if draw.choice((True, False)) else None
    return Case((x, draw.array((c, k)), b))


def _conv_case(draw: Draw) -> Case:
    g = draw.conv()
    b = draw.array((g.k,)) if draw.choice((True, False)) else None
    return Case((draw.array(g.image), draw.array(g.kernel), b), g.settings)


def _transposed_case(draw: Draw) -> Case:
    g = draw.conv()
    y = draw.array((g.n, draw.integer(1, 4), draw.integer(1, 4), g.k))
    # Large enough that padding leaves a pixel.
    settings = {**g.settings, "padding": min(g.padding, (min(g.r, g.s) - 1) // 2)}
    settings["output_padding"] = draw.integer(0, g.stride - 1)
    b = draw.array((g.c,)) if draw.choice((True, False)) else None
    return Case((y, draw.array(g.kernel), b), settings)


def _conv_reference(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Sum tap by tap, pixel by pixel, as the definition reads."""
    (n, h, wide, _), (rows, cols, _, k) = x.shape, w.shape
    p, q = (
        (side + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for side, taps in ((h, rows), (wide, cols))
    )
    y = np.zeros((n, p, q, k)) + (0 if b is None else b)
    for u, v, r, s in np.ndindex(p, q, rows, cols):
        i = u * stride + r * dilation - padding
        j = v * stride + s * dilation - padding
        if 0 <= i < h and 0 <= j < wide:
            y[:, u, v] += x[:, i, j] @ w[r, s]
    return y


def _transposed_reference(
    y: Array,
    w: Array,
    b: Array | None,
    stride: int,
    padding: int,
    dilation: int,
    output_padding: int,
) -> Array:
    """Paint each input pixel's patch into the output, tap by tap."""
    (n, p, q, _), (rows, cols, c, _) = y.shape, w.shape
    h, wide = (
        (side - 1) * stride - 2 * padding + dilation * (taps - 1) + 1 + output_padding
        for side, taps in ((p, rows), (q, cols))
    )
    x = np.zeros((n, h, wide, c)) + (0 if b is None else b)
    for u, v, r, s in np.ndindex(p, q, rows, cols):
        i = u * stride + r * dilation - padding
        j = v * stride + s * dilation - padding
        if 0 <= i < h and 0 <= j < wide:
            x[:, i, j] += y[:, u, v] @ w[r, s].T
    return x


PRODUCTS = (
    OpSpec(
        "matmul",
        ops.matmul,
        _matmul_case,
        lambda a, b: (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2),
        (pro.MatMul,),
        linear_in=((0,), (1,)),
    ),
    OpSpec(
        "linear",
        ops.linear,
        _linear_case,
        lambda x, w, b: (x[..., None] * w).sum(axis=-2) + (0 if b is None else b),
        (pro.Linear,),
    ),
    OpSpec("conv2d", ops.conv2d, _conv_case, _conv_reference, (con.Conv2d,)),
    OpSpec(
        "conv_transpose2d",
        ops.conv_transpose2d,
        _transposed_case,
        _transposed_reference,
        (con.ConvTranspose2d,),
    ),
)


def _same_shape_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(sides=(1, 5)))
    return Case((x, draw.array(x.shape)))


def _huber_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(sides=(1, 5)))
    delta = draw.choice((1.0, 0.5))
    r = draw.array(x.shape, away_from=(-delta, delta))
    return Case((x, x - r), {"delta": delta})


def _huber_reference(x: Array, y: Array, delta: float) -> Array:
    r = np.abs(x - y)
    return np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)).mean()


LOSSES = (
    OpSpec(
        "mse_loss",
        ops.mse_loss,
        _same_shape_case,
        lambda x, y: ((x - y) ** 2).mean(),
        (los.MSELoss,),
    ),
    OpSpec(
        "l1_loss",
        ops.l1_loss,
        _away_pair,
        lambda x, y: np.abs(x - y).mean(),
        (los.L1Loss,),
    ),
    OpSpec(
        "huber_loss", ops.huber_loss, _huber_case, _huber_reference, (los.HuberLoss,)
    ),
)


def _embedding_case(draw: Draw) -> Case:
    m, d = draw.integer(1, 9), draw.integer(0, 5)
    return Case((draw.array((m, d)), draw.indices(m, draw.shape(dims=(0, 3)))))


def _uniform_kl_reference(logits: Array) -> Array:
    # Σ p log (p M) cancels where all p are nearly 1/M: more digits make up for it.
    p = np.exp(logits.astype(np.longdouble))
    p /= p.sum(axis=-1, keepdims=True)
    return (p * np.log(p * logits.shape[-1])).sum(axis=-1).mean()


def _frozen_vq_loss(
    z: Array, codes: Array, codebook_weight: float, commitment_weight: float
) -> Callable[..., Array]:
    """The loss with each term's stopped side held where it was."""

    def loss(z_now: Array, codes_now: Array) -> Array:
        codebook = ((z - codes_now) ** 2).mean()
        commitment = ((z_now - codes) ** 2).mean()
        return codebook_weight * codebook + commitment_weight * commitment

    return loss


QUANTIZATION = (
    OpSpec(
        "embedding",
        ops.embedding,
        _embedding_case,
        lambda table, indices: np.eye(len(table))[indices] @ table,
        (qua.Embedding,),
        linear_in=((0,),),
        constants=(1,),
    ),
    OpSpec(
        "straight_through",
        ops.straight_through,
        _same_shape_case,
        lambda z, codes: codes + 0.0,
        (qua.StraightThrough,),
        constants=(1,),
        # y = z + sg(codes - z): the value of codes, the derivative of z.
        surrogate=lambda z, codes: lambda z_now, codes_now: z_now + (codes - z),
    ),
    OpSpec(
        "vq_loss",
        ops.vq_loss,
        lambda draw: Case(
            _same_shape_case(draw).args,
            {
                "codebook_weight": draw.choice((1.0, 0.0, 0.5)),
                "commitment_weight": draw.choice((0.25, 0.0, 2.0)),
            },
        ),
        lambda z, e, codebook_weight, commitment_weight: (
            (codebook_weight + commitment_weight) * ((z - e) ** 2).mean()
        ),
        (qua.VQLoss,),
        surrogate=_frozen_vq_loss,
    ),
    OpSpec(
        "uniform_kl",
        ops.uniform_kl,
        lambda draw: Case((_logits(draw, draw.shape(dims=(1, 3), sides=(1, 5))),)),
        _uniform_kl_reference,
        (qua.UniformKL,),
    ),
)

SPECS: tuple[OpSpec, ...] = (
    *ARITHMETIC,
    *ELEMENTWISE,
    *ACTIVATIONS,
    *REDUCTIONS,
    *SHAPES,
    *PRODUCTS,
    *LOSSES,
    *QUANTIZATION,
)


def covered() -> set[type[Function]]:
    """Collect the Function classes that the specs cover."""
    return {function for spec in SPECS for function in spec.functions}
