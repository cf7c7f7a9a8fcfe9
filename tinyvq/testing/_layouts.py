"""One array in many memory layouts: what a kernel must not notice."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def fortran(array: Array) -> Array:
    """Lay the first axis innermost, the last outermost."""
    return array.copy(order="F")


def swapped(array: Array) -> Array:
    """Swap the first and last axes in memory."""
    if array.ndim < 2:
        return array.copy()
    return np.swapaxes(np.swapaxes(array, 0, -1).copy(), 0, -1)


def strided(array: Array) -> Array:
    """Take every other value of a wider array; what stands between must not be read."""
    wide = np.full((*array.shape, 2), _poison(array), dtype=array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def reversed_(array: Array) -> Array:
    """Walk memory backwards along every axis."""
    backwards: Any = (..., *(slice(None, None, -1),) * array.ndim)
    flipped: Array = array[backwards].copy()
    return np.asarray(flipped[backwards])


def inner(array: Array) -> Array:
    """Cut from the middle of a larger array; what stands around must not be read."""
    around = np.full([n + 2 for n in array.shape], _poison(array), dtype=array.dtype)
    middle: Any = (..., *(slice(1, -1),) * array.ndim)
    around[middle] = array
    return np.asarray(around[middle])


def read_only(array: Array) -> Array:
    """Forbid writing."""
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": fortran,
    "first and last axes swapped": swapped,
    "every other value": strided,
    "negative strides": reversed_,
    "cut from a larger array": inner,
    "read-only": read_only,
}


def _poison(array: Array) -> Any:
    """Choose a value that shows where it is read; 0, a safe index, for integers."""
    return np.nan if array.dtype.kind == "f" else 0
