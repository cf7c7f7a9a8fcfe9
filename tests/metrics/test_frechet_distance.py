"""The Fréchet distance, held against matrix square roots and closed forms."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import require

from tinyvq.errors import (
    ConfigError,
    DataError,
    DTypeError,
    NonFiniteError,
    ShapeError,
)
from tinyvq.metrics import FeatureStatistics, frechet_distance
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
U64 = 2.0**-53


def statistics(*batches: Array, features: str = "pixels") -> FeatureStatistics:
    found = FeatureStatistics(features, batches[0].shape[1])
    for batch in batches:
        found.add(batch)
    return found


def with_covariance(factor: Array, mean: Array | float = 0.0) -> FeatureStatistics:
    """Statistics of 2r samples whose covariance is factor·factorᵀ, factor (F, r)."""
    ends = factor.T * np.sqrt((2 * factor.shape[1] - 1) / 2)  # (r, F)
    return statistics(np.concatenate([ends, -ends]) + mean)


def correlated(seed: int, n: int, width: int, rank: int | None = None) -> Array:
    """Features (n, F) that lie in a space of this rank."""
    rng = Stream(seed, "features")
    rank = width if rank is None else rank
    mixed: Array = rng.normal((n, rank)) @ rng.normal((rank, width)) + rng.normal(width)
    return mixed


def hadamard(size: int) -> Array:
    """Orthogonal, of entries ±1/√size: exact for a power of 4."""
    h = np.ones((1, 1))
    while len(h) < size:
        h = np.block([[h, h], [h, -h]])
    orthogonal: Array = h / np.sqrt(size)
    return orthogonal


# Mean and covariance.


@given(cuts=st.lists(st.integers(0, 60), max_size=6), seed=st.integers(0, 2**32))
def test_mean_and_covariance_do_not_depend_on_the_batches(
    cuts: list[int], seed: int
) -> None:
    x = correlated(seed, 60, 5)
    found = statistics(*np.split(x, sorted(cuts)))
    assert found.count == 60
    # Sums of 60 terms, by two routes, with a dozen roundings in each merge of seven.
    largest = np.abs(x).max()
    allowed = 2 * (60 + 7 * 12) * U64
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=0, atol=allowed * largest)
    np.testing.assert_allclose(
        found.covariance, np.cov(x.T), rtol=0, atol=allowed * 4 * largest**2
    )


def test_features_far_from_0_lose_no_more_than_their_own_rounding() -> None:
    """E[xx] - E[x]·E[x] would subtract 1e16 from 1e16, and be left with rubble."""
    x = Stream(0).uniform((100, 3), -1, 1)
    far = x + 1e8
    found = statistics(*np.split(far, 4)).covariance
    # Each feature, and each mean, is rounded by 1e8·u, beside values of at most 1; the
    # merges multiply differences of means that are off by as much.
    allowed = 4 * 2 * 1e8 * U64
    np.testing.assert_allclose(found, np.cov(x.T), rtol=0, atol=allowed)


def test_two_sets_merge_into_that_of_both() -> None:
    x, y = correlated(0, 20, 4), correlated(1, 30, 4)
    merged = statistics(x)
    merged.merge(statistics(y))
    nothing = FeatureStatistics("pixels", 4)
    nothing.merge(FeatureStatistics("pixels", 4))
    assert nothing.count == 0
    merged.merge(nothing)
    both = statistics(x, y)
    assert merged.count == both.count == 50
    np.testing.assert_array_equal(merged.mean, both.mean)
    np.testing.assert_array_equal(merged.covariance, both.covariance)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_sums_run_in_float64(dtype: str) -> None:
    x = correlated(0, 50, 3).astype(dtype)
    found, expected = statistics(x), statistics(x.astype(np.float64))
    np.testing.assert_array_equal(found.covariance, expected.covariance)


def test_what_was_added_is_not_touched_and_what_is_given_is_a_copy() -> None:
    x = correlated(0, 9, 3)
    before = x.copy()
    found = statistics(x)
    np.testing.assert_array_equal(x, before)
    mean, covariance = found.mean.copy(), found.covariance.copy()
    found.mean[...] = 7
    found.covariance[...] = 7
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_array_equal(found.covariance, covariance)


# The distance.


@pytest.mark.parametrize(
    ("rank_x", "rank_y", "scale"),
    [
        (6, 6, np.ones(6)),
        (6, 6, 10.0 ** -np.arange(6)),
        (3, 6, np.ones(6)),
        (2, 3, np.ones(6)),
        (1, 1, np.ones(6)),
    ],
    ids=["well", "ill", "one deficient", "both deficient", "rank 1"],
)
def test_it_is_that_of_scipys_matrix_root(
    rank_x: int, rank_y: int, scale: Array
) -> None:
    scipy = require("scipy.linalg")
    width = len(scale)
    x = correlated(0, 40, width, rank_x) * scale
    y = correlated(1, 50, width, rank_y) * scale[::-1]
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    # tr (Σ1·Σ2)^½ in the symmetric form, the one that a root of a singular matrix
    # bears: the roots of zeros that are rounded to F·u of the largest are (F·u)^½ off.
    root = scipy.sqrtm(cov_x).real
    trace = np.trace(scipy.sqrtm(root @ cov_y @ root).real)
    d = x.mean(0) - y.mean(0)
    sizes = np.trace(cov_x) + np.trace(cov_y)
    expected = d @ d + sizes - 2 * trace
    found = frechet_distance(statistics(x), statistics(y))
    deficient = min(rank_x, rank_y) < width
    # Else, with dΣ ≤ F·u·|Σ|: half of F·dΣ·|Σ2|^½·|Σ1^-½| moves the trace, twice.
    condition = min(np.linalg.cond(cov_x), np.linalg.cond(cov_y))
    error = width * (width * U64) ** 0.5
    if not deficient:
        error = min(error, 2 * width**2 * U64 * condition**0.5)
    assert found == pytest.approx(expected, rel=0, abs=4 * error * sizes)
    assert found > 0.01 * sizes  # what was compared is more than rounding


def test_covariances_of_common_axes_have_a_closed_form() -> None:
    """However ill-conditioned: Σ (√a - √b)² over the axes."""
    axes = hadamard(16)
    root_a = 2.0 ** -np.arange(0, 32, 2)  # conditions of 2^60
    root_b = root_a[::-1]
    x = with_covariance(axes * root_a)
    y = with_covariance(axes * root_b)
    # The bound of the docstring, whatever the condition: F·2⁻²⁶ of the traces.
    traces = np.sum(root_a**2) + np.sum(root_b**2)
    expected = np.sum((root_a - root_b) ** 2)
    allowed = 16 * 2.0**-26 * traces
    assert frechet_distance(x, y) == pytest.approx(expected, rel=0, abs=allowed)


@pytest.mark.parametrize(("rank_x", "rank_y"), [(2, 3), (1, 1), (5, 20), (20, 5)])
def test_deficient_covariances_cost_no_accuracy(rank_x: int, rank_y: int) -> None:
    """The roots of what should be zeros would make errors of 1e-8."""
    width = 20
    a = Stream(0, rank_x).normal((width, rank_x))
    b = Stream(1, rank_y).normal((width, rank_y))
    overlap = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    traces = np.sum(a**2) + np.sum(b**2)
    expected = traces - 2 * overlap
    # F·2⁻⁵² of the traces by the root of the condition, here of what is not zero.
    condition = max(np.linalg.cond(a), np.linalg.cond(b))
    allowed = 2 * width * 2.0**-52 * condition * traces
    found = frechet_distance(with_covariance(a), with_covariance(b))
    assert found == pytest.approx(expected, rel=0, abs=allowed)
    assert allowed < 1e-9 * traces


def test_two_samples_are_enough() -> None:
    # Covariances a·aᵀ and b·bᵀ: |a|² + |b|² - 2·|a·b|, with a = ±(3, 4), b = ±(4, 3).
    x = statistics(np.array([[3.0, 4.0], [-3.0, -4.0]]) / 2**0.5)
    y = statistics(np.array([[4.0, 3.0], [-4.0, -3.0]]) / 2**0.5)
    assert frechet_distance(x, y) == pytest.approx(25 + 25 - 2 * 24, abs=100 * 8 * U64)


def test_one_feature_is_known_by_its_mean_and_deviation() -> None:
    x = statistics(np.array([[0.0], [2.0], [4.0]]))  # 2, deviation 2
    y = statistics(np.array([[5.0], [6.0], [7.0]]))  # 6, deviation 1
    assert frechet_distance(x, y) == pytest.approx(16 + 1, rel=8 * U64)
    assert frechet_distance(y, x) == pytest.approx(16 + 1, rel=8 * U64)


@pytest.mark.parametrize(("n", "rank"), [(40, 12), (40, 3), (5, 12)])
def test_equal_sets_have_none_in_whatever_batches(n: int, rank: int) -> None:
    x = correlated(0, n, 12, rank)
    whole, cut = statistics(x), statistics(*np.split(x, [1, 2, n - 2]))
    traces = 2 * np.trace(whole.covariance)
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)[: min(rank, n - 1)]
    # The difference of sums of F terms; of covariances that differ by n·u of the
    # largest, which the condition of what is not zero multiplies.
    assert 0 <= frechet_distance(whole, whole) <= 4 * 12 * U64 * traces
    allowed = 4 * (12 + n) * U64 * (values[0] / values[-1]) * traces
    assert 0 <= frechet_distance(whole, cut) <= allowed


def test_a_shift_counts_as_its_square() -> None:
    x = correlated(0, 30, 4)
    shift = np.array([1.0, -2.0, 0.0, 3.0])
    traces = 2 * np.trace(np.cov(x.T))
    # The means and deviations of 30 numbers below 16, each off by its rounding.
    allowed = 30 * 8 * U64 * (16 * 16 + traces)
    found = frechet_distance(statistics(x), statistics(x + shift))
    assert found == pytest.approx(14.0, rel=0, abs=allowed)


def test_constant_features_are_compared_by_their_means() -> None:
    flat = statistics(np.full((3, 2), 0.5))
    assert frechet_distance(flat, flat) == 0.0
    assert frechet_distance(flat, statistics(np.full((4, 2), 1.5))) == 2.0


# What is refused.


def test_fewer_than_two_samples_have_no_covariance() -> None:
    good = statistics(np.eye(3))
    nothing, single = FeatureStatistics("pixels", 3), statistics(np.ones((1, 3)))
    nothing.add(np.zeros((0, 3)))
    for few, count in ((nothing, 0), (single, 1)):
        assert few.count == count
        for pair in ((few, good), (good, few)):
            message = f"pixels: a covariance needs at least 2 samples, got {count}"
            with pytest.raises(DataError, match=message):
                frechet_distance(*pair)
    with pytest.raises(DataError, match="pixels: no samples were added"):
        _ = nothing.mean
    np.testing.assert_array_equal(single.mean, np.ones(3))


def test_features_of_two_names_or_widths_are_not_compared() -> None:
    x = statistics(np.eye(3), features="pixels")
    named = statistics(np.eye(3), features="layer 4")
    wide = statistics(np.eye(4), features="pixels")
    for compare in (frechet_distance, FeatureStatistics.merge):
        with pytest.raises(DataError, match="got 'pixels' and 'layer 4'"):
            compare(x, named)
        with pytest.raises(ShapeError, match="one width, got 3 and 4"):
            compare(x, wide)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1), ()])
def test_batches_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected pixels \(n, 3\), got shape"):
        FeatureStatistics("pixels", 3).add(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "complex128"])
def test_features_that_are_not_floats_are_refused(dtype: str) -> None:
    with pytest.raises(DTypeError, match=f"floating-point features, got {dtype}"):
        FeatureStatistics("pixels", 3).add(np.zeros((2, 3), dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_refused_and_not_added(bad: float) -> None:
    found = statistics(np.eye(3))
    before = found.covariance
    batch = np.zeros((2, 3))
    batch[1, 2] = bad
    with pytest.raises(NonFiniteError, match=rf"got batch\[1, 2\] = {bad}"):
        found.add(batch)
    assert found.count == 3
    np.testing.assert_array_equal(found.covariance, before)


def test_no_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected width ≥ 1, got 0"):
        FeatureStatistics("pixels", 0)
