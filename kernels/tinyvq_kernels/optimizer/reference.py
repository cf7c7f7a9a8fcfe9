"""Adam in plain NumPy: the specification."""

from collections.abc import Sequence

import numpy as np

from tinyvq_kernels._types import Array


def adam(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    rates: Sequence[float],
    roots: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
) -> None:
    """Update p, m, v; rate = lr / (1 - β₁ᵗ), root = 1 / √(1 - β₂ᵗ), shrink = lr·λ."""
    for p, g, m_of, v_of, rate, root in zip(
        parameters, gradients, m, v, rates, roots, strict=True
    ):
        m_of[...] = beta1 * m_of + (1 - beta1) * g
        v_of[...] = beta2 * v_of + (1 - beta2) * g * g
        p[...] = (1 - shrink) * p - rate * m_of / (root * np.sqrt(v_of) + eps)
