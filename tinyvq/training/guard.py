"""Stop before a NaN or infinite value spoils the model, and say where it came from.

A step on a GPU is queued, not done, when its Python returns, and to ask for one number
is to wait for all. So a step asks once: `GuardedBackward` gathers the loss, the length
of all gradients and the codebook search's own flags into one array, reads that, and
only then lets an optimiser move. Where a figure is not finite, it goes through the same
step again, op by op, and names the first op that made such a value: what costs nothing
while all is well may be slow when it is not.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
from tinyvq_kernels import Captured, Checks, deferred_checks

from tinyvq.backends import on_host
from tinyvq.errors import NonFiniteError, TinyvqError
from tinyvq.function import Array, Function, Observer, observe
from tinyvq.nn import Module
from tinyvq.optim import grad_square
from tinyvq.tensor import Tensor

T = TypeVar("T")
U = TypeVar("U")


class _FirstBad(Observer):
    """Raises at the first op whose result is not finite."""

    def forward(
        self, function: Function, inputs: tuple[Any, ...], output: Array
    ) -> None:
        for i, array in enumerate(inputs):
            if array is not None and not _finite(array):
                raise NonFiniteError(f"input {i} of {type(function).__name__} is not")
        if not _finite(output):
            raise NonFiniteError(f"the result of {type(function).__name__} is not")

    def backward(
        self, function: Function, gy: Array, gradients: tuple[Any, ...]
    ) -> None:
        for i, array in enumerate(gradients):
            if array is not None and not _finite(array):
                raise NonFiniteError(
                    f"the gradient of input {i} of {type(function).__name__} is not"
                )


@contextmanager
def finite_values(step: int) -> Iterator[None]:
    """Say which step met a value that is not finite, and what may help.

    A kernel's refusal, a plain ValueError, becomes a NonFiniteError too.
    """
    try:
        with np.errstate(all="ignore"):  # what overflows is found, and named, anyway
            yield
    except NonFiniteError as problem:
        raise _stopped(step, problem) from problem
    except TinyvqError:
        raise
    except ValueError as problem:
        raise _stopped(step, problem) from problem


def _stopped(step: int, problem: Exception) -> NonFiniteError:
    return NonFiniteError(
        f"step {step}: {problem}; training stopped, the checkpoints are good. A lower "
        "--lr may help"
    )


# A backward pass is recorded at its third call: what reads its gradients, later.
MOVED_WARM = 3

Differentiate = Callable[[], tuple[Array, T]]


class GuardedBackward(Generic[T]):
    """Makes a step's gradients; looks at them before an optimiser sees them.

    differentiate  runs forward and backward; returns the loss, one float64 value where
                   it lies, and what else the step needs. Called again where a value is
                   bad, to find the first
    model          whose gradients these are
    captured       whether a GPU may repeat it as it was recorded: then it reads what
                   changes from arrays that stay (see `tinyvq_kernels.Captured`)
    """

    def __init__(
        self, differentiate: Differentiate[T], model: Module, captured: bool = True
    ) -> None:
        self.differentiate = differentiate
        self.model = model
        backend = model.backend if captured else "cpu"
        self._run = Captured(self._differentiate, backend)
        self._look = self.then(self._figures)

    def __call__(
        self, key: Hashable = None, ahead: Callable[[], None] = lambda: None
    ) -> tuple[float, float, T]:
        """Run; return the loss, the length of all gradients, and what else there is.

        key    of what differentiate does, where that is not the same at each step
        ahead  is done meanwhile, before anything is waited for

        Waits for a GPU: once, for all. Raises NonFiniteError naming the first op that
        made a NaN or infinite value.
        """
        try:
            self._loss, self._checks, rest = self._run(key)
            figures = self._look(key)
            ahead()
            loss, square, *flags = on_host(figures).tolist()
            self._checks.raise_if(any(flags))
            norm = math.sqrt(square)
            if math.isfinite(loss) and math.isfinite(norm):
                return loss, norm, rest
        except ValueError as problem:  # a codebook search refuses NaN and inf by itself
            raise self._first_bad() or problem from None
        raise self._first_bad() or NonFiniteError(
            "the loss or the length of its gradients is not finite"
        )

    def then(self, run: Callable[[], U]) -> Captured[U]:
        """Make what runs after it, on these gradients: recorded once they stay."""
        return Captured(run, self._run.backend, MOVED_WARM)

    def _differentiate(self) -> tuple[Array, Checks, T]:
        self.model.zero_grad()
        with deferred_checks() as checks:
            loss, rest = self.differentiate()
        return loss, checks, rest

    def _figures(self) -> Array:
        """Put all that is read into one array: loss, square of the length, flags."""
        flags = [flag[0].astype(np.float64) for flag in self._checks.flags.values()]
        square = grad_square(self.model.parameters())
        return np.stack([self._loss, square, *flags])

    def _first_bad(self) -> NonFiniteError | None:
        """Go through the step again, op by op, up to the first value that is bad."""
        self.model.zero_grad()
        try:
            with observe(_FirstBad()):
                self.differentiate()
        except NonFiniteError as found:
            return NonFiniteError(f"{found} finite, the first bad value of the step")
        return None


def in_double(loss: Tensor) -> Array:
    """Give a loss as one float64 value, where it lies, for `GuardedBackward`."""
    return loss.array.astype(np.float64)


def check_state(state: Mapping[str, Array]) -> None:
    """Raise NonFiniteError, naming the array, where a state holds NaN or infinity."""
    for name, array in state.items():
        if not _finite(array):
            raise NonFiniteError(f"{name} is not finite after the update")


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all().item())
