"""check_grads: a backward pass against finite differences."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tinyvq.errors import ConfigError, GradientError
from tinyvq.rng import Stream
from tinyvq.testing._differences import (
    NOISE,
    UNIT,
    Slopes,
    UnsettledError,
    differentiate,
)
from tinyvq.testing._subject import (
    Array,
    Float64,
    Recording,
    Subject,
    differentiable,
    direction,
    floored,
    largest,
    name_of,
    require_linear,
    same,
    walked,
)

FULL_JACOBIAN = 2_000  # entries, inputs × outputs; above it, directions
DIRECTIONS = 3
RESOLVED = 2.0**-10  # of the largest slope: a larger error is no rounding of ours

Surrogate = Callable[..., Any] | None


def check_grads(
    fn: Callable[..., Any],
    *arrays: Any,
    seed: int = 0,
    constants: Collection[int] | int = (),
    surrogate: Surrogate = None,
    **settings: Any,
) -> float:
    """Check the gradients of a function of tensors by finite differences.

    fn         takes one argument an array, and the settings; returns a Tensor of any
               shape. Floating arrays come to it as tensors; integers, booleans and None
               as they are (bind a setting called `seed` or the like by a partial)
    arrays     float64, and not at a kink of fn: that is an error
    seed       of the upstream gradient and the directions
    constants  positions of floating arrays that have no gradient, one or several
    surrogate  where the backward is by design not the derivative of fn: the function of
               plain arrays that it is the derivative of, equal to fn at this point
    ->         the largest error of a gradient relative to the largest slope

    The upstream gradient is random, for all ones would hide the zero backward of a
    softmax. The Jacobian is checked entry by entry where it has up to 2,000 entries,
    and along random directions where it is larger; no component of those is near zero,
    so no border element can hide. Checked as well: each input when it alone needs a
    gradient; that a second walk over the same graph gives the same bits; that backward
    is linear in its upstream gradient; that inputs and upstream gradient stay as they
    were; that the value does not depend on whether gradients are asked for.

    Raises GradientError with the element, both values and what is needed to repeat the
    check; DTypeError for floating arrays that are not float64; ConfigError for
    constants that are no positions of floating arrays.
    """
    name = name_of(fn)
    taken, floats = differentiable(name, arrays)
    constants = (constants,) if isinstance(constants, int) else tuple(constants)
    if not set(constants) <= set(floats):
        raise ConfigError(
            f"{name}: constants {constants} are not among the positions of floating "
            f"arrays, {tuple(floats)}"
        )
    active = tuple(i for i in floats if i not in constants)
    subject = Subject(fn, name, taken, active, settings, seed)
    return check_subject(subject, surrogate)


def check_subject(subject: Subject, surrogate: Surrogate) -> float:
    """Run check_grads on a subject."""
    stream = Stream(subject.seed, "check_grads")
    y = _value(subject, surrogate)
    recording = subject.record(arrays := subject.copies())
    _require_value(recording, y)
    subject.require_unmodified(arrays)
    upstream = floored(stream.child("upstream"), y.shape)
    dense = _walk_twice(recording, upstream, arrays)
    error = 0.0
    judges = [
        _Judge(subject, surrogate, i, y, stream.child("input", i))
        for i in subject.active
    ]
    for judge in judges:
        error = max(error, judge.dense(dense[judge.i], upstream))
        if len(judges) > 1:
            alone = subject.record(subject.copies(), [judge.i])
            _require_value(alone, y)
            gradient = alone.gradients(upstream.copy())[judge.i]
            note = ", when it alone needs one"
            error = max(error, judge.dense(gradient, upstream, note))
    error = max(error, _each_output(subject, [j for j in judges if j.full], y))
    require_linear(recording, upstream, dense)
    return error


def _each_output(subject: Subject, judges: list["_Judge"], y: Float64) -> float:
    """Judge the gradients of each output element, for inputs that are small."""
    if not judges:
        return 0.0
    recording = subject.record(subject.copies(), [judge.i for judge in judges])
    units = _units(y.shape)
    found = [recording.gradients(unit) for unit in units]
    return max(judge.units([g[judge.i] for g in found], units) for judge in judges)


def _value(subject: Subject, surrogate: Surrogate) -> Float64:
    """Compute the value at the point, and hold the surrogate to it."""
    y = subject.value(arrays := subject.copies())
    subject.require_unmodified(arrays)
    if y.dtype != np.float64:
        raise subject.error(f"must return float64 for float64 inputs, got {y.dtype}")
    if not np.isfinite(y).all():
        raise subject.error("the value is not finite")
    if surrogate is not None:
        stand_in = np.asarray(surrogate(*subject.copies()))
        if stand_in.shape != y.shape:
            raise subject.error(f"surrogate returns {stand_in.shape}, not {y.shape}")
        size = max(largest(subject.arrays[i]) for i in subject.active)
        off = largest(stand_in - y)
        if not off <= NOISE * UNIT * (size + largest(y)):  # rounding: _differences.py
            raise subject.error(f"the surrogate's value here is off by {off:.3g}")
    return y


def _require_value(recording: Recording, y: Float64) -> None:
    if not same(recording.output.array, y):
        raise recording.subject.error(
            "two calls at one point differ: the value is random, "
            "or depends on what requires a gradient"
        )


def _walk_twice(
    recording: Recording, upstream: Float64, arrays: list[Any]
) -> dict[int, Array]:
    """Return the gradients; raise unless a second walk repeats them."""
    subject = recording.subject
    first = walked(recording, upstream)
    second = recording.gradients(upstream.copy())
    for i in subject.active:
        if not same(first[i], second[i]):
            raise subject.error(
                f"the gradient of input {i} changes from one walk over the graph to "
                f"the next, by up to {largest(second[i] - first[i]):.3g}: backward "
                "modifies what forward saved, or keeps something between calls"
            )
    subject.require_unmodified(arrays)
    return first


class _Judge:
    """Holds gradients of one input to the slopes that finite differences find.

    full  whether the slopes are those along every element of the input
    """

    def __init__(
        self, subject: Subject, surrogate: Surrogate, i: int, y: Float64, stream: Stream
    ) -> None:
        self.subject = subject
        self.surrogate = surrogate
        self.i = i
        self.x: Float64 = subject.arrays[i]
        self.y = y
        self.full = self.x.size * max(1, y.size) <= FULL_JACOBIAN
        self.directions = self._draw(stream)
        try:
            self.slopes = self._slopes(self.directions)
        except UnsettledError as error:
            raise subject.error(f"input {i}: {error}") from None

    def _draw(self, stream: Stream) -> list[Float64]:
        if self.full:
            return _units(self.x.shape)
        return [direction(stream.child(k), self.x.shape) for k in range(DIRECTIONS)]

    def _slopes(self, directions: Sequence[Float64]) -> Slopes:
        point = self.subject.copies()

        def curve(x: Array) -> Array:
            point[self.i] = x
            if self.surrogate is not None:
                return np.asarray(self.surrogate(*point))
            return self.subject.value(point)

        return differentiate(curve, self.x, self.y, directions)

    def dense(self, gradient: Array, upstream: Float64, note: str = "") -> float:
        """Judge the gradient of a weighted sum of all outputs."""
        return self._judge([gradient], [upstream], note)

    def units(self, gradients: list[Array], units: list[Float64]) -> float:
        """Judge the gradients of each output element."""
        return self._judge(gradients, units, "")

    def _judge(
        self, gradients: list[Array], upstream: list[Float64], note: str
    ) -> float:
        """Return the largest error relative to the largest slope."""
        for gradient in gradients:
            self._require_finite(gradient, note)
        q = len(upstream)
        rows = np.array(gradients).reshape(q, self.x.size)
        claimed = rows.T  # (k, q)
        if not self.full:
            claimed = np.array([rows @ d.ravel() for d in self.directions])  # (k, q)
        weights = np.array(upstream).reshape(q, self.y.size)
        numeric, bounds = self.slopes.along(weights)  # (k, q), (k, q)
        errors = np.abs(claimed - numeric)
        if (errors > bounds).any():
            k, j = _position(int(np.argmax(errors - bounds)), errors.shape)
            if not self.full:
                k = self._locate(rows[j], weights[j], self.directions[k])
            wrong = float((errors > bounds).any(axis=1).mean())
            raise self._mismatch(k, rows[j], weights[j], wrong, note)
        doubtful = (errors > bounds / 8) & (errors > RESOLVED * largest(numeric))
        if doubtful.any():
            k, j = _position(
                int(np.argmax(np.where(doubtful, errors, 0))), errors.shape
            )
            raise self.subject.error(
                f"the gradient of input {self.i} cannot be judged: {claimed[k, j]:.6g} "
                f"is claimed, and finite differences give {numeric[k, j]:.6g} but are "
                f"sure of it to ± {bounds[k, j]:.1e} alone{note}. The values are large "
                "beside the slopes: subtract a constant, or check at another point"
            )
        return largest(errors) / (largest(numeric) or 1.0)

    def _require_finite(self, gradient: Array, note: str) -> None:
        if not np.isfinite(gradient).all():
            at = tuple(int(n) for n in np.argwhere(~np.isfinite(gradient))[0])
            raise self.subject.error(
                f"the gradient of input {self.i} is not finite at {at}{note}"
            )

    def _locate(self, gradient: Array, weights: Float64, d: Float64) -> int:
        """Find an element to blame for an error along d: halve d, keep the worse."""
        low, high = 0, self.x.size
        while high - low > 1:
            middle = (low + high) // 2
            halves = [_between(d, low, middle), _between(d, middle, high)]
            numeric, _ = self._slopes(halves).along(weights[None])
            claimed = np.array([gradient @ half.ravel() for half in halves])
            left, right = np.abs(claimed - numeric[:, 0])
            low, high = (low, middle) if left >= right else (middle, high)
        return low

    def _mismatch(
        self, k: int, gradient: Array, weights: Float64, wrong: float, note: str
    ) -> GradientError:
        element = np.zeros(self.x.shape)
        element.flat[k] = 1.0
        slopes = self._slopes([element])
        numeric, bounds = slopes.along(weights[None])
        at = _position(k, self.x.shape)
        if weights.sum() == 1.0 and np.count_nonzero(weights) == 1:
            note += f", output {_position(int(weights.argmax()), self.y.shape)} alone"
        what = "elements" if self.full else f"{DIRECTIONS} directions"
        return self.subject.error(
            f"the gradient of input {self.i} at {at} is {gradient[k]:.12g}, but finite "
            f"differences give {numeric[0, 0]:.12g} ± {bounds[0, 0]:.1e} (step "
            f"{slopes.steps[0]:.1e}{note}); wrong along {wrong:.0%} of its {what}"
        )


def _position(k: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unravel_index(k, shape))


def _units(shape: tuple[int, ...]) -> list[Float64]:
    """Make the direction of each element."""
    size = math.prod(shape)
    return list(np.eye(size).reshape(size, *shape))


def _between(d: Float64, low: int, high: int) -> Float64:
    """Keep elements low .. high-1 of a direction."""
    kept = np.zeros_like(d)
    kept.flat[low:high] = d.flat[low:high]
    return kept
