"""Nearest-code search on CPU cores: a matrix product that keeps only its maxima.

Tiles of 6 vectors × two registers of codes (32 in float32 with AVX-512, 16 with AVX2)
start at -|e|²/2 and run over d; each lane is the chain that the contract defines. After
a panel of so many codes every lane compares with the best score it has seen and keeps
the panel's number; a row's lanes are compared once, at the end. Codes are packed in
panels, and a block of rows meets a panel while it is in cache.
"""

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import pack_columns
from tinyvq_kernels._simd import (
    fma,
    greater,
    indices,
    lanes_in,
    load,
    load_like,
    select,
    store,
)
from tinyvq_kernels._tile import chain_tile, store_tile, tile_width
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.search.reference import check_range

BLOCK = 192  # rows per task, a multiple of 6


def nearest_code(z: Array, codes: Array) -> Array:
    """Search; shapes as in the package's contract."""
    check_range(z, codes)
    n, depth = z.shape
    m = codes.shape[0]
    found = np.empty(n, np.int64)
    width = tile_width(z.dtype)
    packed = np.empty(-(-m // width) * depth * width, z.dtype)
    pack_columns(flat(codes.T), depth, m, width, packed)
    # Columns beyond the last code score -inf and are never the best.
    start = np.full(-(-m // width) * width, -np.inf, z.dtype)
    code_starts(flat(codes), m, depth, start)
    _search(flat(z), n, depth, packed, start, found)
    return found


def _code_starts(codes: Flat, m: int, depth: int, start: Flat) -> None:
    """Fill start[:m] with -|e|²/2, each |e|² one chain of fused multiply-adds."""
    for code in range(m):
        length = codes.dtype.type(0)
        for d in range(code * depth, (code + 1) * depth):
            length = fma(codes[d], codes[d], length)
        start[code] = -length / codes.dtype.type(2)


def _search_blocks(
    z: Flat, n: int, depth: int, packed: Flat, start: Flat, found: Ints
) -> None:
    tile = 2 * lanes_in(z)
    for task in prange((n + BLOCK - 1) // BLOCK):
        first = task * BLOCK
        rows = min(BLOCK, n - first)
        base = np.empty(rows + 5, np.int64)
        for i in range(rows):
            base[i] = (first + i) * depth
        base[rows:] = base[rows - 1]
        scores = np.full((rows + 5) * tile, -np.inf, z.dtype)
        panels = np.zeros((rows + 5) * tile, np.int32)
        fresh = np.empty(6 * tile, z.dtype)
        for panel in range(start.size // tile):
            at = panel * depth * tile
            for i in range(0, rows, 6):
                sums = chain_tile(z, base, i, depth, packed, at, start, panel * tile)
                store_tile(sums, fresh, 0)
                keep_best(fresh, panel, scores, panels, i * tile)
        for i in range(rows):
            top = scores[i * tile]
            code = panels[i * tile] * tile
            for lane in range(1, tile):
                score = scores[i * tile + lane]
                other = panels[i * tile + lane] * tile + lane
                if score > top or (score == top and other < code):
                    top, code = score, other
            found[first + i] = code


def _keep_best(fresh: Flat, panel: int, scores: Flat, panels: Ints, at: int) -> None:
    """Where a lane beats its best so far, keep its score and this panel's number.

    Strictly greater: among equal scores of a lane the first panel stays.
    """
    lanes = lanes_in(scores)
    for i in range(0, 12 * lanes, lanes):
        score = load(fresh, i)
        best = load(scores, at + i)
        better = greater(score, best)
        number = load_like(score, panels, at + i)
        store(scores, at + i, select(better, score, best))
        store(panels, at + i, select(better, indices(score, panel), number))


keep_best = jit(_keep_best, inline=True)
code_starts = jit(_code_starts)
_search = jit(_search_blocks, parallel=True)
