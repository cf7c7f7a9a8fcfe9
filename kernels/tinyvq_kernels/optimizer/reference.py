"""Adam in plain NumPy: the specification."""

import numpy as np

from tinyvq_kernels._types import Array


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
    """Update p, m, v; rate = lr / (1 - β₁ᵗ), root = 1 / √(1 - β₂ᵗ), shrink = lr·λ."""
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g * g
    p[...] = (1 - shrink) * p - rate * m / (root * np.sqrt(v) + eps)
