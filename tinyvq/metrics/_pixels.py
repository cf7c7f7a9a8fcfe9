"""Metrics that compare images pixel by pixel."""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinyvq.errors import DataError, DTypeError, NonFiniteError, ShapeError

Images: TypeAlias = NDArray[np.floating[Any]]

# Equal images have an infinite PSNR, which no mean and no JSON file can hold. The cap
# stands far above what eight-bit pixels can mean: rounding to them alone costs
# (1/255)²/12, which is 59 dB.
PSNR_CAP_DB = 100.0


def mse(x: Images, y: Images) -> float:
    """Mean squared error over all elements.

    x, y  (N, H, W, C) float16 | float32 | float64
    Raises ShapeError, DTypeError, NonFiniteError.
    """
    return float(_mse_per_image("mse", x, y).mean())


def nmse(x: Images, y: Images, variance: float) -> float:
    """Mean squared error over the variance of the training pixels.

    0 is perfect; 1 is what painting every pixel in the mean of the training pixels
    scores.

    x, y      (N, H, W, C) float16 | float32 | float64
    variance  of the training pixels, on the same scale as x and y
    Raises as `mse`, and DataError where the variance is not a positive number.
    """
    if not (math.isfinite(variance) and variance > 0):
        raise DataError(f"nmse: expected a positive, finite variance, got {variance}")
    return mse(x, y) / float(variance)


def psnr_db(x: Images, y: Images) -> float:
    """Peak signal-to-noise ratio in decibels: of each image, then the mean over images.

    x, y  (N, H, W, C) float16 | float32 | float64, data range 1 (offset is irrelevant)

    An image counts for `PSNR_CAP_DB` at most, so that equal images (mse 0) give a
    finite number. Raises as `mse`.
    """
    # PSNR_i = 10·log10(1² / mse_i)
    floor = 10.0 ** (-PSNR_CAP_DB / 10.0)
    mse_per_image = np.maximum(_mse_per_image("psnr_db", x, y), floor)
    return float(np.mean(-10.0 * np.log10(mse_per_image)))


def _mse_per_image(metric: str, x: Images, y: Images) -> NDArray[np.float64]:
    """(N, H, W, C) twice -> (N,)."""
    check_pair(metric, x, y)
    error = np.subtract(x, y, dtype=np.float64)
    mean: NDArray[np.float64] = np.square(error, out=error).mean(axis=(1, 2, 3))
    return mean


def check_pair(metric: str, x: Images, y: Images) -> None:
    """Raise unless x and y are finite float images of one shape (N, H, W, C)."""
    for name, images in (("x", x), ("y", y)):
        if images.ndim != 4 or images.size == 0:
            raise ShapeError(
                f"{metric}: expected images (N, H, W, C) with at least one element, "
                f"got {name} of shape {images.shape}"
            )
        # Unsigned pixels would wrap around in x - y, and their range is not 1.
        if not np.issubdtype(images.dtype, np.floating):
            raise DTypeError(
                f"{metric}: expected floating-point images with data range 1, "
                f"got {name} of {images.dtype}"
            )
    if x.shape != y.shape:
        raise ShapeError(
            f"{metric}: expected two arrays of one shape, got x {x.shape}, y {y.shape}"
        )
    for name, images in (("x", x), ("y", y)):
        finite = np.isfinite(images)
        if not finite.all():
            n, h, w, c = np.argwhere(~finite)[0]
            raise NonFiniteError(
                f"{metric}: expected finite pixels, got {name}[{n}, {h}, {w}, {c}] = "
                f"{images[n, h, w, c]}"
            )
