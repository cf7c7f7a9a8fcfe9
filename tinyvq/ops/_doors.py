"""What ops check at their doors: dtypes, also those that meet, axes, whole numbers."""

import operator
from typing import Any

from tinyvq.backends import beside, read
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.tensor import Operand, Tensor, as_tensor

FLOATS = "fd"  # the characters of float32 and float64


def as_floats(op: str, x: Operand, name: str = "x") -> Tensor:
    """Make a tensor of an operand; raise DTypeError unless it is float32 or float64.

    NumPy computes with others too, but e.g. exp of a uint8 is a float16, and 0 - 1 of
    the uint8 of images is 255.
    """
    x = as_tensor(x)
    if x.array.dtype.char not in FLOATS:
        raise DTypeError(f"{op}: {name} must be float32 or float64, got {x.dtype}")
    return x


def same_dtype(op: str, a: Tensor, b: Tensor) -> None:
    """Raise DTypeError where two dtypes meet: NumPy would silently make a third."""
    if a.dtype != b.dtype:
        raise DTypeError(
            f"{op}: dtypes differ, {a.dtype} and {b.dtype}; convert one of them"
        )


def check_range(op: str, name: str, x: Tensor, end: int) -> None:
    """Raise ShapeError unless all integers are in 0 .. end - 1. Waits for a GPU."""
    if x.size == 0:
        return
    low, high = read(x.array.min(), x.array.max())
    if low < 0 or high >= end:
        raise ShapeError(f"{op}: {name} must be in 0 .. {end - 1}, got {low} .. {high}")


def tensor_beside(tensor: Tensor, like: Tensor) -> Tensor:
    """Copy a tensor to where another one lives; itself where it lives there already.

    Itself, and not another one of the same array: only so its changes are seen.
    """
    moved = beside(tensor.array, like.array)
    return tensor if moved is tensor.array else Tensor.wrap(moved)


def axis_of(op: str, x: Tensor, axis: int) -> int:
    """Count an axis from the front; raise ShapeError where x has none there."""
    try:
        return range(x.ndim)[axis]
    except IndexError:
        raise ShapeError(f"{op}: there is no axis {axis} in shape {x.shape}") from None


def axes_of(op: str, x: Tensor, axis: Any) -> tuple[int, ...] | None:
    """Count an axis, or several, from the front; None, for all axes, stays None."""
    if axis is None:
        return None
    axes = (axis,) if hasattr(axis, "__index__") else axis
    return tuple(axis_of(op, x, a) for a in axes)


def whole(op: str, **settings: Any) -> list[int]:
    """Make Python ints of settings; raise ConfigError where one is no whole number."""
    try:
        return [operator.index(value) for value in settings.values()]
    except TypeError:
        came = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        raise ConfigError(f"{op}: needs whole numbers, got {came}") from None
