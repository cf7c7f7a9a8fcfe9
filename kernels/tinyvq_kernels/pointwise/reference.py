"""Functions of single values in plain NumPy: the specification."""

import numpy as np

from tinyvq_kernels._types import Array


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(x, 0, out=np.zeros_like(x))  # an array where x is one value, too


def relu_grad(y: Array, gy: Array) -> Array:
    """Return gy where y > 0, else 0."""
    return np.where(y > 0, gy, gy.dtype.type(0))


def silu(x: Array) -> Array:
    """Return x σ(x)."""
    return x * _logistic(x)


def silu_grad(x: Array, gy: Array) -> Array:
    """Return gy σ (1 + x (1 - σ))."""
    s = _logistic(x)
    return gy * s * (1 + x * (1 - s))


def _logistic(x: Array) -> Array:
    with np.errstate(over="ignore"):  # where e⁻ˣ overflows, σ is 0
        return 1 / (1 + np.exp(-x))
