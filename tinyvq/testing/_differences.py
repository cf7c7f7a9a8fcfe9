"""Slopes by finite differences, each with a bound on its own error.

A slope is taken by central differences with steps h and h/2, and extrapolated
(Richardson): with D(h) = (f(x + h d) - f(x - h d)) / 2h = f' + f''' h²/6 + O(h⁴),

    value = (4 D(h/2) - D(h)) / 3 = f' + O(h⁴)

Three things can spoil it, and each is measured or bounded:

    spread    D(h) - D(h/2), which is f''' h²/8 for a smooth function: far more than
              is left of the error after the extrapolation
    jump      right slope minus left slope, extrapolated to step 0: O(h³) for a smooth
              function, the height of the kink where one is met. A kink at a distance
              a < h/2 gives height · (1 - 3a/h); where that vanishes, the spread,
              height · a / 2h, does not
    rounding  what float64 does to the quotient, below

The slope is settled where spread and jump are below 2⁻²⁰ of it, or of a 2⁻¹⁰th of the
steepest output's. Otherwise a smaller step may pass by the kink, or resolve the
curvature; where none does, there is no slope. Steps are shares of the root mean square
of x; then, where an array mixes magnitudes, of that of the elements that d moves.

Rounding: the values of f are wrong by up to NOISE · u · (largest value), u = 2⁻⁵³.
NOISE = 2¹⁰ has room for sums of 1,000 random terms (about √1,000 · u of their sum, and
1,000 u at the very worst), with the factors of the quotients: 3/h for the value, 20/h
for the jump. x ± h d are rounded themselves, by u · (largest x), which moves f by the
slope times that; of x, only elements that d moves are. So

    rounding = NOISE · u · (largest f + largest moved x · largest slope) / h

The backward pass rounds as well, by up to NOISE · u · slope: far below this, since h is
at most 2⁻¹⁰ of x.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from tinyvq.testing._subject import Array, Float64, largest

NOISE = 2.0**10
UNIT = 2.0**-53
STEPS = (2.0**-10, 2.0**-13, 2.0**-17, 2.0**-20, 2.0**-24)
SETTLED = 2.0**-20
OTHERS = 2.0**-10  # of the steepest output's slope, that others are held to at least
TINY = 2.0**-40  # below this a slope counts as 0

Curve = Callable[[Array], Array]


class UnsettledError(Exception):
    """Finite differences find no slope: a kink, a jump, or noise."""


@dataclass(frozen=True)
class Slopes:
    """The slopes of m outputs along k directions.

    values, spreads, jumps  (k, m)
    roundings, steps        (k,)
    """

    values: Float64
    spreads: Float64
    jumps: Float64
    roundings: Float64
    steps: Float64

    @property
    def fields(self) -> tuple[Float64, ...]:
        """The five arrays."""
        return self.values, self.spreads, self.jumps, self.roundings, self.steps

    def row(self, k: int) -> "Slopes":
        """The slopes along direction k alone."""
        return Slopes(*(field[k : k + 1] for field in self.fields))

    @property
    def settled(self) -> npt.NDArray[np.bool_]:
        """Along which directions (k,) the slopes can be relied on."""
        unrest = np.abs(self.spreads) + np.abs(self.jumps)  # (k,m)
        slopes = np.abs(self.values)
        floor = OTHERS * slopes.max(axis=1, initial=0.0, keepdims=True)
        bound = SETTLED * np.maximum(slopes, floor) + self.roundings[:, None] + TINY
        return np.asarray(((unrest <= bound) & np.isfinite(unrest)).all(axis=1))

    def along(self, upstream: Float64) -> tuple[Float64, Float64]:
        """Slopes of the weighted sums of the outputs, and bounds on their errors.

        upstream (q, m) -> (k, q), (k, q)

        The roundings of m outputs are independent: they add up as squares.
        """
        weights = upstream.T  # (m, q)
        norms = np.sqrt(np.square(upstream).sum(axis=1))  # (q,)
        bounds = (
            np.abs(self.spreads @ weights)
            + np.abs(self.jumps @ weights)
            + self.roundings[:, None] * norms
        )
        return self.values @ weights, bounds


def differentiate(
    f: Curve, x: Float64, y: Float64, directions: Sequence[Float64]
) -> Slopes:
    """Take the slopes of f at x, where its value is y, along each direction.

    Each with the largest step at which it is settled. Raises UnsettledError for the
    first that none settles, telling its slopes to the left and right.
    """
    k, m = len(directions), y.size
    slopes = Slopes(*np.empty((3, k, m)), *np.empty((2, k)))
    if not k:
        return slopes
    moved = [x[d != 0] for d in directions]
    whole_scale = _scale(x)
    own_scales = [min(whole_scale, _scale(part)) for part in moved]
    waiting = np.arange(k)  # for a step that settles them
    for scales, step in product(([whole_scale] * k, own_scales), STEPS):
        with np.errstate(all="ignore"):  # a step may leave f's domain; a smaller not
            parts = [
                _quotients(f, x, y, directions[i], step * scales[i], largest(moved[i]))
                for i in map(int, waiting)
            ]
            fields = zip(*(part.fields for part in parts), strict=True)
            taken = Slopes(*map(np.array, fields))
            settled = taken.settled
            if scales is own_scales:  # whose rounding must not pass for a slope
                steepest = np.abs(taken.values).max(axis=1, initial=0.0)
                settled &= taken.roundings <= OTHERS * steepest
        for whole, part in zip(slopes.fields, taken.fields, strict=True):
            whole[waiting] = part
        waiting = waiting[~settled]
        if not waiting.size:
            return slopes
    first = int(waiting[0])
    raise _unsettled(f, x, y, directions[first], slopes.row(first))


def _quotients(
    f: Curve, x: Float64, y: Float64, d: Float64, h: float, reach: float
) -> Slopes:
    """Take the slopes along one direction -> fields (m,), and two numbers.

    reach  the largest element of x that d moves
    """
    points = [f(x + move * d).ravel() for move in (h, -h, h / 2, -h / 2)]
    far_up, far_down, near_up, near_down = values = np.array(points)  # (4,m)
    base = y.ravel()
    far, near = (far_up - far_down) / (2 * h), (near_up - near_down) / h
    slope = (4 * near - far) / 3
    far_jump = ((far_up - base) - (base - far_down)) / h
    near_jump = ((near_up - base) - (base - near_down)) / (h / 2)
    jump = 2 * near_jump - far_jump
    size = max(largest(y), largest(values))
    rounding = NOISE * UNIT * (size + reach * largest(slope)) / h
    return Slopes(slope, far - near, jump, np.asarray(rounding), np.asarray(h))


def _unsettled(
    f: Curve, x: Float64, y: Float64, d: Float64, last: Slopes
) -> UnsettledError:
    """Tell the slopes to both sides of the output element that is settled least."""
    h = float(last.steps[0])
    with np.errstate(all="ignore"):
        right = (f(x + h * d) - y).ravel() / h
        left = (y - f(x - h * d)).ravel() / h
    unrest = np.abs(last.spreads[0]) + np.abs(last.jumps[0])
    worst = int(np.argmax(np.nan_to_num(unrest, nan=np.inf)))
    return UnsettledError(
        f"the slopes of output element {worst} to the left and right are "
        f"{left[worst]:.6g} and {right[worst]:.6g}, still at a step of {h:.1e}: the "
        "function has a kink or a jump there, or is too noisy. Move the input away "
        "from it, or name the surrogate that the backward differentiates"
    )


def _scale(x: Float64) -> float:
    """Round the root mean square of x to a power of two: steps then divide exactly."""
    most = largest(x)
    if most == 0:
        return 1.0
    mean_square = float(np.square(x / most).mean())  # squares of x may overflow
    return 2.0 ** round(math.log2(most) + math.log2(mean_square) / 2)
