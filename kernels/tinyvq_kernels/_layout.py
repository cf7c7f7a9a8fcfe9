"""Matrices put into the order in which kernels read them."""

from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import copy
from tinyvq_kernels._types import Flat

SQUARE = 16  # values a side of what is transposed at once


def _pack_panel(
    matrix: Flat,
    first: int,
    rows: int,
    columns: int,
    column: int,
    width: int,
    packed: Flat,
) -> None:
    """Copy `width` columns of some rows of a matrix (.., columns), zeros beyond."""
    valid = min(width, columns - column)
    for l in range(rows):
        copy(packed, l * width, matrix, (first + l) * columns + column, valid)
        packed[l * width + valid : (l + 1) * width] = 0


def _pack_columns(
    matrix: Flat, length: int, columns: int, width: int, packed: Flat
) -> None:
    """Cut a flat (length, columns) matrix into panels of `width` columns.

    packed (panels, length, width), zeros beyond the last column: the order in which a
    tile reads it.
    """
    size = length * width
    for first in range(0, columns, width):
        panel = packed[first * length : first * length + size]
        pack_panel(matrix, 0, length, columns, first, width, panel)


def _transpose_blocks(across: Flat, rows: int, columns: int, ordered: Flat) -> None:
    """Turn matrices (columns, rows) into (rows, columns), by squares that fit L1."""
    bands = (rows + SQUARE - 1) // SQUARE
    for task in prange(ordered.size // (rows * columns) * bands):
        base = task // bands * (rows * columns)
        first = (task % bands) * SQUARE
        last = min(first + SQUARE, rows)
        for left in range(0, columns, SQUARE):
            for i in range(first, last):
                for j in range(left, min(left + SQUARE, columns)):
                    ordered[base + i * columns + j] = across[base + j * rows + i]


pack_panel = jit(_pack_panel)
pack_columns = jit(_pack_columns)
transpose = jit(_transpose_blocks, parallel=True)
