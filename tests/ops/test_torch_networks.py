"""The ops of VQ-GANs and priors, value for value and gradient for gradient."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ops.test_torch import F, assert_same, nchw, nhwc, normal, torch, whole

from tinyvq import ops
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]
# Sums of up to 500 terms in float64, a few of them after each other; compared relative
# to the largest value.
TOLERANCE = 8 * 500 * 2.0**-53


def rotated(z: Any, codes: Any) -> Any:
    """Write the rotation trick as most people do: R and the lengths detached."""
    length_z, length_e = (v.norm(dim=-1, keepdim=True).detach() for v in (z, codes))
    u, q = (z / length_z).detach(), (codes / length_e).detach()
    r = u + q
    r = r / r.norm(dim=-1, keepdim=True)
    turned = (
        z
        - 2 * (z * r).sum(-1, keepdim=True) * r
        + 2 * (z * u).sum(-1, keepdim=True) * q
    )
    return turned * (length_e / length_z)


def targets(high: int, *shape: int) -> Array:
    return Stream(3, "targets").integers(high, shape)


CODES = normal(3, 4, 5, seed=9)
KEPT = normal(4, 7, seed=5) > -0.5
CLASSES = targets(6, 4, 3)

NETWORKS: dict[str, tuple[Any, ...]] = {
    "gelu": (ops.gelu, lambda x: F.gelu(x, approximate="tanh"), normal(30)),
    "gelu, far out": (
        ops.gelu,
        lambda x: F.gelu(x, approximate="tanh"),
        np.array([-60.0, -9.0, 9.0, 60.0]),
    ),
    "dropout": (
        lambda x: ops.dropout(x, Tensor(KEPT), 0.3),
        lambda x: x * torch.tensor(KEPT) / 0.7,
        normal(4, 7),
    ),
    **{
        f"group_norm, {groups} groups": (
            lambda x, w, b, g=groups: ops.group_norm(x, g, w, b),
            lambda x, w, b, g=groups: nhwc(F.group_norm(nchw(x), g, w, b, 1e-6)),
            *(normal(3, 5, 4, 6), normal(6, seed=1), normal(6, seed=2)),
        )
        for groups in (1, 2, 3, 6)
    },
    "layer_norm": (
        ops.layer_norm,
        lambda x, w, b: F.layer_norm(x, (7,), w, b),
        *(normal(3, 4, 7), normal(7, seed=1), normal(7, seed=2)),
    ),
    "batch_norm": (
        ops.batch_norm,
        lambda x, w, b: nhwc(F.batch_norm(nchw(x), None, None, w, b, training=True)),
        *(normal(3, 5, 4, 6), normal(6, seed=1), normal(6, seed=2)),
    ),
    "l2_normalize": (
        ops.l2_normalize,
        lambda x: x / (x.square().sum(-1, keepdim=True) + 1e-12).sqrt(),
        normal(4, 5),
    ),
    **{
        f"attention, {'causal' if causal else 'all'}": (
            lambda q, k, v, c=causal: ops.attention(q, k, v, causal=c),
            lambda q, k, v, c=causal: F.scaled_dot_product_attention(
                q, k, v, is_causal=c
            ),
            *(normal(2, 3, 5, 4), normal(2, 3, 5, 4, seed=1), normal(2, 3, 5, 6)),
        )
        for causal in (False, True)
    },
    "attention, fewer queries": (
        lambda q, k, v: ops.attention(q, k, v, causal=True),
        lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, attn_mask=torch.ones(2, 5, dtype=torch.bool).tril(3)
        ),
        *(normal(2, 3, 2, 4), normal(2, 3, 5, 4, seed=1), normal(2, 3, 5, 6)),
    ),
    "log_softmax": (ops.log_softmax, lambda x: F.log_softmax(x, -1), normal(5, 4)),
    "log_softmax, far out": (
        ops.log_softmax,
        lambda x: F.log_softmax(x, -1),
        np.array([[0.0, 800.0, -800.0], [1e3, 0.0, 1e3]]),
    ),
    "cross_entropy": (
        lambda x: ops.cross_entropy(x, CLASSES),
        lambda x: F.cross_entropy(x.flatten(0, 1), torch.tensor(CLASSES.reshape(-1))),
        normal(4, 3, 6),
    ),
    "bce_with_logits": (
        ops.bce_with_logits,
        F.binary_cross_entropy_with_logits,
        *(normal(20), np.abs(np.sin(np.arange(20.0)))),
    ),
    "bce_with_logits, far out": (
        lambda x: ops.bce_with_logits(x, np.array([1.0, 0.0, 1.0, 0.0])),
        lambda x: F.binary_cross_entropy_with_logits(
            x, torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
        ),
        np.array([-800.0, 800.0, 40.0, -40.0]),
    ),
    "max_pool2d": (
        lambda x: ops.max_pool2d(x, 2),
        lambda x: nhwc(F.max_pool2d(nchw(x), 2)),
        normal(2, 6, 5, 3),
    ),
    "max_pool2d, overlapping": (
        lambda x: ops.max_pool2d(x, 3, 2),
        lambda x: nhwc(F.max_pool2d(nchw(x), 3, 2)),
        normal(2, 8, 7, 3),
    ),
    "max_pool2d, ties": (
        lambda x: ops.max_pool2d(x, 3, 1),
        lambda x: nhwc(F.max_pool2d(nchw(x), 3, 1)),
        whole(2, 6, 6, 2, high=1),
    ),
    "rotation_trick": (
        lambda z: ops.rotation_trick(z, CODES),
        lambda z: rotated(z, torch.tensor(CODES)),
        normal(3, 4, 5),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_ops_of_networks_agree(name: str) -> None:
    assert_same(*NETWORKS[name], tolerance=TOLERANCE)


ROWS = targets(40, 60)
# Our op, PyTorch's, and the inputs.
SINGLE: dict[str, tuple[Any, ...]] = {
    "group_norm": (
        lambda x, w, b: ops.group_norm(x, 8, w, b),
        lambda x, w, b: nhwc(F.group_norm(nchw(x), 8, w, b, 1e-6)),
        *(normal(4, 14, 14, 64) + 3, normal(64, seed=1), normal(64, seed=2)),
    ),
    "layer_norm": (
        ops.layer_norm,
        lambda x, w, b: F.layer_norm(x, (128,), w, b),
        *(normal(300, 128) + 3, normal(128, seed=1), normal(128, seed=2)),
    ),
    "batch_norm": (
        ops.batch_norm,
        lambda x, w, b: nhwc(F.batch_norm(nchw(x), None, None, w, b, training=True)),
        *(normal(4, 14, 14, 64) + 3, normal(64, seed=1), normal(64, seed=2)),
    ),
    **{
        f"attention, {'causal' if causal else 'all'}": (
            lambda q, k, v, c=causal: ops.attention(q, k, v, causal=c),
            lambda q, k, v, c=causal: F.scaled_dot_product_attention(
                q, k, v, is_causal=c
            ),
            *(normal(2, 2, 49, 32, seed=i) for i in range(3)),
        )
        for causal in (False, True)
    },
    "gelu": (ops.gelu, lambda x: F.gelu(x, approximate="tanh"), normal(5000)),
    "silu": (ops.silu, F.silu, normal(5000)),
    "cross_entropy": (
        lambda x: ops.cross_entropy(x, ROWS),
        lambda x: F.cross_entropy(x, torch.tensor(ROWS)),
        5 * normal(60, 40),
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_in_float32_the_error_is_at_most_twice_pytorchs(name: str) -> None:
    """Root mean squares over all values, both against our float64.

    Where PyTorch happens to be nearly exact, that of rounding the result is allowed:
    half a unit in the last place of the largest, u, as of uniform errors u/√3.
    """
    op, peer, *arrays = SINGLE[name]

    def ours(dtype: Any) -> list[Array]:
        xs = [Tensor(a, requires_grad=True) for a in single]
        for x in xs:
            x.convert(dtype)
        y = op(*xs)
        y.backward(gy.astype(dtype))
        return [y.numpy(), *(x.grad.numpy() for x in xs if x.grad is not None)]

    single = [a.astype(np.float32) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in single]
    z = peer(*ts)
    gy = normal(*z.shape, seed=3).astype(np.float32)
    z.backward(torch.tensor(gy))
    theirs = [z.detach().numpy(), *(t.grad.numpy() for t in ts)]
    for mine, other, exact in zip(
        ours(np.float32), theirs, ours(np.float64), strict=True
    ):
        assert mine.dtype == other.dtype == np.float32
        noise = np.sqrt(exact.size) * np.abs(exact).max() * 2.0**-24 / 3**0.5
        allowed = max(2 * np.linalg.norm(other - exact), noise)
        assert np.linalg.norm(mine - exact) <= allowed
