"""Adam in plain NumPy: the specification."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyvq_kernels._types import Array


def adam(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    numbers: Array,
) -> None:
    """Update p, m, v; numbers are those of `adam_numbers`, in the arrays' dtype."""
    k = len(parameters)
    keep1, take1, keep2, take2, eps, shrunk = (numbers[2 * k + i] for i in range(6))
    for i, (p, g, m_of, v_of) in enumerate(
        zip(parameters, gradients, m, v, strict=True)
    ):
        rate, root = numbers[i], numbers[k + i]
        m_of[...] = keep1 * m_of + take1 * g
        v_of[...] = keep2 * v_of + take2 * g * g
        p[...] = shrunk * p - rate * m_of / (root * np.sqrt(v_of) + eps)


def square_sum(arrays: Sequence[Array]) -> Array:
    """Add up the squares of all values in float64, array by array."""
    total: Any = 0.0
    for array in arrays:
        total = total + np.sum(np.square(array.reshape(-1), dtype=np.float64))
    return total
