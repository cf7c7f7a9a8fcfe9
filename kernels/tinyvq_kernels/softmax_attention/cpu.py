"""Attention on CPU cores: an item is one task, and takes a block of queries at a time.

The scores of a block are a few dozen KiB: they are made, turned into weights and used
while they are in a near cache, and are never written to memory. What all blocks read of
an item, its keys and values, is packed once, in the panels that a register tile reads.

A causal tile of six queries multiplies up to the last key that one of them sees. A
weight that is hidden is 0, and 0 · v adds nothing to a sum; sums over keys are cut
every LINK keys from the first on. So a row is the same however many keys follow those
that it sees. Rows of scores are filled up to whole tiles, so that a vector may read
beyond the last key.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import pack_columns, pack_turned
from tinyvq_kernels._simd import copy, lanes_in
from tinyvq_kernels._tile import (
    accumulate,
    multiply_tile,
    outer_tile,
    store_rows,
    tile_width,
)
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.softmax_attention.weights import Block, pull, soften, weigh

BLOCK = 48  # queries at a time: 8 tiles, and in one link of sums over queries


class Sizes(NamedTuple):
    """T queries and S keys of E values, F values that are mixed; causal or not.

    wide_s, wide_e, wide_f  those sizes filled up to whole tiles
    high_s                  S filled up to whole rows of a tile
    """

    t: int
    s: int
    e: int
    f: int
    causal: bool
    wide_s: int
    wide_e: int
    wide_f: int
    high_s: int


class Scratch(NamedTuple):
    """What a task keeps at hand.

    rows    offsets of a block's rows in what is multiplied, five more than there are
    dest    offsets of its rows in the result
    keys    0 .. S-1
    tap     0, the only one
    zeros   that a tile starts with
    spare   a tile
    panels  a block's rows of q or gy, packed
    places  0, 1, 2, ... of each key, as floats
    """

    rows: Ints
    dest: Ints
    keys: Ints
    tap: Ints
    zeros: Flat
    spare: Flat
    panels: Flat
    places: Flat


def sizes_of(q: Array, v: Array, causal: bool) -> Sizes:
    """Name the sizes, and fill them up."""
    t, e = q.shape[1:]
    s, f = v.shape[1:]
    tile = tile_width(q.dtype)
    wide_s, wide_e, wide_f = (-(-n // tile) * tile for n in (s, e, f))
    return Sizes(t, s, e, f, causal, wide_s, wide_e, wide_f, high_s=-(-s // 6) * 6)


def attention(q: Array, k: Array, v: Array, causal: bool) -> tuple[Array, Array]:
    """Mix values; shapes as in the package's contract."""
    y = np.empty((*q.shape[:2], v.shape[2]), q.dtype)
    lse = np.empty(q.shape[:2], q.dtype)
    if lse.size:
        _mix_items(
            *(flat(q), flat(k), flat(v), sizes_of(q, v, causal)),
            *(flat(y), flat(lse)),
        )
    return y, lse


def attention_grad(
    q: Array, k: Array, v: Array, lse: Array, gy: Array, causal: bool
) -> tuple[Array, Array, Array]:
    """Differentiate; shapes as in the package's contract."""
    gq, gk, gv = (np.zeros(a.shape, a.dtype) for a in (q, k, v))
    if lse.size:
        _differentiate_items(
            *(flat(q), flat(k), flat(v), flat(lse), flat(gy)),
            *(sizes_of(q, v, causal), flat(gq), flat(gk), flat(gv)),
        )
    return gq, gk, gv


def _mix_tasks(q: Flat, k: Flat, v: Flat, sizes: Sizes, y: Flat, lse: Flat) -> None:
    t, s, e, f = sizes.t, sizes.s, sizes.e, sizes.f
    tile, scale = 2 * lanes_in(q), q.dtype.type(1 / math.sqrt(e))
    for item in prange(lse.size // t):
        here = new_scratch(sizes, q)
        p = np.empty(BLOCK * sizes.wide_s, q.dtype)
        keys = np.empty(sizes.wide_s * e, q.dtype)
        values = np.empty(sizes.wide_f * s, q.dtype)
        pack_turned(k[item * s * e : (item + 1) * s * e], s, e, scale, tile, keys)
        pack_columns(v[item * s * f : (item + 1) * s * f], s, f, tile, values)
        for first in range(0, t, BLOCK):
            block = block_of(sizes, first)
            row = item * t + first
            score(q, row * e, e, block, sizes, keys, p, here)
            soften(p, block, sizes.wide_s, lse[row : row + block.queries], here.places)
            mix(p, block, sizes, values, f, y, row * f, here)


def _differentiate_tasks(
    q: Flat,
    k: Flat,
    v: Flat,
    lse: Flat,
    gy: Flat,
    sizes: Sizes,
    gq: Flat,
    gk: Flat,
    gv: Flat,
) -> None:
    t, s, e, f = sizes.t, sizes.s, sizes.e, sizes.f
    one, scale = q.dtype.type(1), q.dtype.type(1 / math.sqrt(e))
    tile = 2 * lanes_in(q)
    for item in prange(lse.size // t):
        here = new_scratch(sizes, q)
        p = np.empty(BLOCK * sizes.wide_s, q.dtype)
        gs = np.empty_like(p)
        of_keys = slice(item * s * e, (item + 1) * s * e)
        of_values = slice(item * s * f, (item + 1) * s * f)
        turned = np.empty(sizes.wide_s * e, q.dtype)
        keys = np.empty(sizes.wide_e * s, q.dtype)
        values = np.empty(sizes.wide_s * f, q.dtype)
        pack_turned(k[of_keys], s, e, scale, tile, turned)
        pack_columns(k[of_keys], s, e, tile, keys)
        pack_turned(v[of_values], s, f, one, tile, values)
        sums_k = np.zeros(sizes.wide_e * sizes.high_s, q.dtype)
        sums_v = np.zeros(sizes.wide_f * sizes.high_s, q.dtype)
        for first in range(0, t, BLOCK):
            block = block_of(sizes, first)
            row = item * t + first
            last = row + block.queries
            score(q, row * e, e, block, sizes, turned, p, here)
            weigh(p, block, sizes.wide_s, lse[row:last])
            score(gy, row * f, f, block, sizes, values, gs, here)  # gp as yet
            pull(p, gs, block, sizes.wide_s, here.places)
            mix(gs, block, sizes, keys, e, gq, row * e, here)
            scale_by(gq[row * e : last * e], scale)
            add_products(p, block, sizes, gy[row * f : last * f], f, sums_v, here)
            add_products(gs, block, sizes, q[row * e : last * e], e, sums_k, here)
        unpack(sums_k, sizes, e, gk[of_keys])
        scale_by(gk[of_keys], scale)
        unpack(sums_v, sizes, f, gv[of_values])


def _new_scratch(sizes: Sizes, like: Flat) -> Scratch:
    tile = 2 * lanes_in(like)
    return Scratch(
        np.empty(BLOCK + 5, np.int64),
        np.empty(BLOCK + 5, np.int64),
        np.arange(sizes.s),
        np.zeros(1, np.int64),
        np.zeros(tile, like.dtype),
        np.empty(6 * tile, like.dtype),
        np.empty(BLOCK * max(sizes.wide_e, sizes.wide_f), like.dtype),
        np.arange(sizes.wide_s).astype(like.dtype),
    )


def _block_of(sizes: Sizes, first: int) -> Block:
    count = min(BLOCK, sizes.t - first)
    if sizes.causal:
        return Block(count, sizes.s - sizes.t + first + 1, 1)
    return Block(count, sizes.s, 0)


def _place_rows(places: Ints, at: int, step: int, count: int) -> None:
    """Write where rows begin; a tile's missing ones repeat the last."""
    for i in range(count + 5):
        places[i] = at + min(i, count - 1) * step


def _score_block(
    a: Flat,
    at: int,
    length: int,
    block: Block,
    sizes: Sizes,
    packed: Flat,
    out: Flat,
    here: Scratch,
) -> None:
    """Multiply the rows of a from a[at:] by packed columns, one a key, where seen.

    out (count, wide_s); what no query of a tile sees is left as it is
    """
    tile = 2 * lanes_in(out)
    place_rows(here.rows, at, length, block.queries)
    place_rows(here.dest, 0, sizes.wide_s, block.queries)
    for column in range(0, block.sees + (block.queries - 1) * block.grows, tile):
        panel = column * length
        for i in range(0, block.queries, 6):
            left = min(6, block.queries - i)
            if block.sees + (i + left - 1) * block.grows > column:
                sums = multiply_tile(
                    a, here.rows, i, here.tap, length, packed, panel, here.zeros, 0
                )
                store_rows(sums, out, here.dest, i, left, column, tile, here.spare)


def _mix_block(
    p: Flat,
    block: Block,
    sizes: Sizes,
    packed: Flat,
    columns: int,
    out: Flat,
    at: int,
    here: Scratch,
) -> None:
    """Multiply p (count, wide_s) by packed (panels, S, tile), to rows from out[at:]."""
    tile = 2 * lanes_in(out)
    place_rows(here.rows, 0, sizes.wide_s, block.queries)
    place_rows(here.dest, at, columns, block.queries)
    for column in range(0, columns, tile):
        valid = min(tile, columns - column)
        for i in range(0, block.queries, 6):
            left = min(6, block.queries - i)
            seen = block.sees + (i + left - 1) * block.grows
            sums = multiply_tile(
                *(p, here.rows, i, here.tap, seen),
                *(packed, column * sizes.s, here.zeros, 0),
            )
            store_rows(sums, out, here.dest, i, left, column, valid, here.spare)


def _add_block_products(
    p: Flat,
    block: Block,
    sizes: Sizes,
    w: Flat,
    columns: int,
    sums: Flat,
    here: Scratch,
) -> None:
    """Add Σ_i p[i, key] · w[i, :] over a block's queries i, where they see the key.

    p (count, wide_s), w (count, columns), sums (panels, high_s, tile)
    """
    tile = 2 * lanes_in(p)
    pack_columns(w, block.queries, columns, tile, here.panels)
    place_rows(here.rows, 0, sizes.wide_s, block.queries)
    place_rows(here.dest, 0, tile, block.queries)
    for column in range(0, columns, tile):
        for key in range(0, block.sees + (block.queries - 1) * block.grows, 6):
            begin = max(0, key - block.sees + 1)  # the first query that sees it
            products = outer_tile(
                *(p, here.rows, begin, block.queries, here.keys, key),
                *(here.panels, here.dest, column * block.queries),
            )
            accumulate(products, sums, column * sizes.high_s + key * tile)


def _unpack_sums(sums: Flat, sizes: Sizes, columns: int, out: Flat) -> None:
    """Put sums (panels, high_s, tile) in order: out (S, columns)."""
    tile = 2 * lanes_in(sums)
    for column in range(0, columns, tile):
        valid = min(tile, columns - column)
        for key in range(sizes.s):
            at = column * sizes.high_s + key * tile
            copy(out, key * columns + column, sums, at, valid)


def _scale_values(values: Flat, factor: Any) -> None:
    for i in range(values.size):
        values[i] *= factor


new_scratch = jit(_new_scratch, allocates=True)
block_of = jit(_block_of)
place_rows = jit(_place_rows)
score = jit(_score_block)
mix = jit(_mix_block)
add_products = jit(_add_block_products)
unpack = jit(_unpack_sums)
scale_by = jit(_scale_values)
_mix_items = jit(_mix_tasks, parallel=True)
_differentiate_items = jit(_differentiate_tasks, parallel=True)
