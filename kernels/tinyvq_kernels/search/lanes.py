"""Nearest-code search with a vector of z in each lane.

In `tiled.py` lanes are codes, so a row's best has to be found among its lanes at the
end, and each new score is compared, stored and loaded on the way. Here lanes are rows
of z and the six rows of a tile are codes, broadcast from where they stand:

    score[code, row] = -|e_code|²/2 + Σ_d e[code, d] · z[d, row]

A lane's best so far *is* its row's, and so is its index. Both stay in registers over a
chunk of codes. Of a tile's six scores only the largest is looked at; most tiles improve
on no row, and then that is all. Where one does, the six are compared in the order of
the codes, strictly, so that ties go to the lowest.
"""

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import (
    any_lane,
    bits,
    broadcast,
    greater,
    indices,
    lanes_in,
    load,
    load_like,
    select,
    store,
)
from tinyvq_kernels._tile import Tile, chain
from tinyvq_kernels._types import Array, Flat, Ints, Vec
from tinyvq_kernels.search.reference import check_range
from tinyvq_kernels.search.tiled import code_starts

BLOCKS = 8  # blocks of rows per task; a block is two vectors of them
CHUNK_BYTES = 1 << 18  # of codes that meet the blocks of a task while in a near cache
FEW = 200  # tiles, below which comparing all is cheaper than asking first
PART = 1 << 15  # values of z a task, where its largest is looked for


def nearest_code(z: Array, codes: Array) -> Array:
    """Search; shapes as in the package's contract."""
    n, depth = z.shape
    m = codes.shape[0]
    rows, table = flat(z), flat(codes)
    if not _fits(rows, table, depth):
        check_range(z, codes)
    # The last tile's missing codes repeat the last one, which then ties with itself.
    start = np.empty(m + 5, z.dtype)
    code_starts(table, m, depth, start)
    start[m:] = start[m - 1]
    places = np.minimum(np.arange(m + 5), m - 1) * depth
    chunk = max(1, CHUNK_BYTES // (6 * max(1, depth) * z.itemsize)) * 6
    found = np.empty(n, np.int64)
    _search(rows, n, depth, table, places, start, chunk, m <= 6 * FEW, found)
    return found


def _fits(z: Flat, codes: Flat, depth: int) -> bool:
    """Tell from the largest values alone that no sum is NaN or overflows."""
    if depth == 0 or z.size == 0:
        return False
    tops = []
    for values in (z, codes):
        parts = np.zeros(-(-values.size // PART), f"i{values.itemsize}")
        _largest(values, parts)
        tops.append(float(parts.max().view(values.dtype)))
    limit = float(np.finfo(z.dtype).max) / 2
    return depth * tops[1] * (tops[1] + tops[0]) < limit  # False for NaN and inf


def _largest_of_parts(values: Flat, parts: Ints) -> None:
    """Find the largest |value| of each part as bits, which order as floats do."""
    sign = bits(values.dtype.type(-0.0))
    for part in prange(parts.size):
        most = bits(values.dtype.type(0))
        of_part = values[part * PART : (part + 1) * PART]  # from 0: see pointwise
        for i in range(of_part.size):
            here = bits(of_part[i]) & ~sign
            most = here if here > most else most
        parts[part] = most


def _search_tasks(
    z: Flat,
    n: int,
    depth: int,
    codes: Flat,
    places: Ints,
    start: Flat,
    chunk: int,
    few: bool,
    found: Ints,
) -> None:
    wide = 2 * lanes_in(z)
    m = places.size - 5
    for task in prange((n + BLOCKS * wide - 1) // (BLOCKS * wide)):
        first = task * BLOCKS * wide
        rows = min(BLOCKS * wide, n - first)
        blocks = (rows + wide - 1) // wide
        turned = np.zeros(blocks * depth * wide, z.dtype)  # (blocks, depth, wide)
        turn_rows(z, first, rows, depth, turned)
        best = np.full(blocks * wide, -np.inf, z.dtype)
        code = np.zeros(blocks * wide, np.int32)
        for begin in range(0, m, chunk):
            end = min(begin + chunk, m)
            for block in range(blocks):
                w, at = block * depth * wide, block * wide
                search_block(
                    *(codes, places, start, begin, end, depth, turned, w),
                    *(few, best, code, at),
                )
        for i in range(rows):
            found[first + i] = code[i]


def _turn_rows(z: Flat, first: int, rows: int, depth: int, turned: Flat) -> None:
    """Put rows first .. of z (.., depth) into blocks (depth, wide): a row per lane."""
    wide = 2 * lanes_in(z)
    for i in range(rows):
        to = i // wide * depth * wide + i % wide
        for d in range(depth):
            turned[to + d * wide] = z[(first + i) * depth + d]


def _search_block(
    codes: Flat,
    places: Ints,
    start: Flat,
    begin: int,
    end: int,
    depth: int,
    turned: Flat,
    w: int,
    few: bool,
    best: Flat,
    code: Ints,
    at: int,
) -> None:
    """Let codes begin .. end-1 compete for the two vectors of rows turned[w:]."""
    lanes = lanes_in(codes)
    b0, b1 = load(best, at), load(best, at + lanes)
    k0, k1 = load_like(b0, code, at), load_like(b1, code, at + lanes)
    for i in range(begin, end, 6):
        s = chain(start_codes(start, i), codes, places, i, 0, depth, turned, w)
        if not few:
            top0 = largest(s[0], s[2], s[4], s[6], s[8], s[10])
            top1 = largest(s[1], s[3], s[5], s[7], s[9], s[11])
            if not (any_lane(greater(top0, b0)) or any_lane(greater(top1, b1))):
                continue
        b0, k0 = compete(b0, k0, i, s[0], s[2], s[4], s[6], s[8], s[10])
        b1, k1 = compete(b1, k1, i, s[1], s[3], s[5], s[7], s[9], s[11])
    store(best, at, b0)
    store(best, at + lanes, b1)
    store(code, at, k0)
    store(code, at + lanes, k1)


def _start_codes(start: Flat, i: int) -> Tile:
    """Start each of six codes in both vectors at its own -|e|²/2."""
    s0, s1, s2 = broadcast(start, i), broadcast(start, i + 1), broadcast(start, i + 2)
    s3, s4 = broadcast(start, i + 3), broadcast(start, i + 4)
    s5 = broadcast(start, i + 5)
    return s0, s0, s1, s1, s2, s2, s3, s3, s4, s4, s5, s5


def _larger(a: Vec, b: Vec) -> Vec:
    return select(greater(a, b), a, b)


def _largest_of_six(s0: Vec, s1: Vec, s2: Vec, s3: Vec, s4: Vec, s5: Vec) -> Vec:
    return larger(larger(larger(s0, s1), larger(s2, s3)), larger(s4, s5))


def _compete(
    best: Vec,
    code: Vec,
    i: int,
    s0: Vec,
    s1: Vec,
    s2: Vec,
    s3: Vec,
    s4: Vec,
    s5: Vec,
) -> tuple[Vec, Vec]:
    """Let the scores of codes i .. i+5 replace a lane's best, one after another."""
    better = greater(s0, best)
    best, code = select(better, s0, best), select(better, indices(best, i), code)
    better = greater(s1, best)
    best, code = select(better, s1, best), select(better, indices(best, i + 1), code)
    better = greater(s2, best)
    best, code = select(better, s2, best), select(better, indices(best, i + 2), code)
    better = greater(s3, best)
    best, code = select(better, s3, best), select(better, indices(best, i + 3), code)
    better = greater(s4, best)
    best, code = select(better, s4, best), select(better, indices(best, i + 4), code)
    better = greater(s5, best)
    best, code = select(better, s5, best), select(better, indices(best, i + 5), code)
    return best, code


larger = jit(_larger, inline=True)
largest = jit(_largest_of_six, inline=True)
compete = jit(_compete, inline=True)
start_codes = jit(_start_codes, inline=True)
search_block = jit(_search_block)
turn_rows = jit(_turn_rows)
_largest = jit(_largest_of_parts, parallel=True)
_search = jit(_search_tasks, parallel=True)
