"""Functions of one operand, value by value: exp, log, sqrt, abs, clip, dropout."""

from dataclasses import dataclass

import numpy as np

from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import as_floats
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
    return apply(Exp(), as_floats("exp", x))


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
    return apply(Log(), as_floats("log", x))


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
    return apply(Sqrt(), as_floats("sqrt", x))


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


@dataclass(frozen=True)
class Dropout(Function):
    """y = x / (1 - p) where kept, else 0."""

    p: float

    def forward(self, ctx: Context, x: Array, kept: Array) -> Array:
        ctx.save(kept=kept)
        return x * kept / (1 - self.p)

    # ∂y/∂x = kept / (1 - p).
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return gy * ctx.kept / (1 - self.p), None


def dropout(x: Operand, kept: Operand, p: float) -> Tensor:
    """Drop values and enlarge the others, so that the mean over draws stays x.

    kept  bool, like x: drawn by the caller, True with probability 1 - p
    Source: Srivastava et al., "Dropout", 2014.
    """
    x, kept = as_floats("dropout", x), as_tensor(kept)
    if not 0 <= p < 1:
        raise ConfigError(f"dropout: needs p in [0, 1), got {p}")
    if kept.dtype.kind != "b":
        raise DTypeError(f"dropout: kept must be bool, got {kept.dtype}")
    if kept.shape != x.shape:
        raise ShapeError(f"dropout: kept must have shape {x.shape}, got {kept.shape}")
    return apply(Dropout(float(p)), x, kept)
