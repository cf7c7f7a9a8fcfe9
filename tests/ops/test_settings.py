"""Settings of ops may be NumPy's numbers: no result depends on that."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyvq import ops
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

F, I = np.float64, np.int64

CALLS: dict[str, tuple[Callable[..., Tensor], tuple[Any, ...]]] = {
    "power": (ops.power, (2.0,)),
    "clip": (ops.clip, (-0.5, 0.5)),
    "leaky_relu": (ops.leaky_relu, (0.25,)),
    "huber_loss": (lambda x, d: ops.huber_loss(x, 0.5 * x, d), (0.75,)),
    "vq_loss": (
        lambda x, a, b: ops.vq_loss(x, 0.5 * x, codebook_weight=a, commitment_weight=b),
        (1.0, 0.25),
    ),
    "pad": (lambda x, v: ops.pad(x, [(1, 0)] * 4, v), (0.5,)),
    "sum": (ops.sum, (1,)),
    "mean": (ops.mean, (-1,)),
    "var": (lambda x, a, c: ops.var(x, a, correction=c), (2, 1)),
    "max": (ops.max, (0,)),
    "softmax": (ops.softmax, (1,)),
    "reshape": (ops.reshape, (4, -1)),
    "transpose": (ops.transpose, (0, 2, 1, -1)),
    "getitem": (lambda x, i: x[i, ..., :i], (1,)),
    "concatenate": (lambda x, a: ops.concatenate([x, x], a), (2,)),
    "upsample_nearest": (ops.upsample_nearest, (2,)),
    "avg_pool2d": (ops.avg_pool2d, (2, 1)),
    "max_pool2d": (ops.max_pool2d, (2, 1)),
    "group_norm": (lambda x, g, e: ops.group_norm(x, g, ROW, ROW, e), (3, 1e-3)),
    "layer_norm": (lambda x, e: ops.layer_norm(x, ROW, ROW, e), (1e-3,)),
    "batch_norm": (lambda x, e: ops.batch_norm(x, ROW, ROW, e), (1e-3,)),
    "l2_normalize": (ops.l2_normalize, (1e-3,)),
    "dropout": (lambda x, p: ops.dropout(x, x.array > 0, p), (0.25,)),
    "conv2d": (
        lambda x, s, p, d: ops.conv2d(x, KERNEL, stride=s, padding=p, dilation=d),
        (2, 1, 1),
    ),
    "conv_transpose2d": (
        lambda x, s, p, o: ops.conv_transpose2d(
            x, KERNEL, stride=s, padding=p, output_padding=o
        ),
        (2, 1, 1),
    ),
}
ROW = Tensor(Stream(0, "row").normal(3, "float32"))
KERNEL = Tensor(Stream(0, "kernel").normal((3, 3, 3, 3), "float32"))


@pytest.mark.parametrize("name", CALLS)
def test_numpy_s_numbers_give_the_bits_and_dtype_of_python_s(name: str) -> None:
    op, settings = CALLS[name]
    theirs = [F(s) if isinstance(s, float) else I(s) for s in settings]
    found = []
    for given in (settings, theirs):
        x = Tensor(Stream(0, "x").normal((2, 4, 4, 3), "float32"), requires_grad=True)
        y = op(x, *given)
        y.backward(Stream(0, "gy").normal(y.shape, "float32"))
        assert x.grad is not None
        found.append((y.numpy(), x.grad.numpy()))
    for a, b in zip(*found, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b, strict=True)


def test_several_axes_may_be_listed() -> None:
    x = Tensor(Stream(0, "x").normal((2, 3, 4)))
    for op in (ops.sum, ops.mean, ops.var, ops.max):
        wanted = op(x, axis=(0, 2)).numpy()
        np.testing.assert_array_equal(op(x, axis=[-3, 2]).numpy(), wanted)
