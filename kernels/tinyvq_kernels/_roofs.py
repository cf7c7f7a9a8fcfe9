"""What this machine can do at most, measured: the two roofs of a roofline.

No op can compute faster than the cores multiply and add, nor read and write main
memory faster than it answers (Williams, Waterman and Patterson, "Roofline", CACM 52(4),
2009). Data sheets know neither: they do not know of clocks that fall, of neighbours on
a shared machine, or of how many threads were asked for. So both are measured here, with
as many threads as Numba has now, as the best of many short runs: what a neighbour takes
away does not lower a roof.
"""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import get_num_threads

from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import (
    add,
    fma,
    lanes_in,
    lanes_of,
    load,
    splat,
    store,
)
from tinyvq_kernels._types import Flat

CHAINS = 12  # as many sums in flight as a register tile has
ROUNDS = 1 << 19  # a few milliseconds per task
TASKS = 4  # a thread, so that one that starts late costs little
COPIED = 1 << 27  # bytes of each of two arrays: more than caches hold
BLOCK = 1 << 16  # values that a task copies
SECONDS = 0.25  # of measuring, at least


def peak_flops(dtype: npt.DTypeLike = np.float32) -> float:
    """Measure floating-point operations a second: fused multiply-adds, each counts two.

    Nothing is read or written: CHAINS vectors per core are multiplied and added to,
    over and over. Raises TypeError for other dtypes than float32 and float64.
    """
    found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"peak_flops: float32 or float64, got {found}")
    lanes = lanes_of(found.itemsize)
    tasks = TASKS * get_num_threads()
    start = np.linspace(0, 1, CHAINS * lanes).astype(found)
    ends = np.empty(tasks * lanes, found)
    seconds = _best(lambda: _chains(start, ROUNDS, tasks, ends))
    return 2.0 * tasks * ROUNDS * CHAINS * lanes / seconds


def peak_bandwidth() -> float:
    """Measure bytes per second of main memory: read and written, in a copy."""
    source = np.ones(COPIED // 4, np.float32)
    target = np.zeros(COPIED // 4, np.float32)
    seconds = _best(lambda: _copy(source, target))
    return 2.0 * COPIED / seconds


def _best(run: Callable[[], None]) -> float:
    """Time a call again and again, the first, which may compile, apart; the best."""
    run()
    seconds: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(seconds) < 5 or time.perf_counter() < until:
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _chain_of_each(start: Flat, rounds: int, ends: Flat, at: int) -> None:
    """Do x ← x/2 + 1/4 in CHAINS vectors, `rounds` times; store what they add up to.

    The values go to 1/2, never to 0: numbers near 0 would be slower.
    """
    n = lanes_in(start)
    half = splat(start.dtype.type(0.5))
    quarter = splat(start.dtype.type(0.25))
    a, b, c = load(start, 0), load(start, n), load(start, 2 * n)
    d, e, f = load(start, 3 * n), load(start, 4 * n), load(start, 5 * n)
    g, h, i = load(start, 6 * n), load(start, 7 * n), load(start, 8 * n)
    j, k, l = load(start, 9 * n), load(start, 10 * n), load(start, 11 * n)
    for _ in range(rounds):
        a = fma(a, half, quarter)
        b = fma(b, half, quarter)
        c = fma(c, half, quarter)
        d = fma(d, half, quarter)
        e = fma(e, half, quarter)
        f = fma(f, half, quarter)
        g = fma(g, half, quarter)
        h = fma(h, half, quarter)
        i = fma(i, half, quarter)
        j = fma(j, half, quarter)
        k = fma(k, half, quarter)
        l = fma(l, half, quarter)
    left = add(add(add(a, b), add(c, d)), add(e, f))
    right = add(add(add(g, h), add(i, j)), add(k, l))
    store(ends, at, add(left, right))  # or the compiler would do nothing at all


def _all_chains(start: Flat, rounds: int, tasks: int, ends: Flat) -> None:
    lanes = lanes_in(start)
    for task in prange(tasks):
        _chain(start, rounds, ends, task * lanes)


def _copy_block(source: Flat, target: Flat, first: int, last: int) -> None:
    """Copy source[first:last], whole vectors."""
    for i in range(first, last, lanes_in(source)):
        store(target, i, load(source, i))


def _copy_blocks(source: Flat, target: Flat) -> None:
    for task in prange(source.size // BLOCK):
        _block(source, target, task * BLOCK, (task + 1) * BLOCK)


_chain = jit(_chain_of_each)
_block = jit(_copy_block)
_chains = jit(_all_chains, parallel=True)
_copy = jit(_copy_blocks, parallel=True)
