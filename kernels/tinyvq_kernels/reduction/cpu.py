"""Sums over pixels on CPU cores: channels are neighbours, so a row is added at once.

Row after row in float32, an image of 512×512 would lose three digits. So rows are added
in links of LINK, and the links' sums in float64.
"""

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._types import Array, Flat

LINK = 64  # pixels


def pixel_sums(x: Array) -> Array:
    """Add up; shapes as in the package's contract."""
    n, length, c = x.shape
    sums = np.zeros((n, c))
    _add_pixels(flat(x), n, length, c, sums.reshape(-1))
    total: Array = sums.sum(axis=0).astype(x.dtype)
    return total


def _add_pixels_of_images(x: Flat, n: int, length: int, c: int, sums: Flat) -> None:
    for image in prange(n):
        total = sums[image * c : (image + 1) * c]
        link = np.empty(c, x.dtype)
        for first in range(0, length, LINK):
            link[:] = 0
            for l in range(first, min(first + LINK, length)):
                at = (image * length + l) * c
                row = x[at : at + c]
                for k in range(c):
                    link[k] += row[k]
            for k in range(c):
                total[k] += link[k]


_add_pixels = jit(_add_pixels_of_images, parallel=True)
