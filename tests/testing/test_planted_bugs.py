"""The checker is tested itself: it rejects planted bugs, and passes what is right."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from testing.mutants import mutated
from testing.right_ops import (
    Affine,
    Conv1d,
    Exp,
    Gather,
    Leaky,
    MeanSquare,
    Multiply,
    Normalize,
    RowSums,
    Softmax,
    Square,
    Subtract,
    op,
)

import tinyvq.function
import tinyvq.tensor
from tinyvq.errors import GradientError
from tinyvq.function import Function
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.testing import Case, OpSpec, check_grads, verify

Draw = Callable[[Stream], tuple[Any, ...]]


def shapes(*wanted: tuple[int, ...]) -> Draw:
    """Draw one array of each shape, away from kinks at 0."""

    def draw(stream: Stream) -> tuple[Any, ...]:
        values = [stream.normal(shape) for shape in wanted]
        return tuple(v + 0.1 * np.copysign(1.0, v) for v in values)

    return draw


def gathered(stream: Stream) -> tuple[Any, ...]:
    return stream.normal((2, 2)), np.array([1, 0, 1])


RIGHT: list[tuple[type[Function], Draw, dict[str, Any]]] = [
    (Square, shapes((3,)), {}),
    (Exp, shapes((3,)), {}),
    (Leaky, shapes((3,)), {}),
    (Subtract, shapes((2,), (2,)), {}),
    (Multiply, shapes((2, 2), (2,)), {}),
    (Affine, shapes((1, 2), (2, 2), (2,)), {}),
    (Softmax, shapes((1, 3)), {}),
    (Normalize, shapes((3, 1)), {}),
    (MeanSquare, shapes((2,), (2,)), {}),
    (RowSums, shapes((2, 2)), {}),
    (Gather, gathered, {}),
    (Conv1d, shapes((3,), (2,)), {"stride": 2}),
]


@pytest.mark.parametrize(("right", "draw", "settings"), RIGHT)
def test_right_ops_pass_a_thousand_seeds(
    right: type[Function], draw: Draw, settings: dict[str, Any]
) -> None:
    fn = op(right, **settings)
    for seed in range(1000):
        check_grads(fn, *draw(Stream(seed, "right")), seed=seed)


@dataclass(frozen=True)
class Bug:
    """One line of a right Function changed; what the error must say."""

    what: str
    right: type[Function]
    old: str
    new: str
    draw: Draw
    says: str = "finite differences give"
    settings: dict[str, Any] = field(default_factory=dict)


SQUARE = shapes((4,))
PAIR = shapes((3,), (3,))
IMAGE = {"stride": 2, "padding": 1}
BUGS = [
    Bug("forgets a factor", Square, "2 * ctx.x", "ctx.x", SQUARE),
    Bug("off by 1e-4 relative", Square, "2 * ctx.x", "2.0002 * ctx.x", SQUARE),
    Bug("off by 1e-6 relative", Square, "2 * ctx.x", "2.000002 * ctx.x", SQUARE),
    Bug("ignores the upstream gradient", Square, "ctx.x * gy", "ctx.x", SQUARE),
    Bug("has the wrong sign", Square, "2 * ctx.x", "-2 * ctx.x", SQUARE),
    Bug(
        "computes in half the digits",
        Square,
        "2 * ctx.x * gy",
        "(2 * ctx.x * gy).astype(np.float32).astype(gy.dtype)",
        SQUARE,
    ),
    Bug(
        "returns float32",
        Square,
        "2 * ctx.x * gy",
        "(2 * ctx.x * gy).astype(np.float32)",
        SQUARE,
        "must be float64",
    ),
    Bug("returns no gradient", Square, "(gx,)", "(None,)", SQUARE, "got None"),
    Bug("returns no tuple", Square, "(gx,)", "gx", SQUARE, "a tuple of 1"),
    Bug("returns another shape", Square, "(gx,)", "(gx[None],)", SQUARE, "got float64"),
    Bug("returns NaN", Square, "2 * ctx.x", "np.nan * ctx.x", SQUARE, "not finite"),
    Bug(
        "modifies its input",
        Exp,
        "y = np.exp(x)",
        "y = np.exp(x, out=x)",
        SQUARE,
        "input 0 was modified",
    ),
    Bug(
        "modifies its upstream gradient",
        Exp,
        "gx = ctx.y * gy",
        "gx = gy; gx *= ctx.y",
        SQUARE,
        "modified its upstream",
    ),
    Bug(
        "corrupts what it saved",
        Exp,
        "gx = ctx.y * gy",
        "gx = ctx.y; gx *= gy",
        SQUARE,
        "changes from one walk",
    ),
    Bug(
        "corrupts its input in backward",
        Exp,
        "gx = ctx.y * gy",
        "gx = ctx.y * gy; ctx.x[0] = 0",
        SQUARE,
        "input 0 was modified",
    ),
    Bug(
        "adds up over walks",
        Exp,
        "gx = ctx.y * gy",
        "gx = ctx.y * gy; ctx.save(y=ctx.y + gx)",
        SQUARE,
        "changes from one walk",
    ),
    Bug("takes the input for the output", Exp, "ctx.y * gy", "ctx.x * gy", SQUARE),
    Bug(
        "is random",
        Exp,
        "y = np.exp(x)",
        "y = np.exp(x) + 1e-12 * np.random.default_rng().normal()",
        SQUARE,
        "two calls at one point differ",
    ),
    Bug(
        "has another value where a gradient is asked for",
        Exp,
        "y = np.exp(x)",
        "y = np.exp(x) * (1.001 if ctx.needs[0] else 1)",
        SQUARE,
        "two calls at one point differ",
    ),
    Bug(
        "wrong only for negative values",
        Leaky,
        "np.where(ctx.positive, gy, self.slope * gy)",
        "np.where(ctx.positive, gy, 0 * gy)",
        SQUARE,
    ),
    Bug(
        "wrong only for one element of many",
        Leaky,
        "np.where(ctx.positive, gy, self.slope * gy)",
        "np.where(ctx.positive, gy, self.slope * gy) * (np.arange(gy.size) != 7)",
        shapes((5000,)),
        r"at \(7,\) is",
    ),
    Bug("forgets the sign of b", Subtract, "ga, gb = gy, -gy", "ga, gb = gy, gy", PAIR),
    Bug("swaps its gradients", Subtract, "return ga, gb", "return gb, ga", PAIR),
    Bug(
        "sums over the wrong axis under broadcasting",
        Multiply,
        "sum(axis=0)",
        "sum(axis=1)",
        shapes((3, 3), (3,)),
        "input 1",
    ),
    Bug(
        "sums nothing under broadcasting",
        Multiply,
        "(gy * ctx.x).sum(axis=0)",
        "gy * ctx.x",
        shapes((3, 3), (3,)),
        "input 1 must be",
    ),
    Bug(
        "wrong only when the other input needs no gradient",
        Multiply,
        "gx = gy * ctx.w",
        "gx = gy * ctx.w if ctx.needs[1] else gy",
        shapes((3, 3), (3,)),
        "when it alone needs one",
    ),
    Bug(
        "transposes the Jacobian",
        Affine,
        "gy @ ctx.w.T",
        "gy @ ctx.w",
        shapes((3, 3), (3, 3), (3,)),
        "input 0",
    ),
    Bug(
        "transposes the gradient of w",
        Affine,
        "ctx.x.T @ gy",
        "gy.T @ ctx.x",
        shapes((3, 3), (3, 3), (3,)),
        "input 1",
    ),
    Bug(
        "averages where it should sum",
        Affine,
        "gy.sum(axis=0)",
        "gy.mean(axis=0)",
        shapes((3, 3), (3, 3), (3,)),
        "input 2",
    ),
    Bug(
        "zero, which an upstream gradient of ones would hide",
        Softmax,
        "ctx.y * (gy - inner)",
        "0 * ctx.y",
        shapes((2, 3)),
    ),
    Bug(
        "forgets the normaliser",
        Softmax,
        "(gy - inner)",
        "gy",
        shapes((2, 3)),
    ),
    Bug(
        "normalises over the wrong axis",
        Softmax,
        "inner = (gy * ctx.y).sum(axis=-1, keepdims=True)",
        "inner = (gy * ctx.y).sum(axis=0, keepdims=True)",
        shapes((3, 3)),
    ),
    Bug(
        "takes the batch mean for constant",
        Normalize,
        "centred = gy - gy.mean(axis=0)",
        "centred = gy",
        shapes((4, 2)),
    ),
    Bug(
        "takes the batch mean twice",
        Normalize,
        "centred = gy - gy.mean(axis=0)",
        "centred = gy - 2 * gy.mean(axis=0)",
        shapes((4, 2)),
    ),
    Bug(
        "takes the batch variance for constant",
        Normalize,
        "centred - ctx.y * along",
        "centred",
        shapes((4, 2)),
    ),
    Bug(
        "divides by the rows instead of all values",
        MeanSquare,
        "/ ctx.difference.size",
        "/ len(ctx.difference)",
        shapes((2, 3), (2, 3)),
    ),
    Bug(
        "gives the target no gradient",
        MeanSquare,
        "gx, -gx",
        "gx, 0 * gx",
        shapes((2, 3), (2, 3)),
        "input 1",
    ),
    Bug(
        "repeats along the wrong axis",
        RowSums,
        "gy[:, None]",
        "gy[None, :]",
        shapes((3, 3)),
    ),
    Bug(
        "keeps one of several lookups of a row",
        Gather,
        "np.add.at(gt, ctx.indices, gy)",
        "gt[ctx.indices] = gy",
        gathered,
    ),
    Bug(
        "wrong only at a border",
        Conv1d,
        "gw += g * ctx.padded[start : start + len(gw)]",
        "gw += (p > 0) * g * ctx.padded[start : start + len(gw)]",
        shapes((7,), (3,)),
        "input 1",
        {"padding": 0},
    ),
    Bug(
        "wrong only at stride 2",
        Conv1d,
        "start = p * self.stride",
        "start = p",
        shapes((7,), (3,)),
        settings=IMAGE,
    ),
    Bug(
        "cuts the padding off by one",
        Conv1d,
        "gx[self.padding : len(gx) - self.padding]",
        "gx[self.padding - 1 : len(gx) - self.padding - 1]",
        shapes((7,), (3,)),
        settings=IMAGE,
    ),
    Bug(
        "flips the kernel",
        Conv1d,
        "+= g * ctx.w",
        "+= g * ctx.w[::-1]",
        shapes((7,), (3,)),
        "input 0",
    ),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
@pytest.mark.parametrize("seed", range(3))
def test_planted_bugs_are_rejected(bug: Bug, seed: int) -> None:
    arrays = bug.draw(Stream(seed, "planted"))
    check_grads(op(bug.right, **bug.settings), *arrays, seed=seed)
    wrong = op(mutated(bug.right, bug.old, bug.new), **bug.settings)
    with pytest.raises(GradientError, match=bug.says):
        check_grads(wrong, *arrays, seed=seed)


def test_the_bug_at_stride_2_is_right_at_stride_1() -> None:
    wrong = mutated(Conv1d, "start = p * self.stride", "start = p")
    check_grads(op(wrong), *shapes((7,), (3,))(Stream(0)))


def test_ones_upstream_would_hide_a_zero_softmax() -> None:
    """Why the upstream gradient is random."""
    x = Stream(0).normal((2, 3))
    y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    gx = y * (1 - y.sum(axis=-1, keepdims=True))
    # One rounding of each y, and of the sum.
    np.testing.assert_allclose(gx, 0, atol=4 * 2.0**-53)


def square(function_class: type[Function]) -> OpSpec:
    return OpSpec(
        name="square",
        op=op(function_class),
        draw=lambda draw: Case((draw.array((3, 4)),)),
        reference=lambda x: x * x,
        functions=(function_class,),
    )


def affine(function_class: type[Function]) -> OpSpec:
    return OpSpec(
        name="affine",
        op=op(function_class),
        draw=lambda draw: Case(
            tuple(draw.array(shape) for shape in ((3, 4), (4, 2), (2,)))
        ),
        reference=lambda x, w, b: x @ w + b,
        functions=(function_class,),
        linear_in=((0, 2), (1, 2)),
    )


VERIFY_BUGS = [
    # what is wrong, right Function, old, new, what the error must say
    ("value", Square, "return x * x", "return x * x + 1e-12", "the value at"),
    (
        "float32 value",
        Square,
        "return x * x",
        "return x * x + x.dtype.type(1e-4 * (x.itemsize == 4))",
        "in float32",
    ),
    (
        "float32 gradient",
        Square,
        "gx = 2 * ctx.x * gy",
        "gx = 2 * ctx.x * gy + gy.dtype.type(1e-4 * (gy.itemsize == 4))",
        "gradient of input 0 .* in float32",
    ),
    (
        "dtype",
        Square,
        "return x * x",
        "return (x * x).astype(np.float64)",
        "must return float32",
    ),
    ("shape", Square, "return x * x", "return (x * x)[None]", "must be"),
    ("input", Square, "return x * x", "x *= x; return x", "modified in place"),
    (
        "upstream gradient",
        Square,
        "gx = 2 * ctx.x * gy",
        "gx = 2 * ctx.x * gy; gy[...] = gy if gy.itemsize == 8 else 0",
        "modified its upstream",
    ),
    ("gradient", Square, "2 * ctx.x", "2.0002 * ctx.x", "finite differences give"),
    (
        "adjoint",
        Affine,
        "gb = gy.sum(axis=0)",
        "gb = gy.sum(axis=0) * (1 + 1e-11 * ctx.x[0, 0])",
        "not the adjoint",
    ),
]


@pytest.mark.parametrize(
    ("what", "right", "old", "new", "says"),
    VERIFY_BUGS,
    ids=[b[0] for b in VERIFY_BUGS],
)
def test_verify_rejects_a_wrong(
    what: str, right: type[Function], old: str, new: str, says: str
) -> None:
    make = affine if right is Affine else square
    verify(make(right), make(right).case(0))
    wrong = make(mutated(right, old, new))
    with pytest.raises(GradientError, match=says):
        verify(wrong, wrong.case(0))


LAYOUT_BUGS = [
    (
        "return x * x",
        "return (x.ravel(order='K') ** 2).reshape(x.shape)",
        "the value depends on the memory layout .inputs: Fortran",
    ),
    (
        "gx = 2 * ctx.x * gy",
        "gx = 2 * ctx.x.ravel(order='K').reshape(gy.shape) * gy",
        "gradient .* depends on the memory layout, .*inputs: Fortran",
    ),
    (
        "gx = 2 * ctx.x * gy",
        "gx = 2 * ctx.x * gy.ravel(order='K').reshape(gy.shape)",
        "gradient .* depends on the memory layout, .*upstream gradient: Fortran",
    ),
    (
        "gx = 2 * ctx.x * gy",
        "gx = 2 * ctx.x * gy * (1 if 0 not in gy.strides else 2)",
        "gradient .* depends on the memory layout, .*strides of 0",
    ),
]


@pytest.mark.parametrize(("old", "new", "says"), LAYOUT_BUGS)
def test_verify_rejects_what_is_wrong_where_memory_is_not_contiguous(
    old: str, new: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = square(mutated(Square, old, new))
    verify(wrong, wrong.case(0))  # for the engine makes all arrays contiguous
    for module in (tinyvq.function, tinyvq.tensor):
        monkeypatch.setattr(module, "as_array", np.asarray)
    verify(square(Square), square(Square).case(0))
    with pytest.raises(GradientError, match=says):
        verify(wrong, wrong.case(0))


def test_verify_rejects_an_op_that_takes_mixed_dtypes() -> None:
    def converting(x: Tensor, *others: Tensor) -> Tensor:
        return op(Affine)(x, *(t.array.astype(x.dtype) for t in others))

    wrong = replace(affine(Affine), op=converting, constants=(1, 2), linear_in=())
    says = "must raise DTypeError where input 0 alone is float32"
    with pytest.raises(GradientError, match=says):
        verify(wrong, wrong.case(0))


def test_verify_rejects_a_claim_to_be_linear() -> None:
    wrong = replace(square(Square), linear_in=((0,),))
    with pytest.raises(GradientError, match=r"is not linear in \(0,\)"):
        verify(wrong, wrong.case(0))


def test_verify_rejects_a_surrogate_with_another_value() -> None:
    wrong = replace(square(Square), surrogate=lambda x: lambda y: y * y + 1e-9)
    with pytest.raises(GradientError, match="surrogate's value here is off by 1e-09"):
        verify(wrong, wrong.case(0))
