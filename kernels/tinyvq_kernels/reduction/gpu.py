"""Sums over pixels on CUDA: the host side of `reduction.cu`."""

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array

THREADS = 128  # a block, of the plain rung
CHANNELS, PARTS = 32, 16  # of the tree, as in reduction.cu
SOURCES = {
    "f": Source("reduction/reduction.cu", {"REAL": "float"}),
    "d": Source("reduction/reduction.cu", {"REAL": "double"}),
}


def plain(x: Array) -> Array:
    """Add up x (N,L,C) over L: a sum a thread."""
    n, _, c = x.shape
    return _run(x, "plain", -(-n * c // THREADS), (THREADS, 1, 1))


def tree(x: Array) -> Array:
    """Add up x (N,L,C) over L: parts of it, then the parts as a tree."""
    n, _, c = x.shape
    return _run(x, "tree", n * -(-c // CHANNELS), (CHANNELS, PARTS, 1))


def _run(x: Array, rung: str, blocks: int, block: tuple[int, int, int]) -> Array:
    n, length, c = x.shape
    y = empty((n, c), x.dtype, like=x)
    launch(
        SOURCES[x.dtype.char],
        f"pixel_sums_{rung}",
        grid=(blocks, 1, 1),
        block=block,
        arguments=(contiguous(x), y, np.int32(n), np.int32(length), np.int32(c)),
    )
    return y


LADDER = {
    "plain": Rung(plain, "a sum a thread"),
    "tree": Rung(tree, "16 parts of a sum, added as a tree in shared memory"),
}
