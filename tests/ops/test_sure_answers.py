"""Where an answer is nearly certain, or a value far out, no digits are lost.

What is left to learn there is small, and must not drown in the rounding of what is
large: losses and gradients of float32 are held to the exact ones relative to
themselves.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import ops
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

Array = npt.NDArray[np.float32]
U32 = 2.0**-24


def value_and_gradient(
    op: Callable[[Tensor], Tensor], x: Array, gy: Array | None = None
) -> tuple[Array, Array]:
    tensor = Tensor(np.asarray(x, np.float32), requires_grad=True)
    y = op(tensor)
    y.backward(gy)
    assert tensor.grad is not None
    return y.numpy(), tensor.grad.numpy()


# Each value here is made by at most eight roundings; exp, expm1 and log1p are off by up
# to 4 units, and exp(-30) of float32 by no more, since 30 is a float32.
def assert_close(got: Array, wanted: object) -> None:
    np.testing.assert_allclose(got, wanted, rtol=24 * U32, atol=0)


@pytest.mark.parametrize("gap", [1.0, 8.0, 30.0, 80.0])
def test_the_cross_entropy_of_a_sure_and_right_answer(gap: float) -> None:
    loss, gradient = value_and_gradient(
        lambda x: ops.cross_entropy(x, np.array([0])), np.array([[gap, 0.0]])
    )
    wrong = math.exp(-gap) / (1 + math.exp(-gap))
    assert_close(loss, math.log1p(math.exp(-gap)))
    assert_close(gradient, [[-wrong, wrong]])


@pytest.mark.parametrize("gap", [1.0, 8.0, 30.0, 80.0])
def test_the_log_softmax_of_a_sure_and_right_answer(gap: float) -> None:
    y, gradient = value_and_gradient(
        ops.log_softmax, np.array([gap, 0.0]), np.array([1, 0], np.float32)
    )
    wrong = math.exp(-gap) / (1 + math.exp(-gap))
    assert_close(y, [-math.log1p(math.exp(-gap)), -gap - math.log1p(math.exp(-gap))])
    assert_close(gradient, [wrong, -wrong])


@pytest.mark.parametrize("gap", [1.0, 8.0, 30.0, 80.0])
@pytest.mark.parametrize("right", [0.0, 1.0])
def test_the_binary_cross_entropy_of_a_sure_and_right_answer(
    gap: float, right: float
) -> None:
    sign = 2 * right - 1
    loss, gradient = value_and_gradient(
        lambda x: ops.bce_with_logits(x, np.array([right], np.float32)),
        np.array([sign * gap]),
    )
    assert_close(loss, math.log1p(math.exp(-gap)))
    assert_close(gradient, [-sign * math.exp(-gap) / (1 + math.exp(-gap))])


def test_the_gradient_of_a_sure_attention() -> None:
    """One query, one axis, keys 30 apart: all but the first have a share of e⁻³⁰."""
    k, v = (np.array(a, np.float32) for a in ([0.0, -30, -31], [900.0, 901, 899]))
    q = Tensor(np.ones((1, 1, 1, 1), np.float32))
    keys = Tensor(k.reshape(1, 1, 3, 1), requires_grad=True)
    ops.attention(q, keys, v.reshape(1, 1, 3, 1)).backward(np.ones_like(q.numpy()))
    share = np.exp(k.astype(np.float64))
    share /= share.sum()
    wanted = share * (v - 900.0)  # the average is 900, up to e⁻³⁰
    wanted[0] = -wanted[1:].sum()
    assert keys.grad is not None
    assert_close(keys.grad.numpy().ravel(), wanted)


def test_an_impossible_class_has_no_share_and_no_gradient() -> None:
    x = np.array([[2.0, -np.inf, 1.0]], np.float32)
    loss, gradient = value_and_gradient(
        lambda x: ops.cross_entropy(x, np.array([2])), x
    )
    p = 1 / (1 + math.e)
    assert_close(loss, -math.log(p))
    assert_close(gradient, [[1 - p, 0.0, p - 1]])
    gy = np.array([[1.0, 0.0, 0.0]], np.float32)
    _, gradient = value_and_gradient(ops.log_softmax, x, gy)
    assert_close(gradient, [[p, 0.0, -p]])


@pytest.mark.parametrize("op", [ops.silu, ops.gelu, ops.sigmoid, ops.softplus])
def test_activations_far_out_are_flat_or_straight(
    op: Callable[[Tensor], Tensor],
) -> None:
    far = np.array([-1e30, -2e13, -1e9, -1e3, -150.0], np.float32)
    far = np.concatenate([far, -far])
    y, gradient = value_and_gradient(op, far, np.ones_like(far))
    step = (far > 0).astype(np.float32)
    straight = op is not ops.sigmoid
    np.testing.assert_array_equal(y, step * far if straight else step)
    np.testing.assert_array_equal(gradient, step if straight else 0 * step)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quotients_of_any_size(dtype: Any) -> None:
    sizes = [1e-25, 1e-20, 1.0, 1e20, 1e25]
    if dtype == np.float64:
        sizes += [1e-170, 1e-160, 1e160, 1e170]
    for size in sizes:
        a, b = (Tensor(np.array([size], dtype), requires_grad=True) for _ in range(2))
        (a / b).sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert_close(a.grad.numpy(), np.array([1 / size]))
        assert_close(b.grad.numpy(), np.array([-1 / size]))


def test_logits_of_minus_infinity_have_no_part_in_the_divergence() -> None:
    x = np.array([[0.0, 1.0, -np.inf, 2.0]], np.float32)
    y, gradient = value_and_gradient(ops.uniform_kl, x, np.ones((), np.float32))
    p = np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum()
    some = p[p > 0]
    assert_close(y, np.log(4) + (some * np.log(some)).sum())
    assert gradient[0, 2] == 0
    assert abs(gradient.sum()) < 1e-6


@pytest.mark.parametrize("codes", [2, 1000, 8191, 50_000])
@pytest.mark.parametrize("gap", [1e-3, 1.0, 8.0, 30.0, 100.0])
def test_the_divergence_of_one_logit_above_many(codes: int, gap: float) -> None:
    x = np.zeros((1, codes), np.float32)
    x[0, codes // 2] = gap
    y, _ = value_and_gradient(ops.uniform_kl, x, np.ones((), np.float32))
    far = x.astype(np.float64) - gap
    total = np.exp(far).sum()
    exact = (np.exp(far) * far).sum() / total - np.log1p(np.expm1(far).mean())
    # The two terms, of which one may be the larger, are sums of equal values.
    terms = abs((np.exp(far) * far).sum() / total) + abs(np.log1p(np.expm1(far).mean()))
    np.testing.assert_allclose(y, exact, rtol=0, atol=24 * U32 * terms)


def test_no_slope_and_no_negative_value_at_infinity() -> None:
    far = np.array([-np.inf, -1.0, 0.0, 2.0, np.inf], np.float32)
    y, gradient = value_and_gradient(
        lambda x: ops.leaky_relu(x, 0.0), far, np.ones_like(far)
    )
    np.testing.assert_array_equal(y, [0, 0, 0, 2, np.inf])
    np.testing.assert_array_equal(gradient, [0, 0, 0, 1, 1])


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e18, 1e25, 1e38])
def test_a_vector_of_any_size_is_brought_to_length_1(size: float) -> None:
    x = (size * Stream(0, "x").uniform((5, 3), -1.0, 1.0)).astype(np.float32)
    gy = Stream(0, "gy").normal((5, 3), "float32")
    with np.errstate(under="ignore"):
        y, gradient = value_and_gradient(ops.l2_normalize, x, gy)
    unit = x / np.sqrt((x.astype(np.float64) ** 2).sum(axis=1, keepdims=True) + 1e-12)
    assert_close(y, unit)
    far, up = x.astype(np.float64), gy.astype(np.float64)
    along = (up * unit).sum(axis=1, keepdims=True)
    length = np.sqrt((far**2).sum(axis=1, keepdims=True) + 1e-12)
    exact = (up - unit * along) / length
    if size < 1e30:  # beyond, it is less than a float32 holds
        largest = np.abs(exact).max()
        np.testing.assert_allclose(gradient, exact, rtol=0, atol=1e-6 * largest)
    assert np.isfinite(gradient).all()


def test_a_vector_of_length_0_stays() -> None:
    y, gradient = value_and_gradient(
        ops.l2_normalize, np.zeros((2, 3)), np.ones((2, 3), np.float32)
    )
    np.testing.assert_array_equal(y, 0)
    assert_close(gradient, np.full((2, 3), 1e6))  # 1/√ε
