"""Scores of a block of queries into weights, and gradients of weights into theirs.

A row belongs to a query; rows stand `wide` values apart, in whole tiles. What a query
does not see is 0 in the end, and before that whatever it was: masks keep it out.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._exponential import exponential
from tinyvq_kernels._jit import jit
from tinyvq_kernels._simd import (
    add,
    fma,
    greater,
    lanes_in,
    largest,
    load,
    mul,
    select,
    splat,
    store,
    sub,
    total,
)
from tinyvq_kernels._types import Flat, Vec


class Block(NamedTuple):
    """Some queries of an item; the i-th sees the keys before sees + i · grows."""

    queries: int
    sees: int
    grows: int


def _in_sight(places: Flat, j: int, seen: int) -> Vec:
    """Tell which of the lanes at j, j + 1, ... are before `seen`."""
    return greater(splat(places.dtype.type(seen)), load(places, j))


def _exponentiate(row: Flat, seen: int, offset: Any) -> None:
    """Turn the scores of a row into e^(s - offset), as far as a tile that is seen.

    Whole tiles, as LLVM ends a loop over `seen` values with slow single ones.
    """
    tile = 2 * lanes_in(row)
    here = row[: (seen + tile - 1) // tile * tile]
    for j in range(here.size):
        here[j] = exponential(here[j] - offset)


def _clear_row(row: Flat, seen: int) -> None:
    """Write 0 from the first vector on of which nothing is seen."""
    lanes = lanes_in(row)
    nothing = splat(row.dtype.type(0))
    for j in range((seen + lanes - 1) // lanes * lanes, row.size, lanes):
        store(row, j, nothing)


def _soften_block(p: Flat, block: Block, wide: int, lse: Flat, places: Flat) -> None:
    """Turn rows of scores into weights, 0 where hidden; write log Σ e^s of each."""
    lanes, kind = lanes_in(p), p.dtype.type
    nothing, least = splat(kind(0)), splat(kind(-np.inf))
    for i in range(block.queries):
        row = p[i * wide : (i + 1) * wide]
        seen = block.sees + i * block.grows
        best = least
        for j in range(0, seen, lanes):
            more = select(in_sight(places, j, seen), load(row, j), least)
            best = select(greater(more, best), more, best)
        top = largest(best)
        exponentiate(row, seen, top)
        sums = nothing
        for j in range(0, seen, lanes):
            weight = select(in_sight(places, j, seen), load(row, j), nothing)
            store(row, j, weight)
            sums = add(sums, weight)
        whole = total(sums)
        lse[i] = top + math.log(np.float64(whole))
        share = splat(kind(1) / whole)
        for j in range(0, seen, lanes):
            store(row, j, mul(load(row, j), share))
        clear_row(row, seen)


def _weigh_block(p: Flat, block: Block, wide: int, lse: Flat) -> None:
    """Turn rows of scores into weights e^(s - lse), 0 where hidden."""
    for i in range(block.queries):
        row = p[i * wide : (i + 1) * wide]
        seen = block.sees + i * block.grows
        exponentiate(row, seen, lse[i])
        row[seen:] = 0


def _pull_block(p: Flat, gp: Flat, block: Block, wide: int, places: Flat) -> None:
    """Turn rows of gp into gs = p · (gp - Σ gp p), gp shifted to 0 at the largest p."""
    lanes, kind = lanes_in(p), p.dtype.type
    nothing, least = splat(kind(0)), splat(kind(-np.inf))
    for i in range(block.queries):
        weights = p[i * wide : (i + 1) * wide]
        row = gp[i * wide : (i + 1) * wide]
        seen = block.sees + i * block.grows
        best, its = load(weights, 0), load(row, 0)  # the largest p of each lane, its gp
        for j in range(lanes, seen, lanes):
            more = load(weights, j)
            its = select(greater(more, best), load(row, j), its)
            best = select(greater(more, best), more, best)
        less = greater(splat(largest(best)), best)
        shift = splat(largest(select(less, least, its)))
        sums = nothing
        for j in range(0, seen, lanes):
            shifted = sub(load(row, j), shift)
            shifted = select(in_sight(places, j, seen), shifted, nothing)
            store(row, j, shifted)
            sums = fma(shifted, load(weights, j), sums)
        inner = splat(total(sums))
        for j in range(0, seen, lanes):
            store(row, j, mul(load(weights, j), sub(load(row, j), inner)))
        clear_row(row, seen)


in_sight = jit(_in_sight, inline=True)
exponentiate = jit(_exponentiate, inline=True)
clear_row = jit(_clear_row, inline=True)
soften = jit(_soften_block)
weigh = jit(_weigh_block)
pull = jit(_pull_block)
