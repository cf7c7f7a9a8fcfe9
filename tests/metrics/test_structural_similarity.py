"""SSIM, held against scikit-image and against the formula written as loops."""

import numpy as np
import pytest
from metrics.metric_examples import Array, noise, pair
from peers import require

from tinyvq.errors import DataError, ShapeError
from tinyvq.metrics import ssim

# Each of the five local means adds 121 products of at most 1, and is off by 125 u at
# most. The contrast factor, (2·σxy + C2) / (σx² + σy² + C2), has four of them above and
# four below; below stands 0.008 at least with these images. The other factor, where 0.2
# stands below, adds less than its share of what is left out here.
TOLERANCE = 2 * 8 * 125 * 2.0**-53 / 0.008


def by_loops(x: Array, y: Array) -> float:
    """SSIM at every window inside the image, by its definition."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    n, height, width, channels = x.shape
    for i in range(n):
        for c in range(channels):
            for p in range(height - 10):
                for q in range(width - 10):
                    a = x[i, p : p + 11, q : q + 11, c]
                    b = y[i, p : p + 11, q : q + 11, c]
                    mean_a, mean_b = (window * a).sum(), (window * b).sum()
                    var_a = (window * (a - mean_a) ** 2).sum()
                    var_b = (window * (b - mean_b) ** 2).sum()
                    cov = (window * (a - mean_a) * (b - mean_b)).sum()
                    light = (2 * mean_a * mean_b + 1e-4) / (
                        mean_a**2 + mean_b**2 + 1e-4
                    )
                    contrast = (2 * cov + 9e-4) / (var_a + var_b + 9e-4)
                    values.append(light * contrast)
    return float(np.mean(values))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(11, 11), (11, 30), (28, 28), (37, 20)])
def test_it_is_that_of_scikit_image(size: tuple[int, int], channels: int) -> None:
    skimage = require("skimage.metrics")
    x, y = pair(0, 4, *size, channels)
    expected = np.mean(
        [
            skimage.structural_similarity(
                a,
                b,
                data_range=1,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in zip(x, y, strict=True)
        ]
    )
    found = ssim(x, y)
    assert found == pytest.approx(expected, rel=0, abs=TOLERANCE)
    assert 0.1 < found < 0.99


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_formula(channels: int) -> None:
    x, y = pair(5, 2, 13, 15, channels)
    assert ssim(x, y) == pytest.approx(by_loops(x, y), rel=0, abs=TOLERANCE)


def test_equal_images_have_one_and_inverted_ones_less_than_none() -> None:
    x, y = pair(0, 2, 20, 20, 3)
    assert ssim(x, x) == 1.0
    assert ssim(x, y) == pytest.approx(ssim(y, x), rel=0, abs=TOLERANCE)
    texture = noise(0, 1, 20, 20, 1)
    assert ssim(texture, 1 - texture) < 0


def test_flat_images_differ_by_their_brightness_alone() -> None:
    x, y = np.full((1, 12, 12, 1), 0.25), np.full((1, 12, 12, 1), 0.75)
    # (2·¼·¾ + C1) / (1/16 + 9/16 + C1)
    expected = (0.375 + 1e-4) / (0.625 + 1e-4)
    # The variances are 0 but for rounding, held against C2 = 9e-4.
    tolerance = 8 * 121 * 2.0**-53 / 9e-4
    assert ssim(x, y) == pytest.approx(expected, rel=0, abs=tolerance)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_narrow_floats_are_measured_in_float64(dtype: str) -> None:
    x, y = pair(0, 2, 16, 16, 3, dtype=dtype)
    assert ssim(x, y) == ssim(x.astype(np.float64), y.astype(np.float64))


def test_large_batches_are_cut_into_blocks_of_no_effect() -> None:
    x, y = pair(0, 9, 100, 101, 3)  # two images per block
    singles = [ssim(x[i : i + 1], y[i : i + 1]) for i in range(9)]
    # Nine values below 1 are added and divided.
    assert ssim(x, y) == pytest.approx(np.mean(singles), rel=0, abs=20 * 2.0**-53)


@pytest.mark.parametrize(("height", "width"), [(10, 11), (11, 10), (1, 1), (4, 64)])
def test_images_smaller_than_the_window_are_refused(height: int, width: int) -> None:
    x = np.zeros((1, height, width, 1))
    message = f"at least 11 × 11 pixels .the window., got {height} × {width}"
    with pytest.raises(ShapeError, match=message):
        ssim(x, x)


@pytest.mark.parametrize(("pixel", "low", "high"), [(-0.5, -0.5, 0), (1.5, 0, 1.5)])
def test_pixels_outside_0_to_1_are_refused_with_a_remedy(
    pixel: float, low: float, high: float
) -> None:
    x, good = np.zeros((1, 11, 11, 1)), np.zeros((1, 11, 11, 1))
    x[0, 3, 4, 0] = pixel
    for a, b, name in ((x, good, "x"), (good, x, "y")):
        message = (
            rf"got {name} in \[{low:g}, {high:g}\]; shift images .* by 0.5, and cl"
        )
        with pytest.raises(DataError, match=message):
            ssim(a, b)
