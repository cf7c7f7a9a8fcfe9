"""Functions of one operand, value by value: exp, log, sqrt, abs, clip."""

from dataclasses import dataclass

import numpy as np

from tinyvq.errors import ConfigError
from tinyvq.function import Array, Context, Function
from tinyvq.tensor import Operand, Tensor, apply, as_tensor


@dataclass(frozen=True)
class Exp(Function):
    """y = eˣ."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = np.exp(x)
        ctx.save(y=y)
        return y

    # ∂y/∂x = y.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * ctx.y,)


def exp(x: Operand) -> Tensor:
    """Exponential."""
    return apply(Exp(), as_tensor(x))


@dataclass(frozen=True)
class Log(Function):
    """y = ln x."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return np.log(x)

    # ∂y/∂x = 1 / x.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy / ctx.x,)


def log(x: Operand) -> Tensor:
    """Natural logarithm."""
    return apply(Log(), as_tensor(x))


@dataclass(frozen=True)
class Sqrt(Function):
    """y = √x."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = np.sqrt(x)
        ctx.save(y=y)
        return y

    # ∂y/∂x = 1 / (2 y): infinite at 0, so add an ε inside where x can be 0.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy / (2 * ctx.y),)


def sqrt(x: Operand) -> Tensor:
    """Square root; its gradient at 0 is infinite."""
    return apply(Sqrt(), as_tensor(x))


@dataclass(frozen=True)
class Abs(Function):
    """y = |x|."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return np.abs(x)

    # ∂y/∂x = sign(x), 0 at 0.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * np.sign(ctx.x),)


def absolute(x: Operand) -> Tensor:
    """Absolute value; the gradient at 0 is taken as 0."""
    return apply(Abs(), as_tensor(x))


@dataclass(frozen=True)
class Clip(Function):
    """y = x kept between low and high."""

    low: float
    high: float

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return np.clip(x, self.low, self.high)

    # ∂y/∂x = 1 between the bounds, both included, and 0 outside.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (gy * ((ctx.x >= self.low) & (ctx.x <= self.high)),)


def clip(x: Operand, low: float, high: float) -> Tensor:
    """Keep values between low and high; outside, the gradient is 0."""
    if not low <= high:
        raise ConfigError(f"clip: needs low <= high, got {low} and {high}")
    return apply(Clip(float(low), float(high)), as_tensor(x))
