"""What group norm promises by itself: its door, its sums, and where NaN goes."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_case import Array, draw
from normalization_cases import group_norm_bounds, group_norm_grad_bounds
from tinyvq_kernels import group_norm, group_norm_grad, use_kernels

VARIANTS = ("reference", "blocked")


def ones(*shape: int, dtype: str = "float32") -> Array:
    return np.ones(shape, dtype)


X, ROW = ones(2, 5, 6), ones(6)
G = ones(2, 3)  # mean and rstd of 3 groups

WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: group_norm(ones(5, 6), ROW, ROW, 3, 1e-6),
        ValueError,
        "group_norm: x must be (N,L,C), got shape (5, 6)",
    ),
    *(
        (
            lambda g=g: group_norm(X, ROW, ROW, g, 1e-6),
            ValueError,
            f"needs x (N,L,C) with L >= 1 and C a multiple of {g} groups, got (2, 5, 6",
        )
        for g in (0, -1, 4, 12)
    ),
    (
        lambda: group_norm(ones(2, 0, 6), ROW, ROW, 3, 1e-6),
        ValueError,
        "with L >= 1 and C a multiple of 3 groups, got (2, 0, 6)",
    ),
    (
        lambda: group_norm(ones(2, 5, 0), ones(0), ones(0), 1, 1e-6),
        ValueError,
        "C a multiple of 1 groups, got (2, 5, 0)",
    ),
    (
        lambda: group_norm(X, ones(5), ROW, 3, 1e-6),
        ValueError,
        "group_norm: weight must have shape (6,), got (5,)",
    ),
    (
        lambda: group_norm(X, ROW, ones(1, 6), 3, 1e-6),
        ValueError,
        "group_norm: bias must have shape (6,), got (1, 6)",
    ),
    (
        lambda: group_norm(X, ROW, ones(6, dtype="float64"), 3, 1e-6),
        TypeError,
        "group_norm: dtypes differ, x is float32 and bias is float64; convert one",
    ),
    (
        lambda: group_norm(ones(2, 5, 6, dtype="int64"), ROW, ROW, 3, 1e-6),
        TypeError,
        "group_norm: x must be float32 or float64, got int64",
    ),
    (
        lambda: group_norm_grad(X, ones(2, 5, 3), G, G, ROW),
        ValueError,
        "group_norm_grad: gy must have shape (2, 5, 6), got (2, 5, 3)",
    ),
    (
        lambda: group_norm_grad(X, X, ones(3), G, ROW),
        ValueError,
        "group_norm_grad: mean must be (N,G), got shape (3,)",
    ),
    (
        lambda: group_norm_grad(X, X, ones(1, 3), G, ROW),
        ValueError,
        "group_norm_grad: mean must have shape (2, 3), got (1, 3)",
    ),
    (
        lambda: group_norm_grad(X, X, G, ones(2, 2), ROW),
        ValueError,
        "group_norm_grad: rstd must have shape (2, 3), got (2, 2)",
    ),
    (
        lambda: group_norm_grad(X, X, ones(2, 4), ones(2, 4), ROW),
        ValueError,
        "C a multiple of 4 groups, got (2, 5, 6)",
    ),
    (
        lambda: group_norm_grad(X, X, G, G, ones(7)),
        ValueError,
        "group_norm_grad: weight must have shape (6,), got (7,)",
    ),
    (
        lambda: group_norm_grad(X, X, G, ones(2, 3, dtype="float64"), ROW),
        TypeError,
        "group_norm_grad: dtypes differ, x is float32 and rstd is float64; convert",
    ),
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("call", "error", "says"), WRONG)
def test_a_wrong_call_is_told(
    call: Callable[[], Any], error: type[Exception], says: str, variant: str
) -> None:
    chosen = use_kernels(group_norm=variant, group_norm_grad=variant)
    with chosen, pytest.raises(error, match=re.escape(says)):
        call()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_spoil_their_own_group_alone(
    variant: str, dtype: str, bad: float
) -> None:
    x, weight, bias = draw("x", 3, 2000, 6), draw("w", 6), draw("b", 6)
    x, weight, bias = (a.astype(dtype) for a in (x, weight, bias))
    spoilt = x.copy()
    spoilt[1, 1500, 2] = bad  # of item 1 and the second of 3 groups
    with use_kernels(group_norm=variant):
        good = group_norm(x, weight, bias, 3, 1e-6)
        y, mean, rstd = group_norm(spoilt, weight, bias, 3, 1e-6)
    hit = np.zeros(x.shape, bool)
    hit[1, :, 2:4] = True
    assert np.isnan(y[hit]).all()
    assert np.isnan(rstd[1, 1])
    assert not np.isfinite(mean[1, 1])
    assert y[~hit].tobytes() == good[0][~hit].tobytes()
    other = np.ones((3, 3), bool)
    other[1, 1] = False
    assert np.isfinite(mean[other]).all()
    assert np.isfinite(rstd[other]).all()


def test_nothing_cancels_where_the_mean_is_large_and_the_group_long() -> None:
    """float32 sums, or a mean of squares, would lose all digits of this variance."""
    x = (4096 + 0.25 * draw("x", 1, 50_000, 2)).astype("float32")
    weight, bias = ones(2), np.zeros(2, "float32")
    results = group_norm(x, weight, bias, 1, 1e-6)
    exact = [a.astype(np.float64) for a in (x, weight, bias)]
    mean = exact[0].mean()
    rstd = 1 / np.sqrt(exact[0].var() + 1e-6)
    wanted = ((exact[0] - mean) * rstd, mean, rstd)
    bounds = group_norm_bounds("float32", *exact, 1)
    for got, value, bound in zip(results, wanted, bounds, strict=True):
        assert (np.abs(got - value) <= bound).all()


def test_long_sums_of_gradients_lose_nothing() -> None:
    """Of one sign, so that float32 would lose digits with each that it adds."""
    x, gy = draw("x", 1, 90_000, 7), np.abs(draw("gy", 1, 90_000, 7))
    given = [a.astype("float32") for a in (x, gy)]
    given += [np.full((1, 1), -0.5, "float32"), ones(1, 1), ones(7)]
    exact = [a.astype(np.float64) for a in given]
    bounds = group_norm_grad_bounds("float32", *exact)
    with use_kernels(group_norm_grad="reference"):
        wanted = group_norm_grad(*exact)
    for got, value, bound in zip(group_norm_grad(*given), wanted, bounds, strict=True):
        assert (np.abs(got - value) <= bound).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_that_are_all_alike_become_the_bias(variant: str) -> None:
    """The mean of n equal values is exact where n is a power of two."""
    x = np.full((2, 64, 4), 3.7, "float32")
    bias = draw("b", 4).astype("float32")
    with use_kernels(group_norm=variant):
        y, mean, rstd = group_norm(x, ones(4), bias, 2, 1e-6)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, x.shape))
    np.testing.assert_array_equal(mean, np.float32(3.7))
    np.testing.assert_array_equal(rstd, np.float32(1e3))


def test_the_gradient_takes_out_what_moves_nothing() -> None:
    """A gradient along 1, or along ŷ, moves no output but for ε."""
    x = draw("x", 2, 40, 6)
    weight = np.ones(6)
    y, mean, rstd = group_norm(x, weight, np.zeros(6), 3, 1e-300)
    for gy in (np.ones_like(x), y):
        gx, _, _ = group_norm_grad(x, gy, mean, rstd, weight)
        # gy, the mean of gy or of gy ŷ, and ŷ times that: each of size 4 at most, after
        # 80 additions; rstd is about 1.
        assert np.abs(gx).max() <= 3 * 4 * 90 * 2.0**-53 * rstd.max()
