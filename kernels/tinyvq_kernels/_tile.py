"""The register tile that matrix products, convolutions and the search share.

A tile is 6 rows × 2 vectors of results, 6×32 in float32 with AVX-512, 6×16 with AVX2:

    sum[i, j] = start[j] + Σ_t Σ_l  a[row_i + tap_t + l] · w[t, l, j]

For a matrix product the rows start at i·L and there is one tap, at 0. For a convolution
the rows are six output pixels, each tap a row of the kernel: `l` then runs over the
kernel's columns and all channels at once, because the image is channels-last.

Why 6×2 vectors: each step of the inner loop loads 2 vectors of w, broadcasts 6 values
of a, and does 12 fused multiply-adds. A core with two FMA units of latency 4 needs at
least 8 independent sums in flight; 12 sums, 2 w and 1 broadcast fill 15 of the 16
registers of AVX2. Fewer rows would load more per product, more would spill. AVX-512 has
32 registers, but there the loads of this tile already hide behind its products.

Products are added in links of LINK = 64, and the links one after another. A chain of
L roundings is off by about u √(L/6) of the result where terms have random signs; cut
into links by u √(64/6 + L/384): three and a half times less at L = 1,000. The search
runs in one chain, because that is how its answer is defined; `dot_rows` has a chain in
each lane of a vector, and adds the lanes at the end. Each result is cut in the same
places wherever it stands in a tile and whichever thread computes it.
"""

from typing import Any

import numpy as np

from tinyvq_kernels._jit import jit
from tinyvq_kernels._simd import (
    add,
    broadcast,
    fma,
    lanes_in,
    lanes_of,
    load,
    splat,
    store,
    total,
)
from tinyvq_kernels._types import Flat, Ints, Vec

LINK = 64

Tile = tuple[Vec, ...]  # 12 vectors: row by row, two each


def tile_width(dtype: Any) -> int:
    """Count a tile's columns, two vectors of them."""
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
    lanes = lanes_in(w)
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
    v = load(start, s + lanes_in(start))
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
    width = 2 * lanes_in(w)
    total = start_tile(start, s)
    o = splat(w.dtype.type(0))
    zero = o, o, o, o, o, o, o, o, o, o, o, o
    if taps.size * run <= LINK:  # one link is enough for all
        link = zero
        for t in range(taps.size):
            link = chain(link, a, rows, i, taps[t], taps[t] + run, w, at)
            at += run * width
        return add_tiles(total, link)
    for t in range(taps.size):
        tap = taps[t]
        for first in range(0, run, LINK):
            last = min(first + LINK, run)
            link = chain(zero, a, rows, i, tap + first, tap + last, w, at)
            at += (last - first) * width
            total = add_tiles(total, link)
    return total


def _outer_tile(
    a: Flat,
    rows: Ints,
    first: int,
    last: int,
    entries: Ints,
    e: int,
    w: Flat,
    w_rows: Ints,
    column: int,
) -> Tile:
    """Return the tile Σ_l a[rows[l] + entry_i] · w[w_rows[l] + column :], in one chain.

    For sums over pixels: six entries of a, entries[e : e+6], times two vectors of w.
    Rows of the tile beyond the last entry repeat it.
    """
    lanes = lanes_in(w)
    o = splat(w.dtype.type(0))
    end = entries.size - 1
    e0, e1, e2 = entries[e], entries[min(e + 1, end)], entries[min(e + 2, end)]
    e3, e4 = entries[min(e + 3, end)], entries[min(e + 4, end)]
    e5 = entries[min(e + 5, end)]
    a00 = a01 = a10 = a11 = a20 = a21 = a30 = a31 = a40 = a41 = a50 = a51 = o
    for l in range(first, last):
        row = rows[l]
        w_row = w_rows[l] + column
        w0 = load(w, w_row)
        w1 = load(w, w_row + lanes)
        x = broadcast(a, row + e0)
        a00 = fma(x, w0, a00)
        a01 = fma(x, w1, a01)
        x = broadcast(a, row + e1)
        a10 = fma(x, w0, a10)
        a11 = fma(x, w1, a11)
        x = broadcast(a, row + e2)
        a20 = fma(x, w0, a20)
        a21 = fma(x, w1, a21)
        x = broadcast(a, row + e3)
        a30 = fma(x, w0, a30)
        a31 = fma(x, w1, a31)
        x = broadcast(a, row + e4)
        a40 = fma(x, w0, a40)
        a41 = fma(x, w1, a41)
        x = broadcast(a, row + e5)
        a50 = fma(x, w0, a50)
        a51 = fma(x, w1, a51)
    return a00, a01, a10, a11, a20, a21, a30, a31, a40, a41, a50, a51


def _dot_rows(
    a: Flat,
    rows: Ints,
    count: int,
    taps: Ints,
    run: int,
    w: Flat,
    start: Flat,
    out: Flat,
    dest: Ints,
    columns: int,
) -> None:
    """Multiply `count` rows of a by at most three columns, w (3, taps · run).

    A tile of two vectors of columns would be nearly empty, so here lanes are entries of
    a run: each sum is kept in as many parts as a vector has lanes. The run is whole
    vectors. `rows` has three more entries than count, which need only be valid.
    """
    lanes = lanes_in(a)
    length = taps.size * run
    o = splat(a.dtype.type(0))
    for i in range(0, count, 4):
        r0, r1, r2, r3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        a00 = a01 = a02 = a10 = a11 = a12 = a20 = a21 = a22 = a30 = a31 = a32 = o
        w_at = 0
        for t in range(taps.size):
            for l in range(taps[t], taps[t] + run, lanes):
                x0, x1 = load(a, r0 + l), load(a, r1 + l)
                x2, x3 = load(a, r2 + l), load(a, r3 + l)
                w0 = load(w, w_at)
                a00, a10 = fma(x0, w0, a00), fma(x1, w0, a10)
                a20, a30 = fma(x2, w0, a20), fma(x3, w0, a30)
                w1 = load(w, w_at + length)
                a01, a11 = fma(x0, w1, a01), fma(x1, w1, a11)
                a21, a31 = fma(x2, w1, a21), fma(x3, w1, a31)
                w2 = load(w, w_at + 2 * length)
                a02, a12 = fma(x0, w2, a02), fma(x1, w2, a12)
                a22, a32 = fma(x2, w2, a22), fma(x3, w2, a32)
                w_at += lanes
        sums = (
            (total(a00), total(a01), total(a02)),
            (total(a10), total(a11), total(a12)),
            (total(a20), total(a21), total(a22)),
            (total(a30), total(a31), total(a32)),
        )
        for row in range(min(4, count - i)):
            for j in range(columns):
                out[dest[i + row] + j] = start[j] + sums[row][j]


def _load_tile(a: Flat, at: int) -> Tile:
    """Read a tile that `store_tile` wrote."""
    n = lanes_in(a)
    return (
        load(a, at),
        load(a, at + n),
        load(a, at + 2 * n),
        load(a, at + 3 * n),
        load(a, at + 4 * n),
        load(a, at + 5 * n),
        load(a, at + 6 * n),
        load(a, at + 7 * n),
        load(a, at + 8 * n),
        load(a, at + 9 * n),
        load(a, at + 10 * n),
        load(a, at + 11 * n),
    )


def _store_tile(tile: Tile, out: Flat, at: int) -> None:
    """Write the 6×2 vectors of a tile one after another to out[at:]."""
    lanes = lanes_in(out)
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
    lanes = lanes_in(out)
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


def _accumulate(tile: Tile, out: Flat, at: int) -> None:
    """Add a tile to the one that `store_tile` wrote to out[at:]."""
    store_tile(add_tiles(load_tile(out, at), tile), out, at)


def _multiply_panels(
    a: Flat,
    rows: Ints,
    count: int,
    taps: Ints,
    run: int,
    packed: Flat,
    panel: int,
    start: Flat,
    out: Flat,
    dest: Ints,
    at: int,
    columns: int,
    spare: Flat,
) -> None:
    """Multiply `count` rows of a by all packed columns, panel by panel.

    out[dest[i] + at + j] = start[j] + Σ_t Σ_l a[rows[i] + taps[t] + l] · w[t, l, j]

    A panel, a tile wide, meets all rows while it is in cache; the first one stands at
    packed[panel:]. `rows` has five more entries than count, which need only be valid.
    """
    width = 2 * lanes_in(out)
    for column in range(0, columns, width):
        valid = min(width, columns - column)
        for i in range(0, count, 6):
            sums = multiply_tile(a, rows, i, taps, run, packed, panel, start, column)
            left = min(6, count - i)
            store_rows(sums, out, dest, i, left, at + column, valid, spare)
        panel += taps.size * run * width


chain = jit(_chain, inline=True)
start_tile = jit(_start_tile, inline=True)
add_tiles = jit(_add_tiles, inline=True)
chain_tile = jit(_chain_tile, inline=True)
multiply_tile = jit(_multiply_tile, inline=True)
outer_tile = jit(_outer_tile, inline=True)
dot_rows = jit(_dot_rows)
load_tile = jit(_load_tile, inline=True)
store_tile = jit(_store_tile, inline=True)
store_rows = jit(_store_rows, inline=True)
accumulate = jit(_accumulate, inline=True)
multiply_panels = jit(_multiply_panels)
