"""Ops that are plain enough to test the engine with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq.function import Context, Function, Observer
from tinyvq.tensor import Tensor, apply


@dataclass(frozen=True)
class Plus(Function):
    """y = a + b, without broadcasting. One array is the gradient of both."""

    name: str = ""

    def forward(self, ctx: Context, a: Any, b: Any) -> Any:
        return a + b

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return gy, gy


@dataclass(frozen=True)
class Times(Function):
    """y = a · b, without broadcasting. Both inputs are saved."""

    name: str = ""

    def forward(self, ctx: Context, a: Any, b: Any) -> Any:
        ctx.save(a=a, b=b)
        return a * b

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        ga = gy * ctx.b if ctx.needs[0] else None
        gb = gy * ctx.a if ctx.needs[1] else None
        return ga, gb


@dataclass(frozen=True)
class Scale(Function):
    """y = factor · x. Nothing is saved."""

    factor: float
    name: str = ""

    def forward(self, ctx: Context, x: Any) -> Any:
        return self.factor * x

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (self.factor * gy,)


@dataclass(frozen=True)
class Double(Function):
    """y = 2 x, whose output is saved; `see` is shown the context in backward."""

    see: Callable[[Context], None] = lambda ctx: None

    def forward(self, ctx: Context, x: Any) -> Any:
        y = 2 * x
        ctx.save(y=y)
        return y

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        self.see(ctx)
        return (2 * gy,)


@dataclass(frozen=True)
class Returns(Function):
    """y = a + b, with a backward that returns whatever it is told to."""

    gradients: Callable[[Context, Any], Any]

    def forward(self, ctx: Context, a: Any, b: Any) -> Any:
        ctx.save(a=a)
        return a + b

    def backward(self, ctx: Context, gy: Any) -> Any:
        return self.gradients(ctx, gy)


class Backwards(Observer):
    """Lists the functions whose backward ran."""

    def __init__(self) -> None:
        self.ran: list[Function] = []

    def backward(self, function: Function, gy: Any, gradients: Any) -> None:
        self.ran.append(function)

    @property
    def names(self) -> list[Any]:
        return [getattr(function, "name", function) for function in self.ran]


def plus(a: Tensor, b: Tensor, name: str = "") -> Tensor:
    return apply(Plus(name), a, b)


def times(a: Tensor, b: Tensor, name: str = "") -> Tensor:
    return apply(Times(name), a, b)


def scale(x: Tensor, factor: float, name: str = "") -> Tensor:
    return apply(Scale(factor, name), x)


def leaf(*values: float, requires_grad: bool = True) -> Tensor:
    return Tensor(np.array(values), requires_grad)


def values_of(tensor: Tensor | None) -> list[float]:
    assert tensor is not None
    return tensor.numpy().tolist()  # type: ignore[no-any-return]
