"""Adam on CPU cores: one pass over memory, no temporaries, all parameters in one call.

A network has dozens of parameters, most of them small: a call for each costs more than
their arithmetic. So a task is a block of one of the parameters, and the tasks of all
are one parallel loop. Their arrays come as addresses, for a compiled function takes no
list of arrays of any length.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import pointer
from tinyvq_kernels._types import Array, Flat, Ints

BLOCK = 16384  # values per task


def adam(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    numbers: Array,
) -> None:
    """Update in place; arguments as in the reference."""
    gradients = [flat(g) for g in gradients]  # held until the call is over
    arrays = [*parameters, *gradients, *m, *v]
    addresses = np.array([a.__array_interface__["data"][0] for a in arrays])
    sizes = np.array([p.size for p in parameters])
    blocks = -(-sizes // BLOCK)
    owner = np.repeat(np.arange(len(sizes)), blocks)
    first = (
        np.arange(owner.size) - np.repeat(blocks.cumsum() - blocks, blocks)
    ) * BLOCK
    of_each = numbers[:-6].reshape(2, -1)  # rates and roots
    _update(addresses.reshape(4, -1), sizes, owner, first, of_each, numbers[-6:])


def _adam_blocks(
    addresses: Ints,
    sizes: Ints,
    owner: Ints,
    first: Ints,
    of_each: Array,
    factors: Flat,
) -> None:
    keep1, take1, keep2, take2, eps, shrunk = factors
    for task in prange(owner.size):
        i, begin = owner[task], first[task]
        count = min(BLOCK, sizes[i] - begin)
        p = carray(pointer(addresses[0, i], factors, begin), count)
        g = carray(pointer(addresses[1, i], factors, begin), count)
        m = carray(pointer(addresses[2, i], factors, begin), count)
        v = carray(pointer(addresses[3, i], factors, begin), count)
        rate, root = of_each[0, i], of_each[1, i]
        for j in range(count):
            m[j] = keep1 * m[j] + take1 * g[j]
            v[j] = keep2 * v[j] + take2 * g[j] * g[j]
            p[j] = shrunk * p[j] - rate * m[j] / (root * np.sqrt(v[j]) + eps)


carray: Any = numba.carray  # type: ignore[attr-defined]
_update = jit(_adam_blocks, parallel=True)
