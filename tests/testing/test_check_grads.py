"""check_grads and the finite differences under it: sharp, honest, and clear."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from testing.right_ops import Affine, Exp, Gather, Leaky, Multiply, Square, op

from tinyvq.errors import ConfigError, DTypeError, GradientError
from tinyvq.function import Context, Function
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.testing import check_grads
from tinyvq.testing._differences import (
    SETTLED,
    STEPS,
    UnsettledError,
    differentiate,
)

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])

CURVES: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (np.exp, np.exp),
    (lambda x: np.sin(3 * x), lambda x: 3 * np.cos(3 * x)),
    (lambda x: np.sin(300 * x), lambda x: 300 * np.cos(300 * x)),
    (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    (lambda x: np.log(np.abs(x)), lambda x: 1 / x),
    (lambda x: np.sqrt(np.abs(x)), lambda x: np.sign(x) / (2 * np.sqrt(np.abs(x)))),
    (lambda x: 1 / x, lambda x: -1 / x**2),
    (lambda x: x**3, lambda x: 3 * x**2),
    (lambda x: (x + 1e3) - 1e3, np.ones_like),  # loses ten bits on the way
    (np.zeros_like, np.zeros_like),
]


@pytest.mark.parametrize("curve", range(len(CURVES)))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_bound_holds_and_is_narrow(curve: int, scale: float) -> None:
    f, slope = CURVES[curve]
    x = Stream(0, curve).uniform(200, 0.1, 2.0) * scale

    def scaled(point: Any) -> Any:
        return f(point / scale)

    units = np.eye(200) if curve < 8 else np.eye(200)[:20]
    slopes = differentiate(scaled, x, scaled(x), units)
    values, bounds = slopes.along(np.eye(200))
    truth = np.diag(slope(x / scale) / scale)[: len(units)]
    assert (np.abs(values - truth) <= bounds).all()
    # Settled slopes are within SETTLED of the largest, next to rounding and 2⁻⁴⁰.
    largest = np.abs(truth).max(axis=1, keepdims=True)
    narrow = SETTLED * largest + slopes.roundings[:, None] + 2.0**-40
    assert (bounds <= 1.001 * narrow + slopes.roundings[:, None]).all()


@pytest.mark.parametrize("distance", [0.0, *(10.0**-k for k in range(1, 13))])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_kink_is_passed_by_or_reported_never_averaged(
    distance: float, side: float
) -> None:
    x = np.array([side * distance, 1.0])
    try:
        slopes = differentiate(np.abs, x, np.abs(x), [np.array([1.0, 0.0])])
    except UnsettledError:
        assert distance < STEPS[-1]
    else:
        assert distance > STEPS[-1]
        values, bounds = slopes.along(np.eye(2))
        # Rounding at the smallest step, of values and slope 1: 2 · NOISE · u / step.
        rounding = 2 * 2.0**10 * 2.0**-53 / STEPS[-1]
        assert abs(values[0, 0] - side) <= bounds[0, 0] <= 1.001 * rounding


def test_a_kink_is_named_in_the_error() -> None:
    with pytest.raises(GradientError) as caught:
        check_grads(op(Leaky, slope=0.25), np.array([1.0, 0.0]))
    said = str(caught.value)
    assert "Leaky: input 0: the slopes of output element 1" in said
    assert "to the left and right are 0.25 and 1" in said
    assert "kink" in said


def test_a_step_out_of_the_domain_is_taken_smaller() -> None:
    x = np.array([1.0, 2.0])

    def walled(x: Any) -> Any:
        return np.where(x > 2.0 + 1e-4, np.inf, x * x)

    slopes = differentiate(walled, x, x * x, list(np.eye(2)))
    values, bounds = slopes.along(np.eye(2))
    assert (np.abs(values - np.diag(2 * x)) <= bounds).all()
    assert np.isfinite(bounds).all()
    with pytest.raises(UnsettledError):
        differentiate(walled, x + 1e-4, x * x, list(np.eye(2)))


def test_a_jump_is_an_error() -> None:
    with pytest.raises(GradientError, match="kink or a jump"):
        check_grads(op(Floor), np.array([0.5, 1.0]))


@dataclass(frozen=True)
class Floor(Function):
    def forward(self, ctx: Context, x: Any) -> Any:
        return np.floor(x)

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (0 * gy,)


def test_returns_the_largest_relative_error() -> None:
    # Four roundings of exp over 2⁻¹⁰, the step: 4 · 2⁻⁵³ / 2⁻¹⁰ = 4.5e-13, times 3.
    assert 0 < check_grads(op(Exp), X) < 1.5e-12
    assert check_grads(op(Square), np.zeros((0, 3))) == 0.0


def test_the_error_tells_how_to_repeat_it() -> None:
    @dataclass(frozen=True)
    class Wrong(Multiply):
        factor: float = 1.0

        def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
            gx, gw = super().backward(ctx, gy)
            if gw is not None:
                gw[1] += 0.5 * self.factor
            return gx, gw

    def scale(x: Tensor, w: Tensor, factor: float) -> Tensor:
        return op(Wrong, factor=factor)(x, w)

    with pytest.raises(GradientError) as caught:
        check_grads(scale, X, np.array([1.0, 2.0, 3.0]), seed=7, factor=3.0)
    first, second = str(caught.value).splitlines()
    assert first.startswith("scale: the gradient of input 1 at (1,) is ")
    assert ", but finite differences give " in first
    assert "(step 2.0e-03)" in first
    assert first.endswith("wrong along 33% of its elements")
    assert second == (
        f"  in scale(float64 (2, 3) {X.tolist()}, float64 (3,) [1.0, 2.0, 3.0], "
        "factor=3.0), seed=7"
    )
    analytic, numeric = (float(n) for n in re.findall(r"(?:is|give) (-?[\d.]+)", first))
    assert analytic - numeric == pytest.approx(1.5, abs=1e-9)  # printed to 12 digits


@pytest.mark.parametrize("bad", [0, 1234, 4999])
def test_in_a_large_input_the_wrong_element_is_found(bad: int) -> None:
    @dataclass(frozen=True)
    class Wrong(Square):
        def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
            (gx,) = super().backward(ctx, gy)
            gx[bad // 50, bad % 50] *= 1.01
            return (gx,)

    x = Stream(bad).uniform((100, 50), 1.0, 2.0)
    check_grads(op(Square), x)
    where = rf"at \({bad // 50}, {bad % 50}\) is"
    with pytest.raises(GradientError, match=where):
        check_grads(op(Wrong), x)


def test_the_arguments_are_left_alone_and_may_lie_anyhow_in_memory() -> None:
    x, w = X.copy(), np.array([1.0, 2.0, 3.0])
    check_grads(op(Multiply), x, w)
    np.testing.assert_array_equal(x, X)
    wide = np.repeat(X, 2, axis=1)
    assert check_grads(op(Square), wide[::-1, ::2]) < 1e-11
    assert check_grads(op(Square), [[1.0, 2.0]]) < 1e-11
    assert check_grads(op(Square), 2.0) < 1e-11
    assert check_grads(op(Square), Tensor.wrap(X)) < 1e-11


def test_integers_and_none_are_handed_on() -> None:
    seen: list[Any] = []

    def gather(table: Tensor, indices: Any, bias: Any, *, shift: int) -> Tensor:
        seen.append((indices, bias, shift))
        return op(Gather)(table, indices)

    check_grads(gather, X, np.array([1, 1, 0]), None, shift=3)
    assert all(type(i) is np.ndarray and b is None and s == 3 for i, b, s in seen)


def test_constants_get_no_gradient() -> None:
    def half(x: Tensor, w: Tensor) -> Tensor:
        assert not w.requires_grad
        return op(Multiply)(x, w)

    check_grads(half, X, np.array([1.0, 2.0, 3.0]), constants=(1,))
    check_grads(half, X, np.array([1.0, 2.0, 3.0]), constants=1)


@pytest.mark.parametrize("constants", [(5,), (-1,), ("y",), 2, (1,)])
def test_constants_that_name_nothing_are_refused(constants: Any) -> None:
    message = r"constants .* not among the positions of floating arrays, \(0,\)"
    with pytest.raises(ConfigError, match=message):
        check_grads(op(Square), X, constants=constants)


def test_a_setting_called_seed_is_bound_by_a_partial() -> None:
    def power(x: Tensor, seed: int) -> Tensor:
        return op(Square)(x) if seed == 2 else x

    check_grads(partial(power, seed=2), X, seed=5)


def test_a_detached_input_is_wrong_unless_a_surrogate_says_so() -> None:
    def detached(x: Tensor, w: Tensor) -> Tensor:
        return op(Multiply)(x.detach(), w)

    w = np.array([1.0, 2.0, 3.0])
    with pytest.raises(GradientError, match=r"input 0 .* is 0, but finite"):
        check_grads(detached, X, w)
    check_grads(detached, X, w, surrogate=lambda x, w: X * w)
    with pytest.raises(GradientError, match=r"surrogate returns \(3,\), not \(2, 3\)"):
        check_grads(detached, X, w, surrogate=lambda x, w: w)


def test_a_composition_with_one_input_used_twice() -> None:
    def f(x: Tensor, w: Tensor) -> Tensor:
        return op(Multiply)(op(Exp)(op(Multiply)(x, w)), w)

    assert check_grads(f, X, np.array([0.5, -1.0, 0.25])) < 1e-11


@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 3), (2, 0, 1)])
def test_empty_and_single_values(shape: tuple[int, ...]) -> None:
    check_grads(op(Square), Stream(1).normal(shape))


@pytest.mark.parametrize(
    ("fn", "x", "error", "says"),
    [
        (
            op(Square),
            X.astype(np.float32),
            DTypeError,
            "need float64, argument 0 is float32; convert",
        ),
        (op(Square), X.astype(np.complex128), DTypeError, "argument 0 is complex128"),
        (op(Square), np.array([1, 2]), GradientError, "nothing to check"),
        (lambda x: x.array, X, GradientError, "must return a Tensor, got ndarray"),
        (op(Square), np.array([1.0, np.nan]), GradientError, "value is not finite"),
        (
            lambda x: Tensor.wrap(x.array.astype(np.float32)),
            X,
            GradientError,
            "must return float64 for float64 inputs, got float32",
        ),
    ],
)
def test_what_cannot_be_checked(
    fn: Callable[..., Any], x: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        check_grads(fn, x)


def test_an_error_inside_the_op_says_where() -> None:
    with pytest.raises(ValueError, match="matmul") as caught:
        check_grads(op(Affine), X, X, X)
    told = f"float64 (2, 3) {X.tolist()}"
    assert caught.value.__notes__ == [f"  in Affine({told}, {told}, {told}), seed=0"]


def test_neither_hypothesis_nor_anything_else_is_imported() -> None:
    code = (
        "import sys, tinyvq.testing; "
        "print({'hypothesis', 'pytest', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
