"""Long sums of float32 lose nothing, over whichever axis they run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import ops
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

Array = npt.NDArray[Any]
U32, U64 = 2.0**-24, 2.0**-53
N = 20_000


def uniform(*shape: int) -> Array:
    return Stream(0, "uniform", *shape).uniform(shape, dtype="float32")


def assert_close(got: Array, exact: Array, roundings: int) -> None:
    """Within so many roundings of float32, and those of N additions in float64."""
    assert got.dtype == np.float32
    rtol = roundings * U32 + N * U64
    np.testing.assert_allclose(got, exact, rtol=rtol, atol=0)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((N, 3), 0), ((3, N), 1), ((100, 3, 200), (0, 2)), ((N // 4, 2, 2), None)],
)
def test_sums_and_means_over_any_axis(shape: tuple[int, ...], axis: Any) -> None:
    x = uniform(*shape)
    exact = x.astype(np.float64)
    assert_close(ops.sum(x, axis).numpy(), exact.sum(axis=axis), 1)
    assert_close(ops.mean(x, axis).numpy(), exact.mean(axis=axis), 2)


def test_variances() -> None:
    x = 1 + uniform(N, 3)
    # A mean that is off by δ adds δ² to the variance: nothing. The difference counts
    # twice in its square; then come the square itself, the sum and the quotient.
    assert_close(ops.var(x, 0).numpy(), x.astype(np.float64).var(axis=0), 5)


def gradient_of(op: Callable[[Tensor], Tensor], x: Array, gy: Array) -> Array:
    tensor = Tensor(x, requires_grad=True)
    op(tensor).backward(gy)
    assert tensor.grad is not None
    return tensor.grad.numpy()


def test_the_gradient_of_an_operand_that_was_repeated() -> None:
    gy = uniform(N, 3)
    exact = gy.astype(np.float64).sum(axis=0)
    x = Tensor(np.zeros((N, 3), "float32"))
    assert_close(gradient_of(lambda b: x + b, np.zeros(3, "float32"), gy), exact, 1)


def test_the_gradient_of_a_bias() -> None:
    gy = uniform(N, 3)
    exact = gy.astype(np.float64).sum(axis=0)
    x, w = Tensor(np.zeros((N, 2), "float32")), Tensor(np.zeros((2, 3), "float32"))
    bias = np.zeros(3, "float32")
    assert_close(gradient_of(lambda b: ops.linear(x, w, b), bias, gy), exact, 1)


def test_the_gradient_of_a_convolution_s_bias() -> None:
    """64 pixels, at most, are added in float32 (LINK of the kernel)."""
    gy = uniform(1, 256, 256, 2)
    exact = gy.astype(np.float64).sum(axis=(0, 1, 2))
    x, w = (Tensor(np.zeros(s, "float32")) for s in ((1, 256, 256, 1), (1, 1, 1, 2)))
    bias = np.zeros(2, "float32")
    assert_close(gradient_of(lambda b: ops.conv2d(x, w, b), bias, gy), exact, 64)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_sums_of_integers_are_exact(dtype: str) -> None:
    x = np.ones((300, 2), dtype)
    total = ops.sum(x, axis=0).numpy()
    assert total.tolist() == [300, 300]
    assert total.dtype.kind in "iu"
