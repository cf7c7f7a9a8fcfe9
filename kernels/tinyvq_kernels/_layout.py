"""Matrices put into the order in which kernels read them."""

from typing import Any

from llvmlite import ir
from numba.core import types

from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import (
    copy,
    instruction,
    is_flat,
    lanes_in,
    load_vector,
    store_vector,
    vector_of,
)
from tinyvq_kernels._types import Flat


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


def _pack_turned(
    matrix: Flat, rows: int, columns: int, factor: Any, width: int, packed: Flat
) -> None:
    """Transpose a flat (rows, columns) matrix, scale it, and cut it into panels.

    packed (panels, columns, width), zeros beyond the last row. Four rows are read side
    by side: their values of a column are neighbours where they go.
    """
    for first in range(0, rows, 4):
        # Where there are less than four, the last one again; zeros are put there below.
        i = min(first + 1, rows - 1) * columns
        j = min(first + 2, rows - 1) * columns
        k = min(first + 3, rows - 1) * columns
        a = matrix[first * columns : (first + 1) * columns]
        b, c = matrix[i : i + columns], matrix[j : j + columns]
        d = matrix[k : k + columns]
        to = packed[first // width * width * columns + first % width :]
        for l in range(columns):
            at = l * width
            to[at] = factor * a[l]
            to[at + 1] = factor * b[l]
            to[at + 2] = factor * c[l]
            to[at + 3] = factor * d[l]
    valid = rows % width
    if valid:
        panel = rows // width * width * columns
        for l in range(columns):
            packed[panel + l * width + valid : panel + (l + 1) * width] = 0


@instruction
def turn(
    typingctx: Any, to: Any, i: Any, to_step: Any, source: Any, k: Any, step: Any
) -> Any:
    """Write a square of as many rows as a vector has lanes, transposed.

    source[k + row·step :] -> to[i + column·to_step :]

    In registers: zip row r with row r + n/2, for all n rows, and the highest bit of
    each value's row number has become the lowest of its place in a row. As many times
    as these numbers have bits, and rows and columns have changed places.
    """
    if not (is_flat(to) and is_flat(source) and to.dtype == source.dtype):
        return None
    vector = vector_of(to.dtype)
    n = vector.lanes
    order = [lane // 2 + lane % 2 * n for lane in range(2 * n)]
    kind = ir.VectorType(ir.IntType(32), n)
    halves = ir.Constant(kind, order[:n]), ir.Constant(kind, order[n:])

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def at(first: Any, apart: Any, row: int) -> Any:
            return builder.add(first, builder.mul(apart, apart.type(row)))

        there, i, to_step, here, k, step = args
        rows = [
            load_vector(context, builder, source, vector, here, at(k, step, row))
            for row in range(n)
        ]
        for _ in range(n.bit_length() - 1):
            rows = [
                builder.shuffle_vector(low, high, half)
                for low, high in zip(rows[: n // 2], rows[n // 2 :], strict=True)
                for half in halves
            ]
        for column, value in enumerate(rows):
            place = at(i, to_step, column)
            store_vector(context, builder, to, there, place, value)
        return context.get_dummy_value()

    n_ = types.intp
    return types.void(to, n_, n_, source, n_, n_), generate


def _turn_band(
    across: Flat, rows: int, columns: int, first: int, last: int, ordered: Flat
) -> None:
    """Write rows first .. last-1 of the transpose of across (columns, rows)."""
    lanes = lanes_in(across)
    whole = columns - columns % lanes if last - first == lanes else 0
    for j in range(0, whole, lanes):
        turn(ordered, first * columns + j, columns, across, j * rows + first, rows)
    for i in range(first, last):
        for j in range(whole, columns):
            ordered[i * columns + j] = across[j * rows + i]


def _transpose_bands(across: Flat, rows: int, columns: int, ordered: Flat) -> None:
    """Turn matrices (columns, rows) into (rows, columns), by squares of vectors."""
    lanes, size = lanes_in(across), rows * columns
    bands = (rows + lanes - 1) // lanes
    for task in prange(ordered.size // size * bands):
        at, first = task // bands * size, task % bands * lanes
        last = min(first + lanes, rows)
        here, to = across[at : at + size], ordered[at : at + size]
        turn_band(here, rows, columns, first, last, to)


pack_panel = jit(_pack_panel)
pack_columns = jit(_pack_columns)
pack_turned = jit(_pack_turned)
turn_band = jit(_turn_band)
transpose = jit(_transpose_bands, parallel=True)
