"""Arithmetic on broadcast operands: add, sub, mul, div, neg, pow, maximum, where."""

from dataclasses import dataclass

import numpy as np

from tinyvq.errors import DTypeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._broadcast import unbroadcast
from tinyvq.ops._doors import same_dtype
from tinyvq.tensor import NUMBERS, Operand, Tensor, apply, as_tensor


def _pair(op: str, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Make tensors of two operands; a number takes the other's dtype."""
    if isinstance(a, NUMBERS):
        b = as_tensor(b)
        return as_tensor(a, like=b), b
    a = as_tensor(a)
    b = as_tensor(b, like=a)
    same_dtype(op, a, b)
    return a, b


@dataclass(frozen=True)
class Add(Function):
    """y = a + b."""

    def forward(self, ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(shapes=(a.shape, b.shape))
        return a + b

    # ∂y/∂a = 1 and ∂y/∂b = 1; where an operand was repeated, its gradients add up.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        ga = unbroadcast(gy, ctx.shapes[0]) if ctx.needs[0] else None
        gb = unbroadcast(gy, ctx.shapes[1]) if ctx.needs[1] else None
        return ga, gb


def add(a: Operand, b: Operand) -> Tensor:
    """Add two broadcastable operands."""
    return apply(Add(), *_pair("add", a, b))


@dataclass(frozen=True)
class Sub(Function):
    """y = a - b."""

    def forward(self, ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(shapes=(a.shape, b.shape))
        return a - b

    # ∂y/∂a = 1, ∂y/∂b = -1.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        ga = unbroadcast(gy, ctx.shapes[0]) if ctx.needs[0] else None
        gb = unbroadcast(-gy, ctx.shapes[1]) if ctx.needs[1] else None
        return ga, gb


def sub(a: Operand, b: Operand) -> Tensor:
    """Subtract two broadcastable operands."""
    return apply(Sub(), *_pair("sub", a, b))


@dataclass(frozen=True)
class Mul(Function):
    """y = a · b."""

    def forward(self, ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a=a, b=b)
        return a * b

    # ∂y/∂a = b, ∂y/∂b = a.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        ga = unbroadcast(gy * ctx.b, ctx.a.shape) if ctx.needs[0] else None
        gb = unbroadcast(gy * ctx.a, ctx.b.shape) if ctx.needs[1] else None
        return ga, gb


def mul(a: Operand, b: Operand) -> Tensor:
    """Multiply two broadcastable operands."""
    return apply(Mul(), *_pair("mul", a, b))


@dataclass(frozen=True)
class Div(Function):
    """y = a / b."""

    def forward(self, ctx: Context, a: Array, b: Array) -> Array:
        y = a / b
        ctx.save(y=y, b=b, shape=a.shape)
        return y

    # ∂y/∂a = 1 / b, ∂y/∂b = -a / b² = -y / b; b² alone would overflow, or vanish.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        each = gy / ctx.b
        ga = unbroadcast(each, ctx.shape) if ctx.needs[0] else None
        gb = unbroadcast(-each * ctx.y, ctx.b.shape) if ctx.needs[1] else None
        return ga, gb


def div(a: Operand, b: Operand) -> Tensor:
    """Divide two broadcastable operands."""
    return apply(Div(), *_pair("div", a, b))


@dataclass(frozen=True)
class Neg(Function):
    """y = -x."""

    def forward(self, ctx: Context, x: Array) -> Array:
        return -x

    # ∂y/∂x = -1.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return (-gy,)


def neg(x: Operand) -> Tensor:
    """Negate."""
    return apply(Neg(), as_tensor(x))


@dataclass(frozen=True)
class Pow(Function):
    """y = x ** exponent, for a constant exponent."""

    exponent: float

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.save(x=x)
        return x**self.exponent

    # ∂y/∂x = e xᵉ⁻¹; for e = 0 it is 0, also at x = 0, where 0 · 0⁻¹ would be NaN.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        if self.exponent == 0:
            return (np.zeros_like(gy),)
        return (gy * (self.exponent * ctx.x ** (self.exponent - 1)),)


def power(x: Operand, exponent: float) -> Tensor:
    """Raise to a constant power; a negative base needs a whole exponent."""
    return apply(Pow(float(exponent)), as_tensor(x))


@dataclass(frozen=True)
class Maximum(Function):
    """y = max(a, b), value by value."""

    def forward(self, ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a=a, b=b)
        return np.maximum(a, b)

    # The gradient goes to the larger operand; of two equal ones each gets half.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        share = np.where(ctx.a == ctx.b, 0.5, ctx.a > ctx.b).astype(gy.dtype)
        ga = unbroadcast(gy * share, ctx.a.shape) if ctx.needs[0] else None
        gb = unbroadcast(gy * (1 - share), ctx.b.shape) if ctx.needs[1] else None
        return ga, gb


def maximum(a: Operand, b: Operand) -> Tensor:
    """Take the larger of two broadcastable operands."""
    return apply(Maximum(), *_pair("maximum", a, b))


@dataclass(frozen=True)
class Where(Function):
    """y = a where the condition holds, else b."""

    def forward(self, ctx: Context, condition: Array, a: Array, b: Array) -> Array:
        ctx.save(condition=condition, shapes=(a.shape, b.shape))
        return np.where(condition, a, b)

    # ∂y/∂a = condition, ∂y/∂b = 1 - condition.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        zero = np.zeros_like(gy, shape=())
        ga = gb = None
        if ctx.needs[1]:
            ga = unbroadcast(np.where(ctx.condition, gy, zero), ctx.shapes[0])
        if ctx.needs[2]:
            gb = unbroadcast(np.where(ctx.condition, zero, gy), ctx.shapes[1])
        return None, ga, gb


def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """Choose between two broadcastable operands by a boolean array."""
    condition = as_tensor(condition)
    if condition.dtype != np.bool_:
        raise DTypeError(f"where: the condition must be bool, got {condition.dtype}")
    return apply(Where(), condition, *_pair("where", a, b))
