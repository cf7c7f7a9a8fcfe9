"""Reductions over axes: sum, mean, var, max."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq.errors import ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._broadcast import add_up
from tinyvq.ops._doors import as_floats, axes_of, whole
from tinyvq.tensor import Operand, Tensor, apply, as_tensor

Axes = tuple[int, ...] | None  # counted from the front; None: all


def _expanded(gy: Array, axis: Axes, shape: tuple[int, ...]) -> Array:
    """Give a reduced gradient its reduced axes back, with length 1."""
    if axis is None:
        return gy.reshape((1,) * len(shape))
    return gy.reshape([1 if i in axis else n for i, n in enumerate(shape)])


def _count(shape: tuple[int, ...], axis: Axes) -> int:
    """Count the values that a reduction makes one of."""
    return math.prod(shape if axis is None else [shape[a] for a in axis])


@dataclass(frozen=True)
class Sum(Function):
    """y = Σ x over the axes."""

    axis: Axes = None
    keepdims: bool = False

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(shape=x.shape)
        return add_up(x, self.axis, self.keepdims)

    # Each x counts once: ∂y/∂x = 1.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        gy = _expanded(gy, self.axis, ctx.shape)
        return (np.broadcast_to(gy, ctx.shape),)


def sum(x: Operand, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Add up over an axis, several, or all."""
    x = as_tensor(x)
    return apply(Sum(axes_of("sum", x, axis), keepdims), x)


@dataclass(frozen=True)
class Mean(Function):
    """y = Σ x / n over the axes."""

    axis: Axes = None
    keepdims: bool = False

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(shape=x.shape)
        return add_up(x, self.axis, self.keepdims) / _count(x.shape, self.axis)

    # ∂y/∂x = 1 / n.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        n = _count(ctx.shape, self.axis)
        gy = _expanded(gy, self.axis, ctx.shape)
        return (np.broadcast_to(gy / n, ctx.shape),)


def mean(x: Operand, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Average over an axis, several, or all."""
    x = as_floats("mean", x)
    axis = axes_of("mean", x, axis)
    if _count(x.shape, axis) == 0:
        raise ShapeError(f"mean: there is nothing to average in shape {x.shape}")
    return apply(Mean(axis, keepdims), x)


@dataclass(frozen=True)
class Var(Function):
    """y = Σ (x - mean)² / (n - correction) over the axes."""

    axis: Axes = None
    keepdims: bool = False
    correction: int = 0

    def forward(self, ctx: Context, x: Array) -> Array:
        n = _count(x.shape, self.axis)
        centred = x - add_up(x, self.axis, keepdims=True) / n
        ctx.save(centred=centred)
        total = add_up(centred * centred, self.axis, self.keepdims)
        return total / (n - self.correction)

    # ∂y/∂x = 2 (x - mean) / (n - correction): the part through the mean cancels, since
    # Σ (x - mean) = 0.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        n = _count(ctx.centred.shape, self.axis) - self.correction
        gy = _expanded(gy, self.axis, ctx.centred.shape)
        return (gy * (2 / n) * ctx.centred,)


def var(
    x: Operand, axis: Any = None, keepdims: bool = False, *, correction: int = 0
) -> Tensor:
    """Variance over an axis, several, or all; correction=1 makes it unbiased."""
    x = as_floats("var", x)
    axis = axes_of("var", x, axis)
    (correction,) = whole("var", correction=correction)
    n = _count(x.shape, axis)
    if n <= correction:
        raise ShapeError(
            f"var: needs more than correction={correction} values, got {n} of {x.shape}"
        )
    return apply(Var(axis, keepdims, correction), x)


@dataclass(frozen=True)
class Max(Function):
    """y = the largest x over the axes."""

    axis: Axes = None
    keepdims: bool = False

    def forward(self, ctx: Context, x: Array) -> Array:
        y = x.max(axis=self.axis, keepdims=self.keepdims)
        ctx.save(x=x, y=y)
        return y

    # The gradient goes to the largest x; several equal ones share it.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        largest = ctx.x == _expanded(ctx.y, self.axis, ctx.x.shape)
        share = largest / largest.sum(axis=self.axis, keepdims=True)
        return (_expanded(gy, self.axis, ctx.x.shape) * share.astype(gy.dtype),)


def max(x: Operand, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Largest value over an axis, several, or all."""
    x = as_tensor(x)
    axis = axes_of("max", x, axis)
    if _count(x.shape, axis) == 0:
        raise ShapeError(f"max: there is nothing to choose from in shape {x.shape}")
    return apply(Max(axis, keepdims), x)
