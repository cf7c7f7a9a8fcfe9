"""Activations: relu, leaky_relu, sigmoid, silu, gelu, tanh, softplus, softmax."""

import math
from dataclasses import dataclass

import numpy as np
from tinyvq_kernels import relu as relu_kernel
from tinyvq_kernels import relu_grad, silu_grad
from tinyvq_kernels import silu as silu_kernel

from tinyvq.errors import ConfigError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._broadcast import add_up
from tinyvq.ops._doors import as_floats, axis_of
from tinyvq.tensor import Operand, Tensor, apply


@dataclass(frozen=True)
class ReLU(Function):
    """y = max(x, 0)."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = relu_kernel(x)
        ctx.save(y=y)
        return y

    # ∂y/∂x = 1 where x > 0 (the same as y > 0), else 0.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (relu_grad(ctx.y, gy),)


def relu(x: Operand) -> Tensor:
    """Rectified linear unit; the gradient at 0 is taken as 0."""
    return apply(ReLU(), as_floats("relu", x))


@dataclass(frozen=True)
class LeakyReLU(Function):
    """y = x where x > 0, else slope · x."""

    slope: float = 0.01

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        # The slope is 0 .. 1; 0 · ∞ would be NaN.
        return np.maximum(x, x * self.slope if self.slope else 0)

    # ∂y/∂x = 1 where x > 0, else slope.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * np.maximum(ctx.x > 0, gy.dtype.type(self.slope)),)


def leaky_relu(x: Operand, slope: float = 0.01) -> Tensor:
    """Leaky rectified linear unit; the gradient at 0 is taken as the slope, 0 .. 1."""
    if not 0 <= slope <= 1:
        raise ConfigError(f"leaky_relu: needs 0 <= slope <= 1, got {slope}")
    return apply(LeakyReLU(float(slope)), as_floats("leaky_relu", x))


def logistic(x: Array) -> Array:
    """Compute 1 / (1 + e⁻ˣ); where e⁻ˣ overflows, that is 0."""
    with np.errstate(over="ignore"):
        y = np.exp(-x)
    y += 1
    return 1 / y


@dataclass(frozen=True)
class Sigmoid(Function):
    """y = 1 / (1 + e⁻ˣ)."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = logistic(x)
        ctx.save(y=y)
        return y

    # ∂y/∂x = e⁻ˣ / (1 + e⁻ˣ)² = y (1 - y).
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * ctx.y * (1 - ctx.y),)


def sigmoid(x: Operand) -> Tensor:
    """Logistic function."""
    return apply(Sigmoid(), as_floats("sigmoid", x))


@dataclass(frozen=True)
class SiLU(Function):
    """y = x σ(x), σ the logistic function."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return silu_kernel(x)

    # ∂y/∂x = σ + x σ (1 - σ) = σ (1 + x (1 - σ)).
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (silu_grad(ctx.x, gy),)


def silu(x: Operand) -> Tensor:
    """Sigmoid linear unit, also called swish."""
    return apply(SiLU(), as_floats("silu", x))


_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR


@dataclass(frozen=True)
class GELU(Function):
    """y = x σ(u), u = 2 √(2/π) (x + 0.044715 x³), σ the logistic function.

    Close to x Φ(x), Φ the distribution function of the standard normal; and the same as
    x/2 (1 + tanh(u/2)), but exact in its small values too.
    """

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        y = logistic(self._inner(self._near(x)))
        y *= x
        return y

    @staticmethod
    def _near(x: Array) -> Array:
        """Cut x where u could overflow; there σ is 0 or 1 to the last digit."""
        return np.clip(x, -30, 30)

    @staticmethod
    def _inner(x: Array) -> Array:
        u = _CUBIC * x
        u *= x
        u += _LINEAR
        u *= x
        return u

    # ∂y/∂x = σ + x σ (1 - σ) u' = σ (1 + (1 - σ) x u'), as for SiLU, where u' is 1; and
    # x u' = 2 √(2/π) (x + 3 · 0.044715 x³) = 3 u - 4 √(2/π) x.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        x = self._near(ctx.x)
        u = self._inner(x)
        s = logistic(u)
        gx = 1 - s
        gx *= 3 * u - (2 * _LINEAR) * x
        gx += 1
        gx *= s
        gx *= gy
        return (gx,)


def gelu(x: Operand) -> Tensor:
    """Gaussian error linear unit, in the tanh form that GPT-2 uses.

    Source: Hendrycks and Gimpel, arXiv:1606.08415.
    """
    return apply(GELU(), as_floats("gelu", x))


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
    return apply(Tanh(), as_floats("tanh", x))


@dataclass(frozen=True)
class Softplus(Function):
    """y = ln(1 + eˣ)."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # no overflow

    # ∂y/∂x = eˣ / (1 + eˣ) = σ(x).
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * logistic(ctx.x),)


def softplus(x: Operand) -> Tensor:
    """Smooth rectifier ln(1 + eˣ)."""
    return apply(Softplus(), as_floats("softplus", x))


@dataclass(frozen=True)
class Softmax(Function):
    """y_i = exp(x_i) / Σ_j exp(x_j) along an axis."""

    axis: int = -1

    def forward(self, ctx: Context, x: Array) -> Array:
        y = np.exp(x - x.max(axis=self.axis, keepdims=True))
        y /= add_up(y, self.axis, keepdims=True)
        ctx.save(y=y)
        return y

    # ∂y_i/∂x_j = y_i (δ_ij - y_j), so gx_j = y_j (gy_j - Σ_i gy_i y_i). Since Σ y_i is
    # 1, gy may be shifted: to 0 at the largest y. Where that is nearly 1, gx would
    # otherwise be a small difference of large numbers.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        largest = ctx.y.argmax(axis=self.axis, keepdims=True)
        gy = gy - np.take_along_axis(gy, largest, axis=self.axis)
        inner = add_up(gy * ctx.y, self.axis, keepdims=True)
        return (ctx.y * (gy - inner),)


def softmax(x: Operand, axis: int = -1) -> Tensor:
    """Normalised exponentials along an axis; they sum to 1."""
    x = as_floats("softmax", x)
    return apply(Softmax(axis_of("softmax", x, axis)), x)
