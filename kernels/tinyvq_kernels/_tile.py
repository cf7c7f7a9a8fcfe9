"""The register tile that matrix products, convolutions and the search share.

A tile is 6 rows × 2 vectors of results (6×16 in float32, 6×8 in float64):

    sum[i, j] = start[j] + Σ_t Σ_l  a[row_i + tap_t + l] · w[t, l, j]

For a matrix product the rows start at i·L and there is one tap, at 0. For a convolution
the rows are six output pixels, each tap a row of the kernel: `l` then runs over the
kernel's columns and all channels at once, because the image is channels-last.

Why 6×2 vectors: each step of the inner loop loads 2 vectors of w, broadcasts 6 values
of a, and does 12 fused multiply-adds. A core with two FMA units of latency 4 needs at
least 8 independent sums in flight; 12 sums, 2 w and 1 broadcast fill 15 of the 16
AVX registers. Fewer rows would load more per product, more would spill.

Products are added in links of LINK = 64, and the links one after another. A chain of
L roundings is off by about u √(L/6) of the result where terms have random signs; cut
into links it is √(64/6) and √(L/384) of them: four times less at L = 1,000. The search
alone runs in one chain, because that is how its answer is defined. Each result is cut
in the same places wherever it stands in a tile and whichever thread computes it.
"""

from typing import Any

import numpy as np

from tinyvq_kernels._jit import jit
from tinyvq_kernels._simd import add, broadcast, fma, lanes_of, load, splat, store
from tinyvq_kernels._types import Flat, Ints, Vec

ROWS = 6
LINK = 64

Tile = tuple[Vec, ...]  # 12 vectors: row by row, two each


def tile_width(dtype: Any) -> int:
    """Count a tile's columns: two vectors, 16 float32 or 8 float64."""
    return 2 * lanes_of(np.dtype(dtype).itemsize)


def _chain(
    tile: Tile,
    a: Flat,
    rows: Ints,
    i: int,
    first: int,
    last: int,
    w: Flat,
    at: int,
) -> Tile:
    """Go on with a tile's sums: add a[rows[i+k] + l] · w[l, :] for l = first .. last-1.

    w[l, :] are the two vectors from w[at:] on, then the next two, ...
    """
    lanes = 32 // w.itemsize
    r0, r1, r2 = rows[i], rows[i + 1], rows[i + 2]
    r3, r4, r5 = rows[i + 3], rows[i + 4], rows[i + 5]
    a00, a01, a10, a11, a20, a21, a30, a31, a40, a41, a50, a51 = tile
    for l in range(first, last):
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


def _start_tile(start: Flat, s: int) -> Tile:
    """Give all six rows the two vectors start[s:]."""
    u = load(start, s)
    v = load(start, s + 32 // start.itemsize)
    return u, v, u, v, u, v, u, v, u, v, u, v


def _add_tiles(s: Tile, t: Tile) -> Tile:
    return (
        add(s[0], t[0]),
        add(s[1], t[1]),
        add(s[2], t[2]),
        add(s[3], t[3]),
        add(s[4], t[4]),
        add(s[5], t[5]),
        add(s[6], t[6]),
        add(s[7], t[7]),
        add(s[8], t[8]),
        add(s[9], t[9]),
        add(s[10], t[10]),
        add(s[11], t[11]),
    )


def _chain_tile(
    a: Flat, rows: Ints, i: int, length: int, w: Flat, at: int, start: Flat, s: int
) -> Tile:
    """Return the tile start + Σ_l a[row + l] · w[l, :], each sum one chain."""
    return chain(start_tile(start, s), a, rows, i, 0, length, w, at)


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
) -> Tile:
    """Return the tile of rows i .. i+5 against the packed columns w[at:], in links."""
    width = 64 // w.itemsize
    total = start_tile(start, s)
    o = splat(w.dtype.type(0))
    zero = o, o, o, o, o, o, o, o, o, o, o, o
    for t in range(taps.size):
        tap = taps[t]
        for first in range(0, run, LINK):
            last = min(first + LINK, run)
            link = chain(zero, a, rows, i, tap + first, tap + last, w, at)
            at += (last - first) * width
            total = add_tiles(total, link)
    return total


def _store_tile(tile: Tile, out: Flat, at: int) -> None:
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
    tile: Tile,
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


chain = jit(_chain, inline=True)
start_tile = jit(_start_tile, inline=True)
add_tiles = jit(_add_tiles, inline=True)
chain_tile = jit(_chain_tile, inline=True)
multiply_tile = jit(_multiply_tile, inline=True)
store_tile = jit(_store_tile, inline=True)
store_rows = jit(_store_rows, inline=True)
pack_columns = jit(_pack_columns)
