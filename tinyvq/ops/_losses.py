"""Losses of a prediction against a target: mean squared, absolute, Huber."""

from dataclasses import dataclass

import numpy as np

from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import FLOATS
from tinyvq.tensor import Operand, Tensor, apply, as_tensor


def same_shape(op: str, x: Operand, y: Operand) -> tuple[Tensor, Tensor]:
    """Make tensors of two operands; raise ShapeError where shapes differ or are empty.

    Losses do not broadcast: a missing axis would be a silent mistake.
    """
    x = as_tensor(x)
    y = as_tensor(y, like=x)
    if x.dtype != y.dtype or x.dtype.char not in FLOATS:
        raise DTypeError(
            f"{op}: needs two tensors of float32 or two of float64, "
            f"got {x.dtype} and {y.dtype}"
        )
    if x.shape != y.shape or x.size == 0:
        raise ShapeError(
            f"{op}: needs two tensors of one shape, not empty, "
            f"got {x.shape} and {y.shape}"
        )
    return x, y


@dataclass(frozen=True)
class MSELoss(Function):
    """L = Σ (x - y)² / n."""

    def forward(self, ctx: Context, x: Array, y: Array) -> Array:
        difference = x - y
        ctx.save(difference=difference)
        return (difference * difference).mean()

    # ∂L/∂x = 2 (x - y) / n, and ∂L/∂y the opposite.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        scale = (gy * (2 / ctx.difference.size)).astype(gy.dtype, copy=False)
        gx = scale * ctx.difference
        return gx if ctx.needs[0] else None, -gx if ctx.needs[1] else None


def mse_loss(x: Operand, y: Operand) -> Tensor:
    """Mean squared error over all values."""
    return apply(MSELoss(), *same_shape("mse_loss", x, y))


@dataclass(frozen=True)
class L1Loss(Function):
    """L = Σ |x - y| / n."""

    def forward(self, ctx: Context, x: Array, y: Array) -> Array:
        difference = x - y
        ctx.save(sign=np.sign(difference))
        return np.abs(difference).mean()

    # ∂L/∂x = sign(x - y) / n, and ∂L/∂y the opposite; 0 where they are equal.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        gx = (gy / ctx.sign.size) * ctx.sign
        return gx if ctx.needs[0] else None, -gx if ctx.needs[1] else None


def l1_loss(x: Operand, y: Operand) -> Tensor:
    """Mean absolute error over all values."""
    return apply(L1Loss(), *same_shape("l1_loss", x, y))


@dataclass(frozen=True)
class HuberLoss(Function):
    """L = Σ h(x - y) / n; h(r) = r²/2 where |r| <= δ, else δ (|r| - δ/2)."""

    delta: float = 1.0

    def forward(self, ctx: Context, x: Array, y: Array) -> Array:
        r = x - y
        inner = np.clip(r, -self.delta, self.delta)
        ctx.save(inner=inner)
        return (inner * (r - inner / 2)).mean()

    # h'(r) = r kept between -δ and δ; ∂L/∂x = h'(x - y) / n, ∂L/∂y the opposite.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        gx = (gy / ctx.inner.size) * ctx.inner
        return gx if ctx.needs[0] else None, -gx if ctx.needs[1] else None


def huber_loss(x: Operand, y: Operand, delta: float = 1.0) -> Tensor:
    """Squared error for small differences, absolute for large ones (Huber, 1964)."""
    if not delta > 0:
        raise ConfigError(f"huber_loss: needs delta > 0, got {delta}")
    return apply(HuberLoss(float(delta)), *same_shape("huber_loss", x, y))
