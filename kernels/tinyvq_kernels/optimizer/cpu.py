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
    # 1 - β in double: in float32, 1 - 0.999 is off by 1 part in 80,000.
    factors = np.array(
        [rate, root, beta1, 1 - beta1, beta2, 1 - beta2, eps, 1 - shrink], p.dtype
    )
    _update(p.reshape(-1), flat(g), m.reshape(-1), v.reshape(-1), factors)


def _adam_blocks(p: Flat, g: Flat, m: Flat, v: Flat, factors: Flat) -> None:
    rate, root, keep1, take1, keep2, take2, eps, shrunk = factors
    for task in prange((p.size + BLOCK - 1) // BLOCK):
        for i in range(task * BLOCK, min((task + 1) * BLOCK, p.size)):
            m[i] = keep1 * m[i] + take1 * g[i]
            v[i] = keep2 * v[i] + take2 * g[i] * g[i]
            p[i] = shrunk * p[i] - rate * m[i] / (root * np.sqrt(v[i]) + eps)


_update = jit(_adam_blocks, parallel=True)
