"""mse, nmse and PSNR."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics.metric_examples import noise, pair
from peers import require

from tinyvq.errors import DataError, DTypeError, NonFiniteError, ShapeError
from tinyvq.metrics import PSNR_CAP_DB, RunningMean, mse, nmse, psnr_db, ssim

U64 = 2.0**-53

shapes = st.tuples(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])
)


@given(shape=shapes, seed=st.integers(0, 2**32))
def test_mse_is_the_mean_of_all_squared_differences(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    x, y = noise(seed, *shape), noise(seed + 1, *shape)
    terms = [(a - b) ** 2 for a, b in zip(x.flat, y.flat, strict=True)]
    # fsum is exact; ours adds n terms in some order, each rounded twice before.
    expected = math.fsum(terms) / len(terms)
    assert mse(x, y) == pytest.approx(expected, rel=(len(terms) + 5) * U64)


def test_mse_of_a_known_pair() -> None:
    x = np.zeros((2, 1, 2, 1))
    y = np.array([[[[1.0], [2.0]]], [[[0.0], [-3.0]]]])
    assert mse(x, y) == 3.5
    assert mse(y, x) == 3.5
    assert mse(x, x) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_sums_run_in_float64(dtype: str) -> None:
    # 2^18 differences of 2^-9: in float16 their sum, or its square, would be lost.
    x = np.zeros((1, 512, 512, 1), dtype)
    y = np.full_like(x, 2.0**-9)
    assert mse(x, y) == 2.0**-18
    assert psnr_db(x, y) == pytest.approx(180 * math.log10(2), rel=4 * U64)


def test_nmse_is_one_for_the_mean_of_the_training_pixels() -> None:
    x = noise(0, 5, 8, 8, 3)
    mean = np.full_like(x, x.mean())
    # 960 squares, added twice in different orders.
    assert nmse(x, mean, float(x.var())) == pytest.approx(1.0, rel=2 * 960 * U64)
    assert nmse(x, x, 0.25) == 0.0
    assert nmse(np.zeros((1, 1, 1, 1)), np.full((1, 1, 1, 1), 0.5), 0.125) == 2.0


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_is_that_of_scikit_image(channels: int) -> None:
    skimage = require("skimage.metrics")
    x, y = pair(0, 3, 20, 24, channels)
    expected = np.mean(
        [
            skimage.peak_signal_noise_ratio(a, b, data_range=1)
            for a, b in zip(x, y, strict=True)
        ]
    )
    # An error of n·u in a mean square moves 10·log10 of it by 4.4·n·u decibels.
    tolerance = 4.4 * 2 * x[0].size * U64
    assert psnr_db(x, y) == pytest.approx(expected, rel=0, abs=tolerance)


def test_psnr_is_a_mean_over_images_not_of_their_pooled_error() -> None:
    x = np.zeros((2, 4, 4, 1))
    y = np.stack([np.full((4, 4, 1), 0.1), np.full((4, 4, 1), 0.001)])
    # 20 dB and 60 dB. A square, a mean and a logarithm round half a dozen times.
    assert psnr_db(x, y) == pytest.approx(40.0, rel=16 * U64)
    assert psnr_db(x[:1], y[:1]) == pytest.approx(20.0, rel=16 * U64)


def test_equal_images_have_the_largest_psnr() -> None:
    x = noise(0, 2, 4, 4, 3)
    assert psnr_db(x, x) == PSNR_CAP_DB == 100.0
    near = x.copy()
    near[0] += 1e-9
    assert psnr_db(x, near) == 100.0


def test_where_black_lies_does_not_matter() -> None:
    x, y = pair(0, 2, 8, 8, 1)
    # Two roundings of at most u/2 in each of 64 differences of about 2^-4, the squares
    # of which are then added: 2^-46 of the sum; 10·log10 makes 4.4 of it, in 20 dB.
    assert psnr_db(x - 0.5, y - 0.5) == pytest.approx(psnr_db(x, y), rel=2.0**-44)


# What is refused, by all of them.


def all_metrics(x: Any, y: Any) -> dict[str, Any]:
    return {
        "mse": lambda: mse(x, y),
        "nmse": lambda: nmse(x, y, 1.0),
        "psnr_db": lambda: psnr_db(x, y),
        "ssim": lambda: ssim(x, y),
    }


each = pytest.mark.parametrize("metric", all_metrics(None, None))


@each
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (0, 16, 16, 1), (1, 0, 9, 1)])
def test_what_is_no_batch_of_images_is_refused(
    metric: str, shape: tuple[int, ...]
) -> None:
    x, good = np.zeros(shape), np.zeros((1, 16, 16, 1))
    for a, b, name in ((x, good, "x"), (good, x, "y")):
        message = (
            rf"expected images \(N, H, W, C\) .*, got {name} of shape \({shape[0]}"
        )
        with pytest.raises(ShapeError, match=message):
            all_metrics(a, b)[metric]()


@each
def test_two_shapes_are_refused(metric: str) -> None:
    x, y = np.zeros((2, 16, 16, 1)), np.zeros((2, 16, 16, 3))
    message = r"one shape, got x \(2, 16, 16, 1\), y \(2, 16, 16, 3\)"
    with pytest.raises(ShapeError, match=message):
        all_metrics(x, y)[metric]()


@each
@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "complex128"])
def test_pixels_that_are_not_floats_are_refused(metric: str, dtype: str) -> None:
    x, good = np.zeros((1, 16, 16, 1), dtype), np.zeros((1, 16, 16, 1))
    for a, b, name in ((x, good, "x"), (good, x, "y")):
        message = f"floating-point images with data range 1, got {name} of {dtype}"
        with pytest.raises(DTypeError, match=message):
            all_metrics(a, b)[metric]()


@each
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_refused_by_its_place(
    metric: str, bad: float
) -> None:
    x, good = np.zeros((2, 16, 16, 3)), np.zeros((2, 16, 16, 3))
    x[1, 2, 3, 0] = bad
    for a, b, name in ((x, good, "x"), (good, x, "y")):
        message = rf"expected finite pixels, got {name}\[1, 2, 3, 0\] = {bad}"
        with pytest.raises(NonFiniteError, match=message):
            all_metrics(a, b)[metric]()


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan, math.inf])
def test_a_variance_must_be_above_0(variance: float) -> None:
    x = np.zeros((1, 2, 2, 1))
    message = f"nmse: expected a positive, finite variance, got {variance}"
    with pytest.raises(DataError, match=message):
        nmse(x, x, variance)


@pytest.mark.parametrize("metric", ["mse", "nmse", "psnr_db", "ssim"])
def test_a_mean_over_a_split_does_not_depend_on_its_batches(metric: str) -> None:
    x, y = pair(0, 11, 12, 13, 3)
    found = []
    for size in (1, 2, 4, 11):
        running = RunningMean()
        for first in range(0, 11, size):
            batch = slice(first, first + size)
            value = all_metrics(x[batch], y[batch])[metric]()
            running.add(value, count=len(x[batch]))
        assert running.count == 11
        found.append(running.mean)
    # Each image's value is the same to the bit; then 11 of them are added.
    assert found == pytest.approx([found[0]] * 4, rel=(2 * 11 + 4) * U64)
