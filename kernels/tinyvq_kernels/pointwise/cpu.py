"""Functions of single values on CPU cores: one pass over memory, a block per task.

The loops are plain; LLVM makes vectors of them. NumPy would take a pass, and a new
array, for each operation, on one core.
"""

from typing import Any

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._exponential import exponential
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._types import Array, Flat

BLOCK = 16384  # values per task


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return _run(_relu, x)


def relu_grad(y: Array, gy: Array) -> Array:
    """Return gy where y > 0, else 0."""
    return _run(_relu_grad, y, gy)


def silu(x: Array) -> Array:
    """Return x σ(x)."""
    return _run(_silu, x)


def silu_grad(x: Array, gy: Array) -> Array:
    """Return gy σ (1 + x (1 - σ))."""
    return _run(_silu_grad, x, gy)


def _run(kernel: Any, *arrays: Array) -> Array:
    result = np.empty(arrays[0].shape, arrays[0].dtype)
    kernel(*(flat(a) for a in arrays), result.reshape(-1))
    return result


# A block is a slice, counted from 0: in x[begin + i] Numba would look for negative
# indices, and LLVM would find no vectors.


def _relu_blocks(x: Flat, y: Flat) -> None:
    nothing = x.dtype.type(0)
    for task in prange((x.size + BLOCK - 1) // BLOCK):
        here = x[task * BLOCK : (task + 1) * BLOCK]
        to = y[task * BLOCK : (task + 1) * BLOCK]
        for i in range(here.size):
            to[i] = nothing if here[i] < nothing else here[i]  # NaN is not below 0


def _relu_grad_blocks(y: Flat, gy: Flat, gx: Flat) -> None:
    nothing = y.dtype.type(0)
    for task in prange((y.size + BLOCK - 1) // BLOCK):
        here = y[task * BLOCK : (task + 1) * BLOCK]
        up = gy[task * BLOCK : (task + 1) * BLOCK]
        to = gx[task * BLOCK : (task + 1) * BLOCK]
        for i in range(here.size):
            to[i] = up[i] if here[i] > nothing else nothing


def _silu_blocks(x: Flat, y: Flat) -> None:
    one = x.dtype.type(1)
    for task in prange((x.size + BLOCK - 1) // BLOCK):
        here = x[task * BLOCK : (task + 1) * BLOCK]
        to = y[task * BLOCK : (task + 1) * BLOCK]
        for i in range(here.size):
            to[i] = here[i] * (one / (one + exponential(-here[i])))


def _silu_grad_blocks(x: Flat, gy: Flat, gx: Flat) -> None:
    one = x.dtype.type(1)
    for task in prange((x.size + BLOCK - 1) // BLOCK):
        here = x[task * BLOCK : (task + 1) * BLOCK]
        up = gy[task * BLOCK : (task + 1) * BLOCK]
        to = gx[task * BLOCK : (task + 1) * BLOCK]
        for i in range(here.size):
            s = one / (one + exponential(-here[i]))
            to[i] = up[i] * s * (one + here[i] * (one - s))


_relu = jit(_relu_blocks, parallel=True)
_relu_grad = jit(_relu_grad_blocks, parallel=True)
_silu = jit(_silu_blocks, parallel=True)
_silu_grad = jit(_silu_grad_blocks, parallel=True)
