"""A function at a point: what every check runs, and what its errors must tell."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.errors import DTypeError, GradientError, GraphError
from tinyvq.function import walk
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
SHOWN = 20  # values of an array that messages write out
SUBNORMAL = 2.0**-1000  # whatever is smaller may lose digits when it is multiplied


@dataclass(frozen=True)
class Subject:
    """A function of tensors at a point.

    arrays    its arguments: floating arrays become tensors; integers, booleans and None
              are handed on as they are
    active    the positions to be differentiated
    settings  its keyword arguments
    origin    what drew the arrays, for messages
    """

    fn: Callable[..., Any]
    name: str
    arrays: tuple[Any, ...]
    active: tuple[int, ...]
    settings: Mapping[str, Any]
    seed: int
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.active:
            raise self.error("there is nothing to check: no argument has a gradient")

    def value(self, arrays: Sequence[Any]) -> Array:
        """Call the function on constants."""
        with no_grad():
            return np.asarray(self._call([_tensor(array) for array in arrays]).array)

    def record(
        self, arrays: Sequence[Any], needs: Collection[int] | None = None
    ) -> "Recording":
        """Call the function on tensors, of which those in `needs` require gradients."""
        needs = self.active if needs is None else needs
        inputs = [_tensor(array, i in needs) for i, array in enumerate(arrays)]
        return Recording(self, inputs, self._call(inputs))

    def _call(self, inputs: Sequence[Any]) -> Tensor:
        with self.explained():
            output = self.fn(*inputs, **self.settings)
        if not isinstance(output, Tensor):
            raise self.error(f"must return a Tensor, got {type(output).__name__}")
        return output

    def copies(self) -> list[Any]:
        """Copy the arguments, so that a function that spoils them spoils no check."""
        return [a.copy() if isinstance(a, np.ndarray) else a for a in self.arrays]

    def require_unmodified(self, arrays: Sequence[Any]) -> None:
        """Raise unless copies that were handed out still hold the arguments."""
        for i, (given, kept) in enumerate(zip(arrays, self.arrays, strict=True)):
            if isinstance(kept, np.ndarray) and not same(given, kept):
                raise self.error(f"input {i} was modified in place")

    def error(self, what: str) -> GradientError:
        """Make an error that tells how to repeat the check."""
        return GradientError(f"{self.name}: {what}\n{self._call_text()}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Add how to repeat the check to an error that the function itself raises."""
        try:
            yield
        except Exception as error:
            error.add_note(self._call_text())
            raise

    def _call_text(self) -> str:
        arguments = [describe(array) for array in self.arrays]
        arguments += [f"{key}={value!r}" for key, value in self.settings.items()]
        drawn = f", drawn by {self.origin}" if self.origin else ""
        call = f"{self.name}({', '.join(arguments)})"
        return f"  in {call}, seed={self.seed}{drawn}"


@dataclass(frozen=True)
class Recording:
    """One recorded call, whose graph can be walked any number of times."""

    subject: Subject
    inputs: list[Any]
    output: Tensor

    def gradients(self, gy: Array) -> dict[int, Array]:
        """Walk back from the upstream gradient gy; zeros where no gradient arrives.

        A contiguous gy goes to the last op as it is, so that a check can see whether it
        was modified; of another one the walk makes a copy first.
        """
        wanted = {
            i: tensor
            for i, tensor in enumerate(self.inputs)
            if isinstance(tensor, Tensor) and tensor.requires_grad
        }
        root = self.output.node
        targets = {t.node for t in wanted.values() if t.node is not None}
        try:
            with self.subject.explained():
                found = {} if root is None else walk(root, gy, targets, True)
        except GraphError as error:
            raise self.subject.error(str(error)) from error
        gradients = {}
        for i, tensor in wanted.items():
            arrived = None if tensor.node is None else found.get(tensor.node)
            gradients[i] = np.zeros_like(tensor.array) if arrived is None else arrived
        return gradients


def walked(recording: Recording, upstream: Array) -> dict[int, Array]:
    """Walk back; GradientError where backward writes into its upstream gradient."""
    found = recording.gradients(handed := upstream.copy())
    if not same(handed, upstream):
        raise recording.subject.error(
            "backward modified its upstream gradient in place"
        )
    return {i: gradient.copy() for i, gradient in found.items()}


def require_linear(
    recording: Recording, upstream: Array, first: Mapping[int, Array]
) -> None:
    """Raise GradientError unless backward is linear in its upstream gradient.

    first  the gradients that it made of that

    What it makes of a power of two times that is the power times as much, to the bit:
    such a factor rounds nothing. And of zeros it makes zeros. A backward that clips its
    upstream gradient, or adds to it, would pass for gradients of one size.
    """
    subject = recording.subject
    for factor in (-(2.0**10), 2.0**-10, 0.0):
        scaled = walked(recording, upstream * upstream.dtype.type(factor))
        for i, gradient in scaled.items():
            off = np.abs(gradient - first[i] * first[i].dtype.type(factor))
            if np.isfinite(first[i]).all() and not largest(off) <= SUBNORMAL:
                raise subject.error(
                    f"backward is not linear in its upstream gradient: for {factor:g} "
                    f"times that, the gradient of input {i} is not {factor:g} times "
                    f"what it was, but off by {largest(off):.3g}"
                )


def _tensor(array: Any, requires_grad: bool = False) -> Any:
    if isinstance(array, np.ndarray | np.floating) and array.dtype.kind == "f":
        return Tensor.wrap(array, requires_grad)
    return array


def differentiable(
    name: str, arrays: Sequence[Any]
) -> tuple[tuple[Any, ...], list[int]]:
    """Take arguments as arrays, and list the positions that have gradients.

    Raises DTypeError for floats other than float64: the error of a difference quotient
    is about u^(4/5) of the slope at best, which float32 leaves no digits of.
    """
    taken: list[Any] = []
    floats = []
    for i, given in enumerate(arrays):
        array = given.array if isinstance(given, Tensor) else given
        if isinstance(array, float | complex | list | tuple | np.generic):
            made = np.asarray(array)  # of numbers, or handed on as it came
            array = made if made.dtype.kind in "fc" else array
        if isinstance(array, np.ndarray) and array.dtype.kind in "fc":
            if array.dtype.kind == "c":
                raise DTypeError(
                    f"{name}: argument {i} is {array.dtype}; check functions of its "
                    "real and imaginary parts"
                )
            if array.dtype != np.float64:
                raise DTypeError(
                    f"{name}: finite differences need float64, argument {i} is "
                    f"{array.dtype}; convert it: array.astype(np.float64)"
                )
            floats.append(i)
        taken.append(array)
    return tuple(taken), floats


def floored(stream: Stream, shape: tuple[int, ...]) -> Float64:
    """Draw values of random sign and size 0.5 .. 1.5: none near 0, no two alike."""
    sign = 1.0 - 2.0 * stream.integers(2, shape)
    return np.asarray(sign * stream.uniform(shape, 0.5, 1.5))


def direction(stream: Stream, shape: tuple[int, ...]) -> Float64:
    """Draw a unit vector, each component at least a third of the root mean square."""
    values = floored(stream, shape)
    return values / math.sqrt(float(np.square(values).sum()))


def same(a: Array, b: Array) -> bool:
    """Whether two arrays agree in dtype, shape and every value; NaN equals NaN."""
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def largest(values: Array) -> float:
    """Find the largest magnitude; 0 where there are no values."""
    return float(np.abs(values).max()) if values.size else 0.0


def describe(array: Any) -> str:
    """Name dtype and shape, and the values of a small array."""
    if isinstance(array, np.ndarray):
        values = f" {array.tolist()}" if 0 < array.size <= SHOWN else ""
        return f"{array.dtype} {array.shape}{values}"
    return repr(array)


def name_of(fn: Callable[..., Any]) -> str:
    """Name a function for messages."""
    while isinstance(fn, partial):
        fn = fn.func
    return getattr(fn, "__name__", type(fn).__name__)
