"""OpSpec: what an op is, stated once; every check of it follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tinyvq.function import Function
from tinyvq.testing._draw import Draw, SeededDraw
from tinyvq.testing._subject import describe


@dataclass(frozen=True)
class Case:
    """One call of an op.

    args      its arguments: arrays, floating ones in float64, or None
    settings  its keyword arguments
    origin    what drew it, for messages
    """

    args: tuple[Any, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    def __repr__(self) -> str:
        args = ", ".join(describe(arg) for arg in self.args)
        return f"Case(({args}), {dict(self.settings)}, {self.origin!r})"


@dataclass(frozen=True)
class OpSpec:
    """What an op is; `verify` derives its checks from this, and none can be left out.

    name       as users call it
    op         the callable: tensors and settings to a Tensor
    draw       draws one call of it, away from kinks, in small sizes with 0 and 1 among
               them wherever the op takes these
    reference  its value by plain NumPy on float64 arrays, not calling what it judges
    functions  the Function classes that it is made of
    linear_in  each a set of arguments in which the op is jointly linear, others fixed
    constants  arguments that never get a gradient, by position
    surrogate  only where the backward is by design not the derivative: from the
               arguments and settings at a point, makes the function of plain arrays
               that the backward is the derivative of; what is stopped is frozen at that
               point, so there the two have one value
    """

    name: str
    op: Callable[..., Any]
    draw: Callable[[Draw], Case]
    reference: Callable[..., Any]
    functions: tuple[type[Function], ...]
    linear_in: tuple[tuple[int, ...], ...] = ()
    constants: tuple[int, ...] = ()
    surrogate: Callable[..., Callable[..., Any]] | None = None

    def case(self, seed: int) -> Case:
        """Draw a case from a seed."""
        return replace(self.draw(SeededDraw(seed)), origin=f"case({seed})")
