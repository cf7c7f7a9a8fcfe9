"""Errors that hide from a check that looks at one size, one point, or a copy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from testing.right_ops import op

from tinyvq import ops
from tinyvq.errors import ConfigError, DTypeError, GradientError, GraphError
from tinyvq.function import Context, Function
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, apply
from tinyvq.testing import Case, check_adjoint, check_grads, check_linear
from tinyvq.testing._draw import SeededDraw

X = Stream(0, "x").normal((5, 3))


@dataclass(frozen=True)
class Squared(Function):
    def forward(self, ctx: Context, x: Any) -> Any:
        ctx.save(x=x)
        return x * x

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (2 * ctx.x * gy,)


@dataclass(frozen=True)
class Doubled(Function):
    def forward(self, ctx: Context, x: Any) -> Any:
        return 2 * x

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (2 * gy,)


# In its upstream gradient.


@dataclass(frozen=True)
class Clipped(Squared):
    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (2 * ctx.x * np.clip(gy, -2, 2),)


@dataclass(frozen=True)
class OfZeros(Squared):
    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (np.where(gy == 0, 7.0, 2 * ctx.x * gy),)


@dataclass(frozen=True)
class ClippedDoubled(Doubled):
    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (2 * np.clip(gy, -2, 2),)


@pytest.mark.parametrize("function", [Clipped, OfZeros])
@pytest.mark.parametrize("size", [3, 100])
def test_a_backward_that_is_not_linear_in_what_comes(
    function: type[Function], size: int
) -> None:
    x = Stream(1, "x").normal(size)
    check_grads(op(Squared), x)
    # A small Jacobian is checked by units as well, which are nearly all zeros.
    seen = function is OfZeros and size == 3
    told = "gradient of input 0" if seen else "not linear in its upstream gradient"
    with pytest.raises(GradientError, match=told):
        check_grads(op(function), x)


def test_a_linear_op_whose_backward_is_not() -> None:
    check_linear(op(Doubled), X)
    with pytest.raises(GradientError, match="not linear in its upstream gradient"):
        check_linear(op(ClippedDoubled), X)


# In place.


@dataclass(frozen=True)
class InPlace(Doubled):
    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        gy *= 5
        return (2 * gy,)


def test_what_writes_into_what_it_is_given() -> None:
    with pytest.raises(GradientError, match="modified its upstream gradient in place"):
        check_linear(op(InPlace), X)
    x, y = Stream(2).normal(7), Stream(3).normal(7)
    before = x.copy()

    def twice(v: Any) -> Any:
        return np.multiply(v, 2, out=v)

    with pytest.raises(GradientError, match="twice modified its argument in place"):
        check_adjoint(twice, lambda v: v.copy(), x, y)
    with pytest.raises(GradientError, match="twice modified its argument in place"):
        check_adjoint(lambda v: 2 * v, twice, x, y)
    np.testing.assert_array_equal(x, before)


# In magnitudes.


@dataclass(frozen=True)
class NoGradient(Squared):
    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (0 * gy,)


def test_a_slope_that_cannot_be_made_out_is_refused() -> None:
    """Of 10⁶ + x/10⁵ float64 keeps three digits of the slope: too few to judge by."""

    def drowned(function: type[Function]) -> Any:
        return lambda x: op(function)(x) * 1e-5 + 1e6

    with pytest.raises(GradientError, match=r"cannot be judged: -?0 is claimed"):
        check_grads(drowned(NoGradient), np.array([1.0, 2.0]))
    check_grads(lambda x: op(Squared)(x) * 1e-5 + 1.0, np.array([1.0, 2.0]))


@dataclass(frozen=True)
class Distance(Function):
    """|x|, with a slope at 0 that is none."""

    def forward(self, ctx: Context, x: Any) -> Any:
        ctx.save(x=x)
        return np.abs(x)

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (np.where(ctx.x == 0, 1.7, np.sign(ctx.x)) * gy,)


def test_a_kink_is_seen_beside_a_steep_output() -> None:
    def both(x: Tensor) -> Tensor:
        return ops.concatenate([op(Distance)(x), x * 1e7])

    with pytest.raises(GradientError, match="has a kink or a jump"):
        check_grads(both, np.array([0.0]))
    check_grads(both, np.array([0.5]))


@pytest.mark.parametrize(
    ("function", "point"),
    [
        (ops.log, [1e-6, 1.0]),
        (ops.log, [1e-200]),
        (ops.tanh, [0.5, 1e6]),
        (ops.exp, [0.5, -1e6]),
        (ops.neg, [1e160]),
        (lambda x: x * x, [1e6, 1e-4]),
    ],
)
def test_right_gradients_pass_though_magnitudes_are_mixed(
    function: Any, point: list[float]
) -> None:
    assert check_grads(function, np.array(point)) < 1e-4


# In what was saved.


@pytest.mark.parametrize("looked_up", [ops.cross_entropy, ops.embedding])
def test_integers_that_change_before_the_walk_are_noticed(looked_up: Any) -> None:
    """Targets, and indices."""
    integers = Tensor(np.array([0, 1]))
    made = looked_up(Tensor(np.ones((2, 3)), requires_grad=True), integers)
    with integers.mutate() as array:
        array[...] = 1
    with pytest.raises(GraphError, match="changed in place"):
        made.sum().backward()


@pytest.mark.parametrize("kind", ["tuple", "list", "dict"])
def test_arrays_in_what_is_saved_are_watched(kind: str) -> None:
    @dataclass(frozen=True)
    class Packed(Squared):
        def forward(self, ctx: Context, x: Any) -> Any:
            made = {"tuple": (x, 1), "list": [[x]], "dict": {"x": x}}[kind]
            ctx.save(made=made)
            return x * x

    x = Tensor(np.ones(3), requires_grad=True)
    y = apply(Packed(), x).sum()
    with x.mutate() as array:
        array += 1
    with pytest.raises(GraphError, match="'made', saved for backward, was changed"):
        y.backward()


@pytest.mark.parametrize("name", ["needs", "saved", "save"])
def test_names_of_the_context_itself_are_refused(name: str) -> None:
    with pytest.raises(GraphError, match=f"ctx.save: '{name}' is the context's own"):
        Context(()).save(**{name: 1})


# In how it is called.


def test_a_message_says_how_to_repeat_the_call() -> None:
    with pytest.raises(GradientError, match=r"float64 \(2,\) \[0.5, 2.0\]\), seed=0"):
        check_grads(op(NoGradient), np.array([0.5, 2.0]))
    assert repr(Case((np.array([0.5]),), {"a": 1})) == (
        "Case((float64 (1,) [0.5]), {'a': 1}, '')"
    )


def test_settings_may_stand_among_the_arguments() -> None:
    assert check_grads(ops.sum, X, (0, 1)) < 1e-9
    with pytest.raises(DTypeError, match="complex128; check functions of its real and"):
        check_grads(lambda x: x, np.ones(2, complex))


def test_draws_that_cannot_be_had_are_refused() -> None:
    draw = SeededDraw(0)
    with pytest.raises(ConfigError, match="distinct values are neither"):
        draw.array((5,), distinct=True, away_from=0.0)
    with pytest.raises(ConfigError, match=r"no normal values keep 6"):
        draw.array((5,), away_from=0.0, gap=6)
    for seed in range(20):
        drawn = SeededDraw(seed).array((9,), positive=True, away_from=1.0)
        assert (drawn > 0).all()
        assert (np.abs(drawn - 1) >= 0.1).all()
