"""Every op against PyTorch in float64: value for value, gradient for gradient.

Where an op adds, multiplies and chooses, the inputs are small whole numbers: no
operation rounds, so the two must agree exactly, in whatever order each adds; and there
are zeros and ties, where conventions could differ. Other ops get normal values.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require

from tinyvq import ops
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

torch = require("torch")
F = torch.nn.functional

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]
U64 = 2.0**-53


def whole(*shape: int, seed: int = 0, high: int = 3) -> Array:
    """Draw whole numbers from -high .. high."""
    drawn = Stream(seed, "whole", *shape).integers(2 * high + 1, shape)
    return (drawn - high).astype(np.float64)


def normal(*shape: int, seed: int = 0) -> Array:
    return Stream(seed, "normal", *shape).normal(shape)


def positive(*shape: int) -> Array:
    return np.abs(normal(*shape)) + 0.1


def assert_same(
    ours: Callable[..., Tensor],
    theirs: Callable[..., Any],
    *arrays: Array,
    tolerance: float = 0.0,
) -> None:
    """Hold values and all gradients to PyTorch's.

    tolerance  relative to the largest value that is compared, or to 1
    """
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*xs), theirs(*ts)
    _compare("value", y.numpy(), z, tolerance)
    upstream = normal if tolerance else whole
    gy = upstream(*y.shape, seed=1)
    y.backward(gy)
    z.backward(torch.tensor(gy))
    for i, (x, t) in enumerate(zip(xs, ts, strict=True)):
        assert x.grad is not None
        _compare(f"gradient {i}", x.grad.numpy(), t.grad, tolerance)


def _compare(what: str, ours: Array, theirs: Any, tolerance: float) -> None:
    wanted = theirs.detach().numpy()
    size = np.abs(wanted).max(initial=1.0) if tolerance else 0.0
    np.testing.assert_allclose(
        ours, wanted, rtol=0, atol=tolerance * size, strict=True, err_msg=what
    )


def nchw(x: Any) -> Any:
    return x.permute(0, 3, 1, 2)


def nhwc(x: Any) -> Any:
    return x.permute(0, 2, 3, 1)


AB = (whole(4, 3), whole(4, 3, seed=1))
IMAGE = whole(2, 7, 6, 3)
EXACT: dict[str, tuple[Any, ...]] = {
    "add": (ops.add, torch.add, *AB),
    "add, broadcast": (ops.add, torch.add, whole(2, 1, 3), whole(4, 1)),
    "sub": (ops.sub, torch.sub, *AB),
    "sub, broadcast": (ops.sub, torch.sub, whole(3), whole(2, 4, 1)),
    "mul": (ops.mul, torch.mul, *AB),
    "mul, broadcast": (ops.mul, torch.mul, whole(2, 1, 3), whole(4, 1)),
    "mul, 0-d": (ops.mul, torch.mul, whole(), whole(2, 3)),
    "neg": (ops.neg, torch.neg, whole(4, 3)),
    "maximum, with ties": (ops.maximum, torch.maximum, *AB),
    "maximum, broadcast": (ops.maximum, torch.maximum, whole(4, 3), whole(3)),
    "absolute, with 0": (ops.absolute, torch.abs, whole(20)),
    "clip, at its bounds": (
        lambda x: ops.clip(x, -1.0, 2.0),
        lambda x: torch.clamp(x, -1.0, 2.0),
        whole(20),
    ),
    "relu, with 0": (ops.relu, torch.relu, whole(20)),
    "leaky_relu, with 0": (
        lambda x: ops.leaky_relu(x, 0.25),
        lambda x: F.leaky_relu(x, 0.25),
        whole(20),
    ),
    "sum": (ops.sum, torch.sum, whole(2, 3, 4)),
    "sum, over axes": (
        lambda x: ops.sum(x, axis=(0, -1)),
        lambda x: x.sum(dim=(0, -1)),
        whole(2, 3, 4),
    ),
    "sum, keepdims": (
        lambda x: ops.sum(x, axis=1, keepdims=True),
        lambda x: x.sum(dim=1, keepdim=True),
        whole(2, 3, 4),
    ),
    "sum, of nothing": (
        lambda x: ops.sum(x, axis=1),
        lambda x: x.sum(dim=1),
        np.zeros((2, 0, 4)),
    ),
    "mean": (ops.mean, torch.mean, whole(2, 4, 4)),
    "mean, over axes": (
        lambda x: ops.mean(x, axis=(1, 2), keepdims=True),
        lambda x: x.mean(dim=(1, 2), keepdim=True),
        whole(3, 4, 2),
    ),
    "max": (ops.max, torch.amax, whole(2, 3)),
    "max, with ties": (
        lambda x: ops.max(x, axis=(0, 2)),
        lambda x: x.amax(dim=(0, 2)),
        # One, two and four largest values.
        np.array([[[0.0, -1], [1, 0], [2, 2]], [[-3.0, -1], [1, 0], [2, 2]]]),
    ),
    "reshape": (
        lambda x: ops.reshape(x, 4, -1),
        lambda x: x.reshape(4, -1),
        whole(2, 3, 4),
    ),
    "transpose": (
        lambda x: ops.transpose(x, 2, 0, -2),
        lambda x: x.permute(2, 0, 1),
        whole(2, 3, 4),
    ),
    "transpose, reversed": (
        ops.transpose,
        lambda x: x.permute(2, 1, 0),
        whole(2, 3, 4),
    ),
    "getitem": (
        lambda x: x[1:, ..., None, -2],
        lambda x: x[1:, ..., None, -2],
        whole(3, 2, 4),
    ),
    "concatenate": (
        lambda *xs: ops.concatenate(xs, axis=-1),
        lambda *xs: torch.cat(xs, dim=-1),
        whole(2, 3),
        whole(2, 1),
        whole(2, 4),
    ),
    "pad": (
        lambda x: ops.pad(x, [(0, 0), (2, 1), (0, 3), (0, 0)], -1.0),
        lambda x: F.pad(x, (0, 0, 0, 3, 2, 1), value=-1.0),
        IMAGE,
    ),
    "upsample_nearest": (
        lambda x: ops.upsample_nearest(x, 3),
        lambda x: nhwc(F.interpolate(nchw(x), scale_factor=3, mode="nearest")),
        IMAGE,
    ),
    "avg_pool2d": (
        lambda x: ops.avg_pool2d(x, 2),
        lambda x: nhwc(F.avg_pool2d(nchw(x), 2)),
        IMAGE,
    ),
    "avg_pool2d, overlapping": (
        lambda x: ops.avg_pool2d(x, 4, 1),
        lambda x: nhwc(F.avg_pool2d(nchw(x), 4, 1)),
        IMAGE,
    ),
    "avg_pool2d, with gaps": (
        lambda x: ops.avg_pool2d(x, 2, 3),
        lambda x: nhwc(F.avg_pool2d(nchw(x), 2, 3)),
        IMAGE,
    ),
    "matmul": (ops.matmul, torch.matmul, whole(5, 7), whole(7, 3)),
    "matmul, batched": (ops.matmul, torch.matmul, whole(2, 3, 4, 5), whole(2, 3, 5, 2)),
    "matmul, b shared": (ops.matmul, torch.matmul, whole(2, 3, 4, 5), whole(5, 2)),
    "matmul, of no width": (ops.matmul, torch.matmul, whole(2, 0), whole(0, 3)),
    "linear": (
        ops.linear,
        lambda x, w, b: F.linear(x, w.T, b),
        whole(2, 5, 7),
        whole(7, 3),
        whole(3),
    ),
    "linear, no bias": (
        ops.linear,
        lambda x, w: F.linear(x, w.T),
        whole(7),
        whole(7, 3),
    ),
    "mse_loss": (ops.mse_loss, F.mse_loss, whole(4, 8), whole(4, 8, seed=1)),
    "l1_loss, with 0": (ops.l1_loss, F.l1_loss, whole(4, 8), whole(4, 8, seed=1)),
    "huber_loss, at its bounds": (
        lambda x, y: ops.huber_loss(x, y, 2.0),
        lambda x, y: F.huber_loss(x, y, delta=2.0),
        whole(4, 8),
        whole(4, 8, seed=1),
    ),
    "embedding, of repeated rows": (
        lambda table: ops.embedding(table, np.array([[3, 0], [3, 3]])),
        lambda table: F.embedding(torch.tensor([[3, 0], [3, 3]]), table),
        whole(5, 3),
    ),
    "vq_loss": (
        lambda z, e: ops.vq_loss(z, e, codebook_weight=0.5, commitment_weight=0.25),
        lambda z, e: 0.5 * F.mse_loss(e, z.detach()) + 0.25 * F.mse_loss(z, e.detach()),
        whole(4, 8),
        whole(4, 8, seed=1),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_ops_that_do_not_round_agree_exactly(name: str) -> None:
    assert_same(*EXACT[name])


# Each side makes at most eight roundings, each of half a unit in the last place of a
# number no larger than those compared, or than 1; functions such as exp and tanh count
# for two of them. (Where a result is larger than that, it is the largest.)
EIGHT_EACH = 16 * U64

CURVES: dict[str, tuple[Any, ...]] = {
    "div": (ops.div, torch.div, normal(4, 3), positive(4, 3)),
    "div, broadcast": (ops.div, torch.div, normal(2, 1, 3), positive(4, 1)),
    **{
        f"power {e}": (
            lambda x, e=e: ops.power(x, e),
            lambda x, e=e: torch.pow(x, e),
            positive(20) if e % 1 else normal(20),
        )
        for e in (2.0, 3.0, 1.0, 0.0, 0.5, -1.0, -1.5)
    },
    "power 0 at 0": (
        lambda x: ops.power(x, 0.0),
        lambda x: torch.pow(x, 0.0),
        np.zeros(3),
    ),
    "exp": (ops.exp, torch.exp, normal(20)),
    "log": (ops.log, torch.log, positive(20)),
    "sqrt": (ops.sqrt, torch.sqrt, positive(20)),
    "sigmoid": (ops.sigmoid, torch.sigmoid, normal(20)),
    "sigmoid, far out": (ops.sigmoid, torch.sigmoid, np.array([-800.0, -40, 40, 800])),
    "silu": (ops.silu, F.silu, normal(20)),
    "silu, far out": (ops.silu, F.silu, np.array([-800.0, -40.0, 40.0, 800.0])),
    "tanh": (ops.tanh, torch.tanh, normal(20)),
    "softplus": (ops.softplus, F.softplus, normal(20)),
    "softplus, far out": (ops.softplus, F.softplus, np.array([-800.0, -40.0, 60.0])),
    "softmax": (ops.softmax, lambda x: F.softmax(x, -1), normal(5, 4)),
    "softmax, first axis": (
        lambda x: ops.softmax(x, 0),
        lambda x: F.softmax(x, 0),
        normal(4, 2, 3),
    ),
    "softmax, nearly one-hot": (
        ops.softmax,
        lambda x: F.softmax(x, -1),
        np.array([[0.0, 30.0, -5.0], [1e3, 0.0, 1e3]]),
    ),
    **{
        f"var, correction {c}": (
            lambda x, c=c: ops.var(x, axis=(0, 2), correction=c),
            lambda x, c=c: x.var(dim=(0, 2), correction=c),
            normal(2, 3, 4),
        )
        for c in (0, 1, 3)
    },
    "var, of all": (ops.var, lambda x: x.var(correction=0), normal(2, 3)),
    "uniform_kl": (
        ops.uniform_kl,
        lambda x: (
            (F.softmax(x, -1) * F.log_softmax(x, -1)).sum(-1).mean()
            + np.log(x.shape[-1])
        ),
        normal(5, 4),
    ),
    "reparameterize": (
        lambda mean, s: ops.reparameterize(mean, s, normal(5, 4, seed=2)),
        lambda mean, s: mean + (s / 2).exp() * torch.tensor(normal(5, 4, seed=2)),
        normal(5, 4),
        normal(5, 4, seed=1),
    ),
    "gaussian_kl": (
        ops.gaussian_kl,
        lambda mean, s: (
            torch.distributions.kl_divergence(
                torch.distributions.Normal(mean, (s / 2).exp()),
                torch.distributions.Normal(0.0, 1.0),
            )
            .sum(-1)
            .mean()
        ),
        normal(5, 4),
        normal(5, 4, seed=1),
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_ops_that_round_agree_to_the_last_digits(name: str) -> None:
    assert_same(*CURVES[name], tolerance=EIGHT_EACH)


@pytest.mark.parametrize("condition", [(4, 3), (3,), (4, 1), ()])
def test_where_agrees(condition: tuple[int, ...]) -> None:
    mask = Stream(0, "mask").integers(2, condition).astype(bool)
    assert_same(
        lambda a, b: ops.where(mask, a, b),
        lambda a, b: torch.where(torch.tensor(mask), a, b),
        whole(4, 3),
        whole(3),
    )


def test_straight_through_gives_codes_no_gradient() -> None:
    z = Tensor(whole(4, 3), requires_grad=True)
    codes = Tensor(whole(4, 3, seed=1), requires_grad=True)
    ops.sum(ops.straight_through(z, codes)).backward()
    assert z.grad is not None
    assert codes.grad is None


def test_straight_through_agrees_with_the_detach_form() -> None:
    # PyTorch's form rounds z + (codes - z); whole numbers keep it from that.
    z, codes = whole(4, 3), whole(4, 3, seed=1)
    assert_same(
        lambda z: ops.straight_through(z, codes),
        lambda z: z + (torch.tensor(codes) - z).detach(),
        z,
    )


SETTINGS = [
    {"stride": 1, "padding": 0, "dilation": 1},
    {"stride": 1, "padding": 1, "dilation": 1},
    {"stride": 2, "padding": 1, "dilation": 1},
    {"stride": 3, "padding": 2, "dilation": 1},
    {"stride": 1, "padding": 2, "dilation": 2},
    {"stride": 2, "padding": 0, "dilation": 2},
]
every_kernel = pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (4, 4), (2, 3)])
every_setting = pytest.mark.parametrize(
    "settings", SETTINGS, ids=lambda s: "-".join(str(n) for n in s.values())
)
with_and_without_bias = pytest.mark.parametrize("bias", [True, False])


@every_kernel
@every_setting
@with_and_without_bias
def test_conv2d_agrees(
    kernel: tuple[int, int], settings: dict[str, int], bias: bool
) -> None:
    arrays = [whole(2, 9, 8, 3), whole(*kernel, 3, 5)] + ([whole(5)] if bias else [])
    assert_same(
        lambda *xs: ops.conv2d(*xs, **settings),
        lambda x, w, *b: nhwc(F.conv2d(nchw(x), w.permute(3, 2, 0, 1), *b, **settings)),
        *arrays,
    )


@every_kernel
@every_setting
@with_and_without_bias
def test_conv_transpose2d_agrees_at_every_output_padding(
    kernel: tuple[int, int], settings: dict[str, int], bias: bool
) -> None:
    arrays = [whole(2, 6, 5, 3), whole(*kernel, 5, 3)] + ([whole(5)] if bias else [])
    for output_padding in range(settings["stride"]):
        both = {**settings, "output_padding": output_padding}
        assert_same(
            lambda *xs, both=both: ops.conv_transpose2d(*xs, **both),
            lambda y, w, *b, both=both: nhwc(
                F.conv_transpose2d(nchw(y), w.permute(3, 2, 0, 1), *b, **both)
            ),
            *arrays,
        )


def test_every_public_op_is_compared() -> None:
    from ops.test_torch_networks import NETWORKS

    compared = (*EXACT, *CURVES, *NETWORKS)
    names = {name.partition(",")[0].partition(" ")[0] for name in compared}
    names |= {"where", "straight_through", "conv2d", "conv_transpose2d"}
    assert names == set(ops.__all__)
