"""Structural similarity (SSIM)."""

import numpy as np
from numpy.typing import NDArray

from tinyvq.errors import DataError, ShapeError
from tinyvq.metrics._pixels import Images, check_pair

SSIM_WINDOW = 11
_SIGMA = 1.5
_C1 = 0.01**2  # (K1·data range)²
_C2 = 0.03**2  # (K2·data range)²

# Elements in one block of images. All maps of a block then stay near a core's cache,
# which is several times faster than mapping the whole batch at once.
_BLOCK = 65_536


def ssim(x: Images, y: Images) -> float:
    """Structural similarity: of each image and channel, then the mean over all.

    1 is equal. The Gaussian window is 11 × 11 with sigma 1.5, and only windows that
    lie inside the image count.

    x, y  (N, H, W, C) float16 | float32 | float64 in [0, 1], H and W at least 11

    Unlike the PSNR, SSIM depends on where black lies: it compares local means with
    each other. Pixels in [-0.5, 0.5] need 0.5 added, and what a decoder overshoots
    needs clipping.

    Raises ShapeError, DTypeError, NonFiniteError as `mse`; ShapeError for images
    smaller than the window; DataError for pixels outside [0, 1].
    Source: Wang et al. 2004, "Image quality assessment: from error visibility to
    structural similarity", eq. 13.
    """
    check_pair("ssim", x, y)
    _check_size_and_range(x, y)
    images = x.shape[0]
    block = max(1, _BLOCK // x[0].size)
    # One mean an image, then the mean of those: how images share blocks or batches
    # does not matter.
    per_image = np.empty(images)
    for start in range(0, images, block):
        stop = start + block
        per_image[start:stop] = _ssim_map(
            x[start:stop].astype(np.float64), y[start:stop].astype(np.float64)
        ).mean(axis=(1, 2, 3))
    return float(per_image.mean())


def _ssim_map(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """SSIM at every window inside the image: (n, H, W, C) -> (n, H-10, W-10, C)."""
    #           (2·μx·μy + C1)·(2·σxy + C2)
    # SSIM = ---------------------------------     with  μx  = Σ w·x,
    #        (μx² + μy² + C1)·(σx² + σy² + C2)           σxy = Σ w·x·y - μx·μy
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x * mean_x
    var_y = _window_mean(y * y) - mean_y * mean_y
    cov = _window_mean(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + _C1) * (2 * cov + _C2)
    denominator = (mean_x * mean_x + mean_y * mean_y + _C1) * (var_x + var_y + _C2)
    ratio: NDArray[np.float64] = numerator / denominator
    return ratio


def _window_mean(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted mean of each window: (n, H, W, C) -> (n, H-10, W-10, C).

    exp(-(r² + s²)/2σ²) = exp(-r²/2σ²)·exp(-s²/2σ²): 11 taps down, then 11 across,
    instead of 121.
    """
    offset = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weight = np.exp(-0.5 * (offset / _SIGMA) ** 2)
    weight /= weight.sum()
    rows = a.shape[1] - SSIM_WINDOW + 1
    columns = a.shape[2] - SSIM_WINDOW + 1
    down = weight[0] * a[:, :rows]
    for r in range(1, SSIM_WINDOW):
        down += weight[r] * a[:, r : r + rows]
    across: NDArray[np.float64] = weight[0] * down[:, :, :columns]
    for s in range(1, SSIM_WINDOW):
        across += weight[s] * down[:, :, s : s + columns]
    return across


def _check_size_and_range(x: Images, y: Images) -> None:
    height, width = x.shape[1:3]
    if min(height, width) < SSIM_WINDOW:
        raise ShapeError(
            f"ssim: expected images of at least {SSIM_WINDOW} × {SSIM_WINDOW} pixels "
            f"(the window), got {height} × {width}"
        )
    for name, images in (("x", x), ("y", y)):
        low, high = float(images.min()), float(images.max())
        if low < 0 or high > 1:
            raise DataError(
                f"ssim: expected pixels in [0, 1], got {name} in "
                f"[{low:.4g}, {high:.4g}]; shift images centred on 0 by 0.5, and clip "
                "reconstructions"
            )
