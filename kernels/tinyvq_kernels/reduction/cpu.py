"""Sums over pixels on CPU cores: channels are neighbours, so a row is added at once."""

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._types import Array, Flat


def pixel_sums(x: Array) -> Array:
    """Add up; shapes as in the package's contract."""
    n, length, c = x.shape
    sums = np.zeros((n, c), x.dtype)
    _add_pixels(flat(x), n, length, c, sums.reshape(-1))
    total: Array = sums.sum(axis=0)
    return total


def _add_pixels_of_images(x: Flat, n: int, length: int, c: int, sums: Flat) -> None:
    for image in prange(n):
        total = sums[image * c : (image + 1) * c]
        for l in range(length):
            at = (image * length + l) * c
            row = x[at : at + c]
            for k in range(c):
                total[k] += row[k]


_add_pixels = jit(_add_pixels_of_images, parallel=True)
