"""Function, Context, Node, and the backward walk: the whole of reverse mode.

A `Function` is an op: a frozen dataclass whose fields are the op's settings. Its
`forward` turns arrays into an array and saves what its `backward` will need; its
`backward` turns the gradient of the output into one gradient per input. Neither knows
of tensors or of a graph.

A `Node` is one call of a Function, remembered: the Function, its Context, and the nodes
that made its inputs. Nodes number themselves as they are made, so every node is newer
than its inputs, and `walk` needs no recursion: it takes the newest node first, when all
gradients that flow into it have arrived.
"""

import itertools
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq.errors import DTypeError, GraphError

Array = Any  # NumPy or CuPy


class Version:
    """Counts the in-place changes of one piece of memory; its views share it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Context:
    """What one call of a Function keeps from its forward for its backward.

    needs   for each input, whether its gradient is asked for
    """

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs = needs
        self.saved: dict[str, Any] | None = {}

    def save(self, **values: Any) -> None:
        """Keep arrays (and shapes, axes, ...) under names: `ctx.save(x=x)`, `ctx.x`."""
        if self.saved is None:
            raise GraphError("ctx.save was called after the backward pass")
        for name in values:
            if hasattr(Context, name) or name in self.__dict__:
                raise GraphError(f"ctx.save: {name!r} is the context's own; rename it")
        self.saved.update(values)

    def __getattr__(self, name: str) -> Any:
        saved = self.__dict__.get("saved")
        if saved is not None and name in saved:
            return saved[name]
        raise AttributeError(f"this op's forward did not save {name!r}")


@dataclass(frozen=True)
class Function:
    """An op. Subclasses are frozen dataclasses; their fields are the op's settings."""

    def forward(self, ctx: Context, *arrays: Any) -> Array:
        """Compute the output; save for backward by `ctx.save(name=array)`."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        """Return the inputs' gradients; what `ctx.needs` does not ask is not read."""
        raise NotImplementedError(f"{type(self).__name__}.backward")


class Observer:
    """Sees every op as it runs: for a profile, or to find the first bad value.

    Between the calls before and after an op there is nothing but the op.
    """

    def before_forward(self, function: Function, inputs: tuple[Any, ...]) -> None:
        """Called before each forward."""

    def forward(
        self, function: Function, inputs: tuple[Any, ...], output: Array
    ) -> None:
        """Called after each forward."""

    def before_backward(self, function: Function, ctx: Context, gy: Array) -> None:
        """Called before each backward; `ctx` has what the forward saved."""

    def backward(
        self, function: Function, gy: Array, gradients: tuple[Any, ...]
    ) -> None:
        """Called after each backward."""


observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observe(by: Observer) -> Iterator[None]:
    """Show every op that runs inside the block to an observer."""
    token = observer.set(by)
    try:
        yield
    finally:
        observer.reset(token)


_order = itertools.count()


class Node:
    """One call of a Function in the graph; a leaf has no Function.

    inputs   the node of each input, None for what needs no gradient
    shape, dtype   of the output, which its gradient must match
    leaf     where a leaf's gradient is delivered: a weak reference to its tensor
    """

    __slots__ = (
        "__weakref__",
        "context",
        "dtype",
        "function",
        "inputs",
        "leaf",
        "order",
        "shape",
        "watched",
    )

    def __init__(
        self,
        function: Function | None,
        context: Context | None,
        inputs: tuple["Node | None", ...],
        like: Array,
    ) -> None:
        self.function = function
        self.context = context
        self.inputs = inputs
        self.shape: tuple[int, ...] = like.shape
        self.dtype = like.dtype
        self.order = next(_order)
        self.leaf: weakref.ref[Any] | None = None
        self.watched: list[tuple[str, Version, int]] = []

    @property
    def name(self) -> str:
        """The name of the op, for messages."""
        return "leaf" if self.function is None else type(self.function).__name__

    def watch(self, name: str, version: Version) -> None:
        """Remember the version of a saved array, to be checked before backward."""
        self.watched.append((name, version, version.count))

    def backward(self, gy: Array, wanted: tuple[bool, ...]) -> tuple[Array | None, ...]:
        """Run the op's backward for the inputs wanted, and check what it returns."""
        if self.function is None or self.context is None:
            raise GraphError(f"{self.name} has no backward")
        if self.context.saved is None:
            raise GraphError(
                f"{self.name}: this graph was walked already and has released what it "
                "saved; pass retain_graph=True to the first walk to go through it twice"
            )
        for name, version, then in self.watched:
            if version.count != then:
                raise GraphError(
                    f"{self.name}: {name!r}, saved for backward, was changed in place "
                    f"since ({version.count - then} times)"
                )
        self.context.needs = wanted
        by = observer.get()
        if by is not None:
            by.before_backward(self.function, self.context, gy)
        gradients = self.function.backward(self.context, gy)
        if by is not None:
            by.backward(self.function, gy, gradients)
        if not isinstance(gradients, tuple) or len(gradients) != len(self.inputs):
            raise GraphError(
                f"{self.name}.backward must return a tuple of {len(self.inputs)} "
                f"gradients, one an input, got {_describe(gradients)}"
            )
        return gradients

    def release(self) -> None:
        """Drop the saved arrays."""
        if self.context is not None:
            self.context.saved = None


def walk(
    root: Node, seed: Array, targets: Collection[Node] | None, retain_graph: bool
) -> dict[Node, Array]:
    """Carry the gradient `seed` of `root` back through the graph.

    targets   the nodes whose gradients are wanted; None means all leaves. Only nodes
              that reach a target are visited.
    ->        the gradient of each target that `root` depends on

    Each node runs once, newest first. Gradients that meet are added in that order.
    """
    nodes = reachable(root)
    if targets is None:
        targets = {node for node in nodes if node.function is None}
    useful = _reaching(nodes, targets)
    pending: dict[Node, Array] = {root: as_array(seed)}
    summed: set[Node] = set()  # whose pending gradient is a sum made here: ours
    found: dict[Node, Array] = {}
    for node in nodes:
        gy = pending.pop(node, None)
        if gy is None:
            continue
        if node in targets:
            found[node] = gy
        wanted = tuple(parent in useful for parent in node.inputs)
        if not any(wanted):
            continue
        gradients = node.backward(gy, wanted)
        for i, parent in enumerate(node.inputs):
            if parent is None or not wanted[i]:
                continue
            gradient = _checked(node, i, parent, gradients[i])
            if parent not in pending:
                pending[parent] = gradient
            elif parent in summed:
                pending[parent] += gradient
            else:
                pending[parent] = as_array(pending[parent] + gradient)
                summed.add(parent)
        if not retain_graph:
            node.release()
    return found


def as_array(value: Any) -> Array:
    """Make a C-contiguous array of what an op returns: a scalar, a strided view, ...

    All values and gradients are C-contiguous, so that no result depends, by a rounding,
    on how an input happened to lie in memory.
    """
    if isinstance(value, np.generic):
        return np.asarray(value)
    flags = getattr(value, "flags", None)
    if flags is None:
        return value
    # A single value counts as contiguous at any stride, but NumPy rounds exp and other
    # functions of it differently where the stride is negative.
    backwards = value.shape == (1,) and value.strides[0] < 0
    return value.copy(order="C") if backwards or not flags.c_contiguous else value


def number_like(value: float | np.integer[Any], like: Array) -> Array:
    """Make an array () of a number, of the dtype of `like` and where that lives.

    Raises DTypeError where the number would lose its value.
    """
    kind = "b" if isinstance(value, bool) else "f" if isinstance(value, float) else "i"
    fits = "biuf".index(kind) <= "biuf".index(like.dtype.kind)
    if fits and kind == "i":
        try:
            like.dtype.type(int(value))
        except OverflowError:
            fits = False
    if not fits:
        raise DTypeError(
            f"the number {value} would lose its value in a tensor of {like.dtype}; "
            "convert the tensor"
        )
    return np.full_like(like, value, shape=())


def arrays_in(value: Any) -> Iterator[Array]:
    """List the arrays of what an op saved: itself, or those in tuples, lists, dicts."""
    if hasattr(value, "strides"):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part)


def owner_of(array: Array) -> Any:
    """Find the object that owns an array's memory."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def reachable(root: Node) -> list[Node]:
    """List root and all that it depends on, newest first."""
    seen = {root}
    stack = [root]
    while stack:
        for parent in stack.pop().inputs:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: -node.order)


def first_order_only(create_graph: bool) -> None:
    """Raise GraphError where second derivatives are asked for."""
    if create_graph:
        raise GraphError(
            "create_graph=True: tinyvq has first derivatives only; "
            "its backward passes are not recorded"
        )


def _reaching(nodes: Iterable[Node], targets: Collection[Node]) -> set[Node]:
    """Select the nodes that are targets or depend on one."""
    useful: set[Node] = set()
    for node in sorted(nodes, key=lambda node: node.order):
        if node in targets or any(parent in useful for parent in node.inputs):
            useful.add(node)
    return useful


def _checked(node: Node, i: int, parent: Node, gradient: Array | None) -> Array:
    """Return the gradient; raise GraphError unless it fits input i of the node."""
    gradient = as_array(gradient)
    shape = getattr(gradient, "shape", None)
    dtype = getattr(gradient, "dtype", None)
    if shape != parent.shape or dtype != parent.dtype:
        raise GraphError(
            f"{node.name}.backward: the gradient of input {i} must be {parent.dtype} "
            f"{parent.shape}, got {_describe(gradient)}"
        )
    saved = node.context.saved if node.context is not None else None
    if any(value is gradient for value in arrays_in(saved or {})):
        return gradient.copy()  # a leaf's gradient must not be an op's own array
    return gradient


def _describe(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if hasattr(value, "shape"):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__ if value is not None else "None"
