"""Sums over pixels on CUDA: the host side of `reduction.cu`."""

from math import gcd

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array

THREADS = 128  # a block, of the plain rung
CHANNELS, PARTS = 8, 128  # of the tree, as in reduction.cu
COLUMNS, LINES = 128, 64  # of a block of the last rung: across at most, down at least
FEW = 4096  # pixels that one block of the tree adds as fast as two launches do
MOST = 256  # parts, which the tree adds up in two steps per thread
SOURCES = {
    ("f", True): Source("reduction/reduction.cu", {"REAL": "float", "ALIGNED": 1}),
    ("f", False): Source("reduction/reduction.cu", {"REAL": "float", "ALIGNED": 0}),
    ("d", False): Source("reduction/reduction.cu", {"REAL": "double", "ALIGNED": 0}),
}


def plain(x: Array) -> Array:
    """Add up x (N,L,C) over all pixels: a sum a thread."""
    return _sum(_pixels(x), "plain", THREADS, (THREADS, 1, 1))


def tree(x: Array) -> Array:
    """Add up x (N,L,C) over all pixels: parts of them, then the parts as a tree."""
    return _tree(_pixels(x))


def spread(x: Array) -> Array:
    """Add up x (N,L,C): by many blocks a sum, where there are many pixels."""
    x_lc = _pixels(x)
    length, c = x_lc.shape
    if length <= FEW or c == 0:
        return _tree(x_lc)
    width = _width(c)
    count = -(-x_lc.size // width)
    lines = max(LINES, -(-count // MOST))
    blocks = -(-count // lines)
    sums = empty((blocks, c), x.dtype, like=x)
    aligned = x.dtype.char == "f" and width % 4 == x_lc.size % 4 == 0
    launch(
        SOURCES[x.dtype.char, aligned],
        "pixel_sums_spread",
        grid=(blocks, -(-width // COLUMNS), 1),
        block=(256, 1, 1),
        arguments=(
            *(contiguous(x_lc), sums, np.int64(x_lc.size)),
            *map(np.int32, (c, width, lines)),
        ),
    )
    return _tree(sums) if blocks > 1 else sums[0]


def _width(c: int) -> int:
    """As many whole pixels as a block is wide, if that can be in fours of values."""
    fit, step = COLUMNS // c, 4 // gcd(c, 4)
    return c * max(1, fit // step * step or fit)


def _pixels(x: Array) -> Array:
    """View x (N,L,C) as (N·L, C)."""
    n, length, c = x.shape
    return x.reshape(n * length, c)


def _tree(x_lc: Array) -> Array:
    return _sum(x_lc, "tree", CHANNELS, (CHANNELS, PARTS, 1))


def _sum(x_lc: Array, rung: str, each: int, block: tuple[int, int, int]) -> Array:
    """Launch one of the first two rungs, a block for `each` channels."""
    length, c = x_lc.shape
    y = empty(c, x_lc.dtype, like=x_lc)
    launch(
        SOURCES[x_lc.dtype.char, False],
        f"pixel_sums_{rung}",
        grid=(-(-c // each), 1, 1),
        block=block,
        arguments=(contiguous(x_lc), y, np.int64(length), np.int32(c)),
    )
    return y


LADDER = {
    "plain": Rung(plain, "a sum a thread"),
    "tree": Rung(tree, "128 parts of a sum, added as a tree in shared memory"),
    "spread": Rung(spread, "many pixels are shared out to blocks, 16 bytes a read"),
}
