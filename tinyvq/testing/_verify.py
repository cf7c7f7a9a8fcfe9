"""verify: every check that follows from what an op is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.function import Function, Observer, observe
from tinyvq.rng import Stream
from tinyvq.testing._adjoint import check_linear_subject
from tinyvq.testing._grads import check_subject
from tinyvq.testing._layouts import LAYOUTS
from tinyvq.testing._spec import Case, OpSpec
from tinyvq.testing._subject import (
    Array,
    Float64,
    Subject,
    differentiable,
    floored,
    largest,
    same,
)

UNITS = {np.dtype(np.float64): 2.0**-53, np.dtype(np.float32): 2.0**-24}
NUDGE = 2.0**-24
NUDGES = 4
ROOM = 64


@dataclass(frozen=True)
class Report:
    """What `verify` measured; every error is relative to the largest value.

    value, value32        of the op in float64 and float32, against its reference
    gradient              of the backward in float64, against finite differences
    gradient32            of the backward in float32, against float64
    adjoint               of the adjoint identity; None for an op that is not linear
    functions             the Function classes that ran
    """

    spec: OpSpec
    case: Case
    value: float
    value32: float
    gradient: float
    gradient32: float
    adjoint: float | None
    functions: frozenset[type[Function]]


def verify(spec: OpSpec, case: Case, seed: int = 0) -> Report:
    """Run every check that follows from a specification on one case.

    The value against the reference, in float64 and float32; gradients against finite
    differences, and in float32 against float64; the adjoint identity wherever the op is
    linear; the same bits whatever the memory layout of inputs and upstream gradient,
    with or without gradients; dtypes kept, and not mixed; inputs left as they were.

    Raises GradientError for the first that fails, with what is needed to repeat it.
    """
    taken, floats = differentiable(spec.name, case.args)
    active = tuple(i for i in floats if i not in spec.constants)
    subject = Subject(
        spec.op, spec.name, taken, active, case.settings, seed, case.origin
    )
    single = replace(subject, arrays=tuple(map(_to_float32, taken)))

    with observe(watching := _Ran()):
        value = _check_value(subject, spec.reference)
    value32 = _check_value(single, spec.reference)
    frozen = None
    if spec.surrogate is not None:
        frozen = spec.surrogate(*subject.copies(), **case.settings)
    gradient = check_subject(subject, frozen)
    gradient32 = _check_float32_gradients(single)
    adjoint = []
    for linear in spec.linear_in:
        present = tuple(i for i in linear if i in floats)  # some may be None
        adjoint.append(check_linear_subject(replace(subject, active=present)))
    _check_layouts(subject)
    _check_layouts(single)
    _check_mixed(subject, floats)
    return Report(
        spec,
        case,
        value,
        value32,
        gradient,
        gradient32,
        max(adjoint, default=None),
        frozenset(watching.ran),
    )


class _Ran(Observer):
    """Remembers the classes of the Functions that ran."""

    def __init__(self) -> None:
        self.ran: set[type[Function]] = set()

    def forward(self, function: Function, inputs: Any, output: Any) -> None:
        self.ran.add(type(function))


def _check_value(subject: Subject, reference: Callable[..., Any]) -> float:
    """Hold the value to the reference, and require it with gradients on as well."""
    y = subject.value(arrays := subject.copies())
    subject.require_unmodified(arrays)
    dtype = subject.arrays[subject.active[0]].dtype
    if y.dtype != dtype:
        raise subject.error(f"must return {dtype} for {dtype} inputs, got {y.dtype}")
    recorded = subject.record(arrays).output.array
    if not same(recorded, y):
        raise subject.error("the value is another where gradients are required")
    subject.require_unmodified(arrays)

    def exact(*points: Array) -> Float64:
        return np.asarray(reference(*points, **subject.settings), dtype=np.float64)

    return _hold("value", subject, y, exact, list(map(_to_float64, subject.arrays)))


def _check_float32_gradients(subject: Subject) -> float:
    """Hold float32 gradients to float64 ones, which finite differences have judged."""
    recording = subject.record(arrays := subject.copies())
    shape = recording.output.shape
    upstream = floored(Stream(subject.seed, "float32"), shape).astype(np.float32)
    gradients = recording.gradients(handed := upstream.copy())
    if not same(handed, upstream):
        raise subject.error("backward modified its upstream gradient in place")
    subject.require_unmodified(arrays)

    def exact(i: int, *points: Array) -> Float64:
        *inputs, gy = points
        return np.asarray(subject.record(inputs, [i]).gradients(gy)[i])

    points = list(map(_to_float64, (*subject.arrays, upstream)))
    return max(
        _hold(f"gradient of input {i}", subject, gradient, partial(exact, i), points)
        for i, gradient in gradients.items()
    )


def _hold(
    what: str,
    subject: Subject,
    got: Array,
    exact: Callable[..., Float64],
    points: Sequence[Any],
) -> float:
    """Hold an array to what `exact` gives at float64 points; -> the relative error.

    An algorithm that is backward stable gives the exact result for inputs that are off
    by a few units of rounding. So nudge each input by one unit of float32, up or down
    at random, and see how far the exact result moves: its sensitivity. A sum of K terms
    makes K roundings, of sums and not of terms, so it is off by √(K/2) of that on
    average: 22 for K = 1,000, and three times this is the ROOM. The size of the result
    stands for the final roundings, and for where the sensitivity is 0.
    """
    wanted = exact(*points)
    if got.shape != wanted.shape:
        raise subject.error(f"the {what} must be {wanted.shape}, got {got.shape}")
    stream = Stream(subject.seed, "nudge")
    moved = 0.0
    for k in range(NUDGES):
        nudged = [_nudge(p, stream.child(k, i)) for i, p in enumerate(points)]
        moved = max(moved, largest(exact(*nudged) - wanted))
    size = largest(wanted)
    bound = ROOM * UNITS[got.dtype] * (moved / NUDGE + size)
    error = largest(got - wanted)
    if not error <= bound:  # False where NaN
        at = np.unravel_index(int(np.argmax(np.abs(got - wanted))), wanted.shape)
        position = tuple(int(n) for n in at)
        raise subject.error(
            f"the {what} at {position} is {got[position]:.12g} in {got.dtype}, must be "
            f"{wanted[position]:.12g} ± {bound:.1e}"
        )
    return error / (size or 1.0)


def _nudge(point: Any, stream: Stream) -> Any:
    if not isinstance(point, np.ndarray) or point.dtype.kind != "f":
        return point
    return point * (1 + NUDGE * (1 - 2 * stream.integers(2, point.shape)))


def _check_layouts(subject: Subject) -> None:
    """Require the same bits for every memory layout of inputs and upstream gradient."""
    recording = subject.record(subject.copies())
    y = recording.output.array
    upstream = floored(Stream(subject.seed, "layouts"), y.shape).astype(y.dtype)
    gradients = recording.gradients(upstream)
    for layout, lay in LAYOUTS.items():
        inputs = [lay(a) if isinstance(a, np.ndarray) else a for a in subject.arrays]
        again = subject.record(inputs)
        if not same(again.output.array, y):
            raise subject.error(
                f"the value depends on the memory layout (inputs: {layout})"
            )
        found = again.gradients(upstream)
        _require_same(found, gradients, subject, f"inputs: {layout}")
        found = recording.gradients(lay(upstream))
        _require_same(found, gradients, subject, f"upstream gradient: {layout}")
    # The gradient of a sum repeats one value by strides of 0.
    repeated = np.broadcast_to(np.asarray(1.5, dtype=y.dtype), y.shape)
    found = recording.gradients(repeated)
    gradients = recording.gradients(repeated.copy())
    _require_same(found, gradients, subject, "upstream gradient: strides of 0")


def _require_same(
    found: dict[int, Array], wanted: dict[int, Array], subject: Subject, layout: str
) -> None:
    for i, gradient in wanted.items():
        if not same(found[i], gradient):
            raise subject.error(
                f"the gradient of input {i} depends on the memory layout, by up to "
                f"{largest(found[i] - gradient):.3g} ({layout})"
            )


def _check_mixed(subject: Subject, floats: Sequence[int]) -> None:
    """Require a TypeError where one floating argument has another dtype."""
    for i in floats if len(floats) > 1 else ():
        arrays = subject.copies()
        arrays[i] = _to_float32(arrays[i])
        try:
            subject.record(arrays)
        except TypeError:
            continue
        raise subject.error(f"must raise DTypeError where input {i} alone is float32")


def _to_float32(array: Any) -> Any:
    return _cast(array, np.float32)


def _to_float64(array: Any) -> Any:
    return _cast(array, np.float64)


def _cast(array: Any, dtype: npt.DTypeLike) -> Any:
    floating = isinstance(array, np.ndarray) and array.dtype.kind == "f"
    return array.astype(dtype) if floating else array
