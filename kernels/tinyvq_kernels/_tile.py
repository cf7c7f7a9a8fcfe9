"""The register tile that matrix products and convolutions share.

A tile computes 6 rows × 2 vectors (6×16 results in float32, 6×8 in float64):

    sum[i, j] = start[j] + Σ_t Σ_l  a[row_i + tap_t + l] · w[t, l, j]

For a matrix product the rows start at i·L and there is one tap, at 0. For a convolution
the rows are six output pixels, each tap a row of the kernel: `l` then runs over the
kernel's columns and all channels at once, because the image is channels-last.

Why 6×2 vectors: each step of the inner loop loads 2 vectors of w, broadcasts 6 values
of a, and does 12 fused multiply-adds. A core with two FMA units of latency 4 needs at
least 8 independent sums in flight; 12 sums, 2 w and 1 broadcast fill 15 of the 16
AVX registers. Fewer rows would load more per product, more would spill.

Each result is its own chain of fused multiply-adds in the order of (t, l), so it does
not depend on where the tile was cut or which thread ran it.
"""

from typing import Any

import numpy as np

from tinyvq_kernels._jit import jit
from tinyvq_kernels._simd import broadcast, fma, lanes_of, load, store
from tinyvq_kernels._types import Flat, Ints, Vec

ROWS = 6


def tile_width(dtype: Any) -> int:
    """Count a tile's columns: two vectors, 16 float32 or 8 float64."""
    return 2 * lanes_of(np.dtype(dtype).itemsize)


def _multiply_tile(
    a: Flat,
    rows: Ints,
    i: int,
    taps: Ints,
    run: int,
    w: Flat,
    at: int,
    start: Flat,
    s: int,
) -> tuple[Vec, ...]:
    """Return the 6×2 sums of rows i .. i+5 against the packed columns w[at:]."""
    lanes = 32 // w.itemsize
    r0, r1, r2 = rows[i], rows[i + 1], rows[i + 2]
    r3, r4, r5 = rows[i + 3], rows[i + 4], rows[i + 5]
    a00 = a10 = a20 = a30 = a40 = a50 = load(start, s)
    a01 = a11 = a21 = a31 = a41 = a51 = load(start, s + lanes)
    for t in range(taps.size):
        tap = taps[t]
        for l in range(tap, tap + run):
            w0 = load(w, at)
            w1 = load(w, at + lanes)
            at += 2 * lanes
            x = broadcast(a, r0 + l)
            a00 = fma(x, w0, a00)
            a01 = fma(x, w1, a01)
            x = broadcast(a, r1 + l)
            a10 = fma(x, w0, a10)
            a11 = fma(x, w1, a11)
            x = broadcast(a, r2 + l)
            a20 = fma(x, w0, a20)
            a21 = fma(x, w1, a21)
            x = broadcast(a, r3 + l)
            a30 = fma(x, w0, a30)
            a31 = fma(x, w1, a31)
            x = broadcast(a, r4 + l)
            a40 = fma(x, w0, a40)
            a41 = fma(x, w1, a41)
            x = broadcast(a, r5 + l)
            a50 = fma(x, w0, a50)
            a51 = fma(x, w1, a51)
    return a00, a01, a10, a11, a20, a21, a30, a31, a40, a41, a50, a51


def _store_tile(tile: tuple[Vec, ...], out: Flat, at: int) -> None:
    """Write the 6×2 vectors of a tile one after another to out[at:]."""
    lanes = 32 // out.itemsize
    store(out, at, tile[0])
    store(out, at + lanes, tile[1])
    store(out, at + 2 * lanes, tile[2])
    store(out, at + 3 * lanes, tile[3])
    store(out, at + 4 * lanes, tile[4])
    store(out, at + 5 * lanes, tile[5])
    store(out, at + 6 * lanes, tile[6])
    store(out, at + 7 * lanes, tile[7])
    store(out, at + 8 * lanes, tile[8])
    store(out, at + 9 * lanes, tile[9])
    store(out, at + 10 * lanes, tile[10])
    store(out, at + 11 * lanes, tile[11])


def _store_rows(
    tile: tuple[Vec, ...],
    out: Flat,
    dest: Ints,
    i: int,
    rows: int,
    at: int,
    columns: int,
    spare: Flat,
) -> None:
    """Write the first `rows` × `columns` of a tile to out[dest[i + row] + at :]."""
    lanes = 32 // out.itemsize
    if rows == 6 and columns == 2 * lanes:
        d0, d1, d2 = dest[i] + at, dest[i + 1] + at, dest[i + 2] + at
        d3, d4, d5 = dest[i + 3] + at, dest[i + 4] + at, dest[i + 5] + at
        store(out, d0, tile[0])
        store(out, d0 + lanes, tile[1])
        store(out, d1, tile[2])
        store(out, d1 + lanes, tile[3])
        store(out, d2, tile[4])
        store(out, d2 + lanes, tile[5])
        store(out, d3, tile[6])
        store(out, d3 + lanes, tile[7])
        store(out, d4, tile[8])
        store(out, d4 + lanes, tile[9])
        store(out, d5, tile[10])
        store(out, d5 + lanes, tile[11])
        return
    store_tile(tile, spare, 0)
    for row in range(rows):
        to = dest[i + row] + at
        for j in range(columns):
            out[to + j] = spare[row * 2 * lanes + j]


def _pack_columns(
    matrix: Flat, length: int, columns: int, width: int, packed: Flat
) -> None:
    """Cut a flat (length, columns) matrix into panels of `width` columns.

    packed (panels, length, width), zeros beyond the last column: the order in which a
    tile reads it.
    """
    at = 0
    for first in range(0, columns, width):
        valid = min(width, columns - first)
        for l in range(length):
            source = l * columns + first
            for j in range(valid):
                packed[at + j] = matrix[source + j]
            for j in range(valid, width):
                packed[at + j] = 0
            at += width


multiply_tile = jit(_multiply_tile, inline=True)
store_tile = jit(_store_tile, inline=True)
store_rows = jit(_store_rows, inline=True)
pack_columns = jit(_pack_columns)
