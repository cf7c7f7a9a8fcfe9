"""Activations: relu, leaky_relu, sigmoid, silu, tanh, softplus, softmax."""

from dataclasses import dataclass

import numpy as np

from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import axis_of
from tinyvq.tensor import Operand, Tensor, apply, as_tensor


@dataclass(frozen=True)
class ReLU(Function):
    """y = max(x, 0)."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = np.maximum(x, 0)
        ctx.save(y=y)
        return y

    # ∂y/∂x = 1 where x > 0 (the same as y > 0), else 0.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * (ctx.y > 0),)


def relu(x: Operand) -> Tensor:
    """Rectified linear unit; the gradient at 0 is taken as 0."""
    return apply(ReLU(), as_tensor(x))


@dataclass(frozen=True)
class LeakyReLU(Function):
    """y = x where x > 0, else slope · x."""

    slope: float = 0.01

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return np.where(x > 0, x, x * self.slope)

    # ∂y/∂x = 1 where x > 0, else slope.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (np.where(ctx.x > 0, gy, gy * self.slope),)


def leaky_relu(x: Operand, slope: float = 0.01) -> Tensor:
    """Leaky rectified linear unit; the gradient at 0 is taken as the slope."""
    return apply(LeakyReLU(float(slope)), as_tensor(x))


def _sigmoid(x: Array) -> Array:
    """Compute 1 / (1 + e⁻ˣ) without overflow: e^-|x| is at most 1."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


@dataclass(frozen=True)
class Sigmoid(Function):
    """y = 1 / (1 + e⁻ˣ)."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = _sigmoid(x)
        ctx.save(y=y)
        return y

    # ∂y/∂x = e⁻ˣ / (1 + e⁻ˣ)² = y (1 - y).
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * ctx.y * (1 - ctx.y),)


def sigmoid(x: Operand) -> Tensor:
    """Logistic function."""
    return apply(Sigmoid(), as_tensor(x))


@dataclass(frozen=True)
class SiLU(Function):
    """y = x σ(x), σ the logistic function."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return x * _sigmoid(x)

    # ∂y/∂x = σ + x σ (1 - σ) = σ (1 + x (1 - σ)).
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        s = _sigmoid(ctx.x)
        return (gy * s * (1 + ctx.x * (1 - s)),)


def silu(x: Operand) -> Tensor:
    """Sigmoid linear unit, also called swish."""
    return apply(SiLU(), as_tensor(x))


@dataclass(frozen=True)
class Tanh(Function):
    """y = tanh x."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = np.tanh(x)
        ctx.save(y=y)
        return y

    # ∂y/∂x = 1 - y².
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * (1 - ctx.y * ctx.y),)


def tanh(x: Operand) -> Tensor:
    """Hyperbolic tangent."""
    return apply(Tanh(), as_tensor(x))


@dataclass(frozen=True)
class Softplus(Function):
    """y = ln(1 + eˣ)."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # no overflow

    # ∂y/∂x = eˣ / (1 + eˣ) = σ(x).
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * _sigmoid(ctx.x),)


def softplus(x: Operand) -> Tensor:
    """Smooth rectifier ln(1 + eˣ)."""
    return apply(Softplus(), as_tensor(x))


@dataclass(frozen=True)
class Softmax(Function):
    """y_i = exp(x_i) / Σ_j exp(x_j) along an axis."""

    axis: int = -1

    def forward(self, ctx: Context, x: Array) -> Array:
        y = np.exp(x - x.max(axis=self.axis, keepdims=True))
        y /= y.sum(axis=self.axis, keepdims=True)
        ctx.save(y=y)
        return y

    # ∂y_i/∂x_j = y_i (δ_ij - y_j), so gx_j = y_j (gy_j - Σ_i gy_i y_i). Since Σ y_i is
    # 1, gy may be shifted: to 0 at the largest y. Where that is nearly 1, gx would
    # otherwise be a small difference of large numbers.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        largest = ctx.y.argmax(axis=self.axis, keepdims=True)
        gy = gy - np.take_along_axis(gy, largest, axis=self.axis)
        inner = (gy * ctx.y).sum(axis=self.axis, keepdims=True)
        return (ctx.y * (gy - inner),)


def softmax(x: Operand, axis: int = -1) -> Tensor:
    """Normalised exponentials along an axis; they sum to 1."""
    x = as_tensor(x)
    return apply(Softmax(axis_of("softmax", x, axis)), x)
