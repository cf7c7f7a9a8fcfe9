"""Sums over axes, and what every op on two broadcast operands needs of them."""

from typing import Any

import numpy as np

from tinyvq.function import Array


def add_up(x: Array, axis: Any, keepdims: bool = False) -> Array:
    """Sum over axes; float32 by way of float64.

    NumPy adds value after value along any axis but the last: in float32, 10,000 of them
    lose two digits, where PyTorch loses none.
    """
    if x.dtype != np.float32:
        return x.sum(axis=axis, keepdims=keepdims)
    return x.sum(axis=axis, keepdims=keepdims, dtype=np.float64).astype(np.float32)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an operand of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    repeated = [
        axis + extra
        for axis, length in enumerate(shape)
        if length == 1 and gradient.shape[axis + extra] != 1
    ]
    return add_up(gradient, (*range(extra), *repeated)).reshape(shape)
