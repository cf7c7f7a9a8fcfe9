"""Stop before a NaN or infinite value spoils the model, and say where it came from."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinyvq.backends import read
from tinyvq.errors import NonFiniteError, TinyvqError
from tinyvq.function import Array, Function, Observer, observe
from tinyvq.nn import Module
from tinyvq.optim import grad_square
from tinyvq.tensor import Tensor


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


def guarded_backward(
    differentiate: Callable[[], Array], model: Module
) -> tuple[float, float]:
    """Make a step's gradients; check the loss and them before an optimiser sees them.

    differentiate  runs forward and backward, and returns the loss, one float64 value,
                   where it lies; called again where a value is bad, to find the first
    model          whose gradients these are
    ->             the loss, and the length of all gradients together

    Waits for a GPU: once, for both. Raises NonFiniteError naming the first op that made
    a NaN or infinite value.
    """
    model.zero_grad()
    try:
        loss, square = read(differentiate(), grad_square(model.parameters()))
        norm = math.sqrt(square)
        if math.isfinite(loss) and math.isfinite(norm):
            return loss, norm
    except ValueError as problem:  # a codebook search refuses NaN and inf by itself
        raise _first_bad(differentiate, model) or problem from None
    raise _first_bad(differentiate, model) or NonFiniteError(
        "the loss or the length of its gradients is not finite"
    )


def in_double(loss: Tensor) -> Array:
    """Give a loss as one float64 value, where it lies, for `guarded_backward`."""
    return loss.array.astype(np.float64)


def _first_bad(
    differentiate: Callable[[], Array], model: Module
) -> NonFiniteError | None:
    """Go through the step again, op by op, up to the first value that is not finite."""
    model.zero_grad()
    try:
        with observe(_FirstBad()):
            differentiate()
    except NonFiniteError as found:
        return NonFiniteError(f"{found} finite, the first bad value of the step")
    return None


def check_state(state: Mapping[str, Array]) -> None:
    """Raise NonFiniteError, naming the array, where a state holds NaN or infinity."""
    for name, array in state.items():
        if not _finite(array):
            raise NonFiniteError(f"{name} is not finite after the update")


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all().item())
