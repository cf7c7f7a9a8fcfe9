"""Moving values without changing them: reshape, transpose, slice, concatenate, pad,
nearest upsampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq.errors import ConfigError, ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import axis_of, same_dtype, whole
from tinyvq.tensor import Operand, Tensor, apply, as_tensor


@dataclass(frozen=True)
class Reshape(Function):
    """y = the same values in another shape."""

    shape: tuple[int, ...]

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(shape=x.shape)
        return x.reshape(self.shape)

    # A renaming of positions; its adjoint names them back.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy.reshape(ctx.shape),)


def reshape(x: Operand, *shape: int | Sequence[int]) -> Tensor:
    """Give the values another shape, lengths or a tuple of them; one may be -1."""
    given: Any = shape[0] if len(shape) == 1 else shape
    lengths = tuple(given) if isinstance(given, Sequence) else (given,)
    return apply(Reshape(lengths), as_tensor(x))


@dataclass(frozen=True)
class Transpose(Function):
    """y = x with its axes in another order."""

    axes: tuple[int, ...]

    def forward(self, ctx: Context, x: Array) -> Array:
        return x.transpose(self.axes)

    # A permutation's adjoint is its inverse.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy.transpose([int(i) for i in np.argsort(self.axes)]),)


def transpose(x: Operand, *axes: int) -> Tensor:
    """Put the axes into the order given, or reverse them."""
    x = as_tensor(x)
    order = tuple(axis_of("transpose", x, a) for a in axes)
    order = order or tuple(range(x.ndim))[::-1]
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"transpose: {axes} does not name each axis of {x.shape} once")
    return apply(Transpose(order), x)


@dataclass(frozen=True)
class Slice(Function):
    """y = x[key], for a key of integers, slices, Ellipsis and None."""

    key: tuple[Any, ...]

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(shape=x.shape)
        return x[self.key]

    # What was not taken has no part in y: its gradient is 0.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        gx = np.zeros_like(gy, shape=ctx.shape)
        gx[self.key] = gy
        return (gx,)


def getitem(x: Operand, key: Any) -> Tensor:
    """Slice; for a list of indices use `embedding`."""
    key = key if isinstance(key, tuple) else (key,)
    for part in key:
        allowed = part is None or part is Ellipsis
        allowed = allowed or isinstance(part, int | np.integer | slice)
        if not allowed or isinstance(part, bool):
            raise ConfigError(
                "slicing takes integers, slices, ... and None, "
                f"not {type(part).__name__}; embedding(table, indices) looks up rows"
            )
    return apply(Slice(key), as_tensor(x))


@dataclass(frozen=True)
class Concatenate(Function):
    """y = the inputs one after another along an axis."""

    axis: int

    def forward(self, ctx: Context, *xs: Array) -> Array:
        y = np.concatenate(xs, axis=self.axis)
        ctx.save(ends=np.cumsum([x.shape[self.axis] for x in xs])[:-1].tolist())
        return y

    # Each input gets its own part of the gradient.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        parts = np.split(gy, ctx.ends, axis=self.axis)
        return tuple(p if n else None for p, n in zip(parts, ctx.needs, strict=True))


def concatenate(xs: Sequence[Operand], axis: int = 0) -> Tensor:
    """Join along an axis."""
    tensors = [as_tensor(x) for x in xs]
    if not tensors:
        raise ShapeError("concatenate: needs at least one tensor")
    for tensor in tensors[1:]:
        same_dtype("concatenate", tensors[0], tensor)
    return apply(Concatenate(axis_of("concatenate", tensors[0], axis)), *tensors)


@dataclass(frozen=True)
class Pad(Function):
    """y = x with `value` around it."""

    widths: tuple[tuple[int, int], ...]
    value: float = 0.0

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(shape=x.shape)
        return np.pad(x, self.widths, constant_values=self.value)

    # The border is constant; the gradient is the inner part's.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        inner = tuple(
            slice(before, before + n)
            for (before, _), n in zip(self.widths, ctx.shape, strict=True)
        )
        return (gy[inner],)


def pad(x: Operand, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Pad each axis by (before, after) values."""
    x = as_tensor(x)
    checked: tuple[Any, ...] = tuple(
        tuple(whole("pad", before=before, after=after)) for before, after in widths
    )
    if len(checked) != x.ndim or any(b < 0 or a < 0 for b, a in checked):
        raise ShapeError(
            f"pad: needs {x.ndim} pairs (before, after) >= 0 for {x.shape}, "
            f"got {checked}"
        )
    return apply(Pad(checked, value), x)


@dataclass(frozen=True)
class UpsampleNearest(Function):
    """Each pixel becomes scale × scale pixels: (N,H,W,C) -> (N,sH,sW,C)."""

    scale: int

    def forward(self, ctx: Context, x: Array) -> Array:
        return x.repeat(self.scale, axis=1).repeat(self.scale, axis=2)

    # A pixel's gradient is the sum over its copies.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        n, h, w, c = gy.shape
        s = self.scale
        blocks = gy.reshape(n, h // s, s, w // s, s, c)  # (N, H, s, W, s, C)
        return (blocks.sum(axis=(2, 4)),)


def upsample_nearest(x: Operand, scale: int = 2) -> Tensor:
    """Enlarge images by repeating pixels."""
    x = as_tensor(x)
    (scale,) = whole("upsample_nearest", scale=scale)
    if x.ndim != 4 or scale < 1:
        raise ShapeError(
            "upsample_nearest: needs x (N,H,W,C) and scale >= 1, "
            f"got {x.shape}, {scale}"
        )
    return apply(UpsampleNearest(scale), x)
