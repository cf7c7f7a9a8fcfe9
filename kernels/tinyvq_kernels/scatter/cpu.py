"""Scatter-add on CPU cores: list each code's rows, then let threads take codes."""

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._types import Array, Flat, Ints

BLOCK = 64  # codes per task


def code_sums(z: Array, indices: Array, num_codes: int) -> tuple[Array, Array]:
    """Sum and count; shapes as in the package's contract."""
    depth = z.shape[1]
    sums = np.empty((num_codes, depth), z.dtype)
    ends = np.zeros(num_codes, np.int64)
    order = np.empty(z.shape[0], np.int64)
    _list_rows(flat(indices.astype(np.int64, copy=False)), ends, order)
    _sum_rows(flat(z), depth, ends, order, sums.reshape(-1))
    return sums, np.diff(ends, prepend=0)


def _rows_by_code(indices: Ints, ends: Ints, order: Ints) -> None:
    """Sort rows by code, stable (a counting sort): ends[m] is where code m's end."""
    for code in indices:
        ends[code] += 1
    total = 0
    for m in range(ends.size):  # ends[m]: where code m's rows start
        total, ends[m] = total + ends[m], total
    for n in range(indices.size):  # each row written moves its code's end on
        code = indices[n]
        order[ends[code]] = n
        ends[code] += 1


def _sum_listed_rows(z: Flat, depth: int, ends: Ints, order: Ints, sums: Flat) -> None:
    for task in prange((ends.size + BLOCK - 1) // BLOCK):
        for m in range(task * BLOCK, min((task + 1) * BLOCK, ends.size)):
            to = m * depth
            sums[to : to + depth] = 0
            first = ends[m - 1] if m > 0 else 0
            for i in range(first, ends[m]):
                at = order[i] * depth
                for d in range(depth):
                    sums[to + d] += z[at + d]


_list_rows = jit(_rows_by_code)
_sum_rows = jit(_sum_listed_rows, parallel=True)
