"""The adaptive weight of an adversary, and feature matching."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import Tensor
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.losses import adaptive_weight, feature_matching
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
U64 = 2.0**-53


def normal(seed: int, *shape: int) -> Array:
    return Stream(seed, "gradient").normal(shape)


def length(g: Array) -> float:
    return math.sqrt(math.fsum(float(x) ** 2 for x in g.flat))


# The adaptive weight.


def test_the_weight_is_the_ratio_of_lengths() -> None:
    three_four, two = np.array([[3.0], [4.0]]), np.array([[0.0], [2.0]])
    assert adaptive_weight(three_four, two, eps=0) == 2.5
    assert adaptive_weight(three_four, two, eps=0.5) == 2.0
    assert adaptive_weight(three_four, two) == 5 / (2 + 1e-4)
    assert adaptive_weight(two, three_four, eps=0) == 0.4


def test_the_weighted_adversary_pulls_as_hard_as_the_reconstruction() -> None:
    """64 squares of each are summed: 2·64 roundings at most, halved by the root."""
    wanted, push = normal(0, 4, 4, 2, 2), normal(1, 4, 4, 2, 2)
    for scale in (1e-6, 1.0, 37.0):
        weight = adaptive_weight(wanted, scale * push, eps=0, clamp=math.inf)
        assert length(weight * scale * push) == pytest.approx(
            length(wanted), rel=128 * U64, abs=0
        )


@pytest.mark.parametrize("scale", [2.0**-40, 0.5, 8.0, 2.0**40])
def test_scaling_both_losses_changes_nothing(scale: float) -> None:
    """By powers of 2, which round nothing; eps, where there is one, is an exception."""
    wanted, push = normal(0, 3, 3), normal(1, 3, 3)
    plain = adaptive_weight(wanted, push, eps=0)
    assert adaptive_weight(scale * wanted, scale * push, eps=0) == plain
    assert adaptive_weight(wanted, scale * push, eps=0, clamp=1e30) == plain / scale


def test_the_weight_is_clamped() -> None:
    wanted, push = np.array([2.0**10]), np.array([2.0**-7])
    assert adaptive_weight(wanted, push, eps=0) == 1e4
    assert adaptive_weight(wanted, push, eps=0, clamp=7.0) == 7.0
    assert adaptive_weight(wanted, push, eps=0, clamp=0.0) == 0.0
    assert adaptive_weight(wanted, push, eps=0, clamp=1e6) == 2.0**17


def test_an_adversary_without_gradient_gives_a_finite_weight() -> None:
    none = np.zeros(4, np.float32)
    assert adaptive_weight(np.array([0.5]), none) == 0.5 / 1e-4
    assert adaptive_weight(np.array([50.0]), none) == 1e4  # not 5e5
    assert adaptive_weight(np.array([50.0]), none, eps=0) == 1e4
    assert adaptive_weight(none, none) == 0.0


def test_lengths_are_taken_in_float64() -> None:
    """Squares of 1e-30 and of 1e30 are 0 and infinite in float32."""
    for size in (1e-30, 1e30):
        wanted = np.array([[3.0, 4.0]], np.float32) * np.float32(size)
        push = np.array([[0.0, 2.0]], np.float32) * np.float32(size)
        weight = adaptive_weight(wanted, push, eps=0)
        assert weight.dtype == np.float64
        # 3, 4 and 2 times the size are rounded to float32, and so is the size.
        assert weight == pytest.approx(2.5, rel=4 * 2.0**-24, abs=0)


def test_a_gradient_that_is_not_a_number_shows() -> None:
    good, bad = np.ones(2), np.array([1.0, math.nan])
    assert math.isnan(adaptive_weight(bad, good))
    assert math.isnan(adaptive_weight(good, bad))
    assert math.isnan(adaptive_weight(bad, 0 * good, eps=0))


@pytest.mark.parametrize("settings", [{"eps": -1e-9}, {"clamp": -1}, {"eps": math.nan}])
def test_a_weight_out_of_range_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="needs eps >= 0 and clamp >= 0"):
        adaptive_weight(np.ones(2), np.ones(2), **settings)


# Feature matching.


def layers(*arrays: Any) -> list[Tensor]:
    return [Tensor(np.array(a, np.float64), requires_grad=True) for a in arrays]


def test_matching_is_the_mean_over_layers_of_mean_absolute_differences() -> None:
    """A layer counts the same however many values it has."""
    real = layers([[1.0, 2.0], [3.0, 4.0]], [0.0])
    made = layers([[1.0, 0.0], [5.0, 4.0]], [-3.0])
    assert feature_matching(real, made).item() == ((0 + 2 + 2 + 0) / 4 + 3) / 2
    assert feature_matching(made, made).item() == 0


def test_matching_gives_the_real_side_no_gradient() -> None:
    real = layers([[1.0, 2.0], [3.0, 4.0]], [0.0])
    made = layers([[1.5, 0.0], [5.0, 3.0]], [-3.0])
    feature_matching(real, made).backward()
    assert [x.grad for x in real] == [None, None]
    first, second = (x.grad for x in made)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.numpy(), np.array([[1, -1], [1, -1]]) / 8)
    np.testing.assert_array_equal(second.numpy(), [-0.5])


def test_features_that_do_not_fit_are_refused() -> None:
    one, two = layers([1.0]), layers([1.0], [2.0])
    with pytest.raises(ShapeError, match="got 1 and 2"):
        feature_matching(one, two)
    with pytest.raises(ShapeError, match="got 0 and 0"):
        feature_matching([], [])
    with pytest.raises(ShapeError, match=r"got \(2,\) and \(1,\)"):
        feature_matching(one, layers([1.0, 2.0]))
    with pytest.raises(DTypeError, match="float32"):
        feature_matching(one, [Tensor(np.ones(1, np.float32))])
