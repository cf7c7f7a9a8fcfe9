"""Which implementations of each operation there are, and which one runs.

Every operation has a ladder of variants that do the same: the reference, which is the
specification, and faster ones. `resolve` picks by where the array lives. Nothing falls
back silently: what is missing raises `KernelUnavailable` and lists what there is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

FLOATS = ("float32", "float64")
NAMES = {"f": "float32", "d": "float64"}  # str(dtype) takes microseconds


class KernelUnavailable(LookupError):
    """No kernel of that operation, backend, variant or dtype."""


@dataclass(frozen=True)
class Kernel:
    """One implementation of one operation.

    op        the operation, "conv2d"
    backend   where its arrays live: "cpu" or "cuda"
    variant   the rung of the ladder, "reference", "tiled"
    load      returns the function; what it needs is imported or compiled only then
    what      what this rung changes against the one before, in a few words
    dtypes    the dtypes it takes
    default   whether `resolve` picks it unasked (one a backend)
    tf32      whether it rounds the factors of products to TF32: 11 significant bits
    """

    op: str
    backend: str
    variant: str
    load: Callable[[], Callable[..., Any]]
    what: str
    dtypes: tuple[str, ...] = FLOATS
    default: bool = False
    tf32: bool = False

    def __str__(self) -> str:
        """Say which rung it is, where it runs, and what it changes."""
        where = f"{self.backend}, {'/'.join(self.dtypes)}"
        unasked = ", runs unasked" if self.default else ""
        return f"{self.op} {self.variant} ({where}{unasked}): {self.what}"


_LADDERS: dict[str, list[Kernel]] = {}  # of each operation, in the order to read them
_OVERRIDES: ContextVar[dict[str, str] | None] = ContextVar("overrides", default=None)
Watch = Callable[[str, Callable[..., Any]], Callable[..., Any]]
_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


def declare(*ladder: Kernel) -> None:
    """Enter an operation's variants into the table, in the order to read them.

    The reference comes first, and runs on a backend until a better default is there.
    """
    for kernel in ladder:
        mine = _LADDERS.setdefault(kernel.op, [])
        if kernel.variant == "reference":
            kernel = replace(kernel, default=True)
        elif kernel.default:
            for i, other in enumerate(mine):
                if other.backend == kernel.backend:
                    mine[i] = replace(other, default=False)
        mine.append(kernel)


def kernels(op: str | None = None) -> tuple[Kernel, ...]:
    """List all kernels, or those of one operation."""
    if op is not None:
        return tuple(_LADDERS.get(op, ()))
    return tuple(kernel for ladder in _LADDERS.values() for kernel in ladder)


def backend_of(array: Any) -> Literal["cpu", "cuda"]:
    """Name the backend that an array lives on: "cpu" or "cuda"."""
    if isinstance(array, np.ndarray):
        return "cpu"
    if type(array).__module__.split(".")[0] == "cupy":
        return "cuda"
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}")


def resolve(op: str, like: Any) -> Callable[..., Any]:
    """Find the function that runs `op` on an array like this one.

    Raises KernelUnavailable where there is none for its backend and dtype.
    """
    backend = backend_of(like)
    name = NAMES.get(like.dtype.char, "another dtype")
    wanted = (_OVERRIDES.get() or {}).get(op)
    for kernel in _LADDERS.get(op, ()):
        chosen = kernel.variant == wanted if wanted else kernel.default
        if chosen and kernel.backend == backend and name in kernel.dtypes:
            watch, found = _WATCH.get(), kernel.load()
            return found if watch is None else watch(op, found)
    asked = f"{op}({wanted or 'default'}) on {backend} for {like.dtype}"
    raise KernelUnavailable(f"no kernel {asked}; there is: {_describe(op)}")


@contextmanager
def use_kernels(**variants: str) -> Iterator[None]:
    """Run the named variants inside the block: `with use_kernels(conv2d="reference")`.

    Raises KernelUnavailable at once for an operation or variant that does not exist.
    """
    for op, variant in variants.items():
        if not any(k.variant == variant for k in kernels(op)):
            raise KernelUnavailable(
                f"no kernel {op}={variant!r}; there is: {_describe(op)}"
            )
    token = _OVERRIDES.set({**(_OVERRIDES.get() or {}), **variants})
    try:
        yield
    finally:
        _OVERRIDES.reset(token)


@contextmanager
def watch_kernels(around: Watch) -> Iterator[None]:
    """Run around(op, kernel) in the place of each kernel inside the block: to time it.

    around  returns a function that takes what the kernel takes, and gives what it gives
    """
    token = _WATCH.set(around)
    try:
        yield
    finally:
        _WATCH.reset(token)


def _describe(op: str) -> str:
    ladder = [f"{k.variant} ({k.backend}; {'/'.join(k.dtypes)})" for k in kernels(op)]
    every = ", ".join(sorted({k.op for k in kernels()}))
    return ", ".join(ladder) or f"the operations {every}"
