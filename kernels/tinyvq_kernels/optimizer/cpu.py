"""Adam on CPU cores: one pass over memory, no temporaries."""

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._types import Array, Flat

BLOCK = 16384  # values a task


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: float,
    root: float,
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
) -> None:
    """Update p, m, v in place; arguments as in the reference."""
    kind = p.dtype.type
    factors = np.array([rate, root, beta1, beta2, eps, shrink], kind)
    _update(p.reshape(-1), flat(g), m.reshape(-1), v.reshape(-1), factors)


def _adam_blocks(p: Flat, g: Flat, m: Flat, v: Flat, factors: Flat) -> None:
    rate, root, beta1, beta2, eps, shrink = factors
    one = p.dtype.type(1)
    for task in prange((p.size + BLOCK - 1) // BLOCK):
        for i in range(task * BLOCK, min((task + 1) * BLOCK, p.size)):
            m[i] = beta1 * m[i] + (one - beta1) * g[i]
            v[i] = beta2 * v[i] + (one - beta2) * g[i] * g[i]
            p[i] = (one - shrink) * p[i] - rate * m[i] / (root * np.sqrt(v[i]) + eps)


_update = jit(_adam_blocks, parallel=True)
