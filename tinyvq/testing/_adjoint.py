"""The adjoint identity <A x, y> = <x, Aᵀ y>: gradients of linear ops, exactly.

The backward pass of a linear op is its adjoint. No finite difference is needed to hold
one to the other, so nothing but rounding may part the two sides.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyvq.errors import GradientError
from tinyvq.rng import Stream
from tinyvq.testing._differences import UNIT
from tinyvq.testing._subject import (
    Array,
    Subject,
    describe,
    differentiable,
    floored,
    largest,
    name_of,
    require_linear,
    same,
    walked,
)

Map = Callable[[Array], Array]


def check_adjoint(linear: Map, adjoint: Map, x: Array, y: Array) -> float:
    """Check that `adjoint` is the adjoint of `linear`: <A x, y> = <x, Aᵀ y>.

    linear, adjoint  functions of float64 arrays
    x, y             random float64 arrays, of the shapes that each takes
    ->               the difference of the two sides, relative to the sum of their terms

    Raises GradientError where they differ by more than rounding.
    """
    ax, aty = _untouched(linear, x), _untouched(adjoint, y)
    for side, got, wanted in (("linear(x)", ax, y), ("adjoint(y)", aty, x)):
        if got.shape != wanted.shape:
            raise GradientError(
                f"check_adjoint: {side} must be {wanted.shape}, got {got.shape}"
            )
    problem, error = _compare(ax, y, [(x, aty)])
    if problem:
        call = f"{name_of(linear)}({describe(x)}), {name_of(adjoint)}({describe(y)})"
        raise GradientError(f"check_adjoint: {problem}\n  in {call}")
    return error


def _untouched(function: Map, given: Array) -> Array:
    """Call a function on a copy; GradientError where it writes into that."""
    made = np.array(function(handed := given.copy()))
    if not same(handed, given):
        raise GradientError(
            f"check_adjoint: {name_of(function)} modified its argument in place"
        )
    return made


def check_linear(
    fn: Callable[..., Any],
    *arrays: Any,
    linear_in: Sequence[int] = (0,),
    seed: int = 0,
    **settings: Any,
) -> float:
    """Check an op that is linear in some arguments, taken together, by its adjoint.

    fn, arrays  as for `check_grads`; the arguments not in linear_in are held fixed
    linear_in   positions of the arguments in which fn is jointly linear
    ->          the difference of the two sides, relative to the sum of their terms

    The backward is recorded at `arrays` and the forward run at another random point, so
    that a backward which depends on the point does not pass. As well, fn must give
    exactly 0 for zeros, and exactly -2 y for -2 x, for a power of two rounds nothing.

    Raises GradientError where this does not hold.
    """
    name = name_of(fn)
    taken, floats = differentiable(name, arrays)
    subject = Subject(fn, name, taken, tuple(linear_in), settings, seed)
    for i in linear_in:
        if i not in floats:
            raise subject.error(f"cannot be linear in argument {i}")
    return check_linear_subject(subject)


def check_linear_subject(subject: Subject) -> float:
    """Run check_linear on a subject, linear in its active arguments."""
    stream = Stream(subject.seed, "check_linear")
    x = {
        i: floored(stream.child("x", i), subject.arrays[i].shape)
        for i in subject.active
    }
    where = f"in {subject.active}"

    def at(factor: float) -> Array:
        point = subject.copies()
        for i, array in x.items():
            point[i] = factor * array
        return subject.value(point)

    ax = at(1.0)
    if largest(at(0.0)) != 0.0:
        raise subject.error(f"is not linear {where}: it is not 0 at 0")
    if not same(at(-2.0), -2.0 * ax):
        raise subject.error(f"is not linear {where}: f(-2 x) is not -2 f(x)")
    recording = subject.record(subject.copies())
    y = floored(stream.child("y"), ax.shape)
    aty = walked(recording, y)
    problem, error = _compare(ax, y, [(x[i], aty[i]) for i in x])
    if problem:
        raise subject.error(f"backward is not the adjoint {where}: {problem}")
    require_linear(recording, y, aty)
    return error


def _compare(
    ax: Array, y: Array, pairs: Sequence[tuple[Array, Array]]
) -> tuple[str, float]:
    """Compare <A x, y> with Σ <x, Aᵀ y>; -> what is wrong ("" if nothing), the error.

    `fsum` adds without rounding, so what parts the sides is the rounding inside A x and
    Aᵀ y. An element of those is a sum of at most n products, n the number of elements
    on its other side, and is wrong by up to n u Σ|products|; its product with y or x
    adds one u. So |left - right| <= 2 (n + 1) u Σ|terms|. (Where products cancel,
    Σ|products| is more than |A x|, √n times for random signs; but then roundings cancel
    as well.)
    """
    left = [float(v) for v in (ax * y).ravel()]
    right = [float(v) for x, aty in pairs for v in (x * aty).ravel()]
    difference = math.fsum([*left, *(-v for v in right)])
    terms = math.fsum(abs(v) for v in (*left, *right))
    n = max(ax.size, sum(x.size for x, _ in pairs))
    bound = 2 * (n + 1) * UNIT * terms
    error = abs(difference) / (terms or 1.0)
    if abs(difference) <= bound:
        return "", error
    return (
        f"<A x, y> is {math.fsum(left):.15g}, but <x, Aᵀ y> is "
        f"{math.fsum(right):.15g}; rounding explains {bound:.1e}"
    ), error
