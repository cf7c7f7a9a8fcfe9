"""Matrix product on CPU cores: the register tile of `_tile.py` over blocks of rows."""

import math

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._tile import multiply_tile, pack_columns, store_rows, tile_width
from tinyvq_kernels._types import Array, Flat

BLOCK = 48  # rows a task: 8 tiles, so that a panel of b is used while it is in cache


def matmul(a: Array, b: Array) -> Array:
    """Multiply; shapes as in the package's contract."""
    batch = 1 if b.ndim == 2 else math.prod(a.shape[:-2])
    length, columns = b.shape[-2:]
    rows = a.size // (batch * length) if a.size else 0
    c = np.empty((*a.shape[:-1], columns), a.dtype)
    if c.size == 0 or length == 0:
        c[...] = 0
        return c
    width = tile_width(a.dtype)
    packed = np.empty(batch * -(-columns // width) * length * width, a.dtype)
    flat_b = flat(b)
    one, one_packed = length * columns, packed.size // batch
    for i in range(batch):
        pack_columns(
            flat_b[i * one : (i + 1) * one],
            length,
            columns,
            width,
            packed[i * one_packed : (i + 1) * one_packed],
        )
    _products(flat(a), packed, c.reshape(-1), batch, rows, length, columns)
    return c


def _block_products(
    a: Flat, packed: Flat, c: Flat, batch: int, rows: int, length: int, columns: int
) -> None:
    tile = 64 // c.itemsize
    blocks = (rows + BLOCK - 1) // BLOCK
    panels = (columns + tile - 1) // tile
    for task in prange(batch * blocks):
        item = task // blocks
        first = (task % blocks) * BLOCK
        count = min(BLOCK, rows - first)
        base = np.empty(count + 5, np.int64)
        dest = np.empty(count, np.int64)
        for i in range(count):
            base[i] = (item * rows + first + i) * length
            dest[i] = (item * rows + first + i) * columns
        base[count:] = base[count - 1]
        taps = np.zeros(1, np.int64)
        start = np.zeros(tile, c.dtype)
        spare = np.empty(6 * tile, c.dtype)
        for panel in range(panels):
            at = (item * panels + panel) * length * tile
            valid = min(tile, columns - panel * tile)
            for i in range(0, count, 6):
                sums = multiply_tile(a, base, i, taps, length, packed, at, start, 0)
                left = min(6, count - i)
                store_rows(sums, c, dest, i, left, panel * tile, valid, spare)


_products = jit(_block_products, parallel=True)
