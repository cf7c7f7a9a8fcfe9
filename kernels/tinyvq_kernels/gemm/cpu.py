"""Matrix product on CPU cores: the register tile of `_tile.py` over blocks of rows."""

import math

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import pack_panel, pack_turned, transpose
from tinyvq_kernels._simd import lanes_in
from tinyvq_kernels._tile import multiply_panels, tile_width
from tinyvq_kernels._types import Array, Flat

BLOCK = 48  # rows per task: 8 tiles, so that a panel of b is used while it is in cache


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
    memory, turned = _as_it_stands(b)
    _pack(memory, batch, length, columns, width, turned, packed)
    _products(_row_by_row(a), packed, c.reshape(-1), batch, rows, length, columns)
    return c


def _row_by_row(a: Array) -> Flat:
    """Return a's values row by row; a matrix that was transposed is put in order."""
    across = a.swapaxes(-1, -2)
    if a.flags.c_contiguous or not (
        across.flags.c_contiguous and across.flags.writeable
    ):
        values: Flat = flat(a)
        return values
    rows, columns = a.shape[-2:]
    ordered = np.empty(a.size, a.dtype)
    transpose(across.reshape(-1), rows, columns, ordered)
    return ordered


def _as_it_stands(b: Array) -> tuple[Flat, bool]:
    """Return b's values, and whether they stand column by column.

    A matrix that was transposed is read where it stands. Only what leaves gaps, or is
    walked backwards, is copied.
    """
    last_two = b.swapaxes(-1, -2)
    if last_two.flags.c_contiguous and last_two.flags.writeable:
        return last_two.reshape(-1), True
    return flat(b), False


def _pack_panels(
    b: Flat,
    batch: int,
    length: int,
    columns: int,
    width: int,
    turned: bool,
    packed: Flat,
) -> None:
    """Cut matrices (length, columns) into panels of `width` columns, zeros beyond.

    packed (batch, panels, length, width): the order in which a tile reads it
    """
    panels, one = (columns + width - 1) // width, b.dtype.type(1)
    for task in prange(batch * panels):
        item, first = task // panels, (task % panels) * width
        here = packed[task * length * width : (task + 1) * length * width]
        if turned:
            rows = min(width, columns - first)
            at = (item * columns + first) * length
            pack_turned(b[at : at + rows * length], rows, length, one, width, here)
        else:
            matrix = b[item * length * columns : (item + 1) * length * columns]
            pack_panel(matrix, 0, length, columns, first, width, here)


def _block_products(
    a: Flat, packed: Flat, c: Flat, batch: int, rows: int, length: int, columns: int
) -> None:
    tile = 2 * lanes_in(c)
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
        start = np.zeros(panels * tile, c.dtype)
        spare = np.empty(6 * tile, c.dtype)
        at = item * panels * length * tile
        multiply_panels(
            *(a, base, count, taps, length, packed, at, start),
            *(c, dest, 0, columns, spare),
        )


_pack = jit(_pack_panels, parallel=True)
_products = jit(_block_products, parallel=True)
