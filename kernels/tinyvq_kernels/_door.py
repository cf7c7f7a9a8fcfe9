"""What every kernel checks at its door, once; inside, it assumes."""

from typing import Any

import numpy as np

from tinyvq_kernels._table import NAMES, backend_of


def check_floats(op: str, **arrays: Any) -> None:
    """Raise TypeError unless all arrays have one float dtype and one backend."""
    (first_name, first), *others = arrays.items()
    kind = type(first), first.dtype
    if first.dtype.char in NAMES and all(
        (type(array), array.dtype) == kind for _, array in others
    ):
        backend_of(first)
        return
    for name, array in arrays.items():
        backend_of(array)
        if array.dtype.char not in NAMES:
            raise TypeError(
                f"{op}: {name} must be float32 or float64, got {array.dtype}"
            )
    for name, array in others:
        if array.dtype != first.dtype:
            raise TypeError(
                f"{op}: dtypes differ, {first_name} is {first.dtype} "
                f"and {name} is {array.dtype}; convert one of them"
            )
        if backend_of(array) != backend_of(first):
            raise TypeError(
                f"{op}: {first_name} is on {backend_of(first)} "
                f"and {name} on {backend_of(array)}"
            )


def check_rank(op: str, axes: str, name: str, array: Any) -> None:
    """Raise ValueError unless the array has the axes named, say "N,H,W,C"."""
    rank = len(axes.split(","))
    if array.ndim != rank:
        raise ValueError(f"{op}: {name} must be ({axes}), got shape {array.shape}")


def check_shape(op: str, name: str, array: Any, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless the array has exactly this shape."""
    if tuple(array.shape) != expected:
        raise ValueError(f"{op}: {name} must have shape {expected}, got {array.shape}")


def check_indices(op: str, name: str, array: Any) -> None:
    """Raise TypeError unless the array holds integers."""
    backend_of(array)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must hold integers, got {array.dtype}")


def check_writable(op: str, name: str, array: Any) -> None:
    """Raise ValueError unless the array can be written in place."""
    if not array.flags.c_contiguous:
        raise ValueError(f"{op}: {name} must be C-contiguous, it is written in place")
    if not getattr(array.flags, "writeable", True):  # CuPy has no such flag
        raise ValueError(f"{op}: {name} is read-only, it is written in place")


def flat(array: Any) -> Any:
    """View a CPU array as 1-D, contiguous and writable, copying only where it is not.

    Read-only arrays are copied too: for them Numba would compile each kernel again.
    """
    if not (array.flags.c_contiguous and array.flags.writeable):
        array = np.array(array, order="C")
    return array.reshape(-1)
