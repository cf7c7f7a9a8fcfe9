"""What ops on values one by one are: arithmetic, functions, activations."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _activations as act
from tinyvq.ops import _arithmetic as ari
from tinyvq.ops import _elementwise as ele
from tinyvq.testing import Case, Draw, OpSpec


def _pair(draw: Draw, **how: Any) -> Case:
    """Two operands that broadcast."""
    shape = draw.shape()
    other = draw.broadcastable(shape)
    shapes = draw.choice(((shape, other), (other, shape)))
    return Case(tuple(draw.array(s, **how) for s in shapes))


def _one(**how: Any) -> Callable[[Draw], Case]:
    """One operand of any shape."""
    return lambda draw: Case((draw.array(draw.shape(), **how),))


def _distinct_pair(draw: Draw) -> Case:
    """Two operands that broadcast, no two values of them equal."""
    shape = draw.shape()
    other = draw.broadcastable(shape)
    n, m = math.prod(shape), math.prod(other)
    values = draw.array((n + m,), distinct=True)
    return Case((values[:n].reshape(shape), values[n:].reshape(other)))


def _power_case(draw: Draw) -> Case:
    if draw.choice((True, False)):
        exponent = draw.choice((2.0, 0.0, 1.0, 3.0, -1.0, 0.5, -2.5))
        return Case((draw.array(draw.shape(), positive=True),), {"exponent": exponent})
    whole = {"exponent": draw.choice((2.0, 0.0, 1.0, 3.0, -1.0, -2.0))}
    return Case((draw.array(draw.shape(), away_from=0.0),), whole)


def _power_reference(x: Array, exponent: float) -> Array:
    odd = exponent % 2 == 1
    size = np.exp(exponent * np.log(np.abs(x)))
    return np.where((x < 0) & odd, -size, size)


def _where_case(draw: Draw) -> Case:
    shape = draw.shape()
    condition = draw.indices(2, draw.broadcastable(shape)).astype(bool)
    return Case((condition, draw.array(shape), draw.array(draw.broadcastable(shape))))


def logits(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Logits of probabilities that are mixed, or nearly 0 and 1."""
    return draw.choice((1.0, 8.0)) * draw.array(shape)


def _logits_case(draw: Draw) -> Case:
    return Case((logits(draw, draw.shape()),))


def _softmax_case(draw: Draw) -> Case:
    shape = list(draw.shape(dims=(1, 4)))
    axis = draw.integer(-len(shape), len(shape) - 1)
    shape[axis] = draw.integer(1, 5)
    return Case((logits(draw, tuple(shape)),), {"axis": axis})


def _gelu_reference(x: Array) -> Array:
    """x/2 (1 + tanh w) as x eʷ / (2 cosh w), which does not cancel."""
    w = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return x * np.exp(w) / (2 * np.cosh(w))


def _dropout_case(draw: Draw) -> Case:
    x = draw.array(draw.shape())
    kept = draw.indices(2, x.shape).astype(bool)
    return Case((x, kept), {"p": draw.choice((0.5, 0.0, 0.9))})


ARITHMETIC = (
    OpSpec("add", ops.add, _pair, lambda a, b: a + b, (ari.Add,), linear_in=((0, 1),)),
    OpSpec("sub", ops.sub, _pair, lambda a, b: a - b, (ari.Sub,), linear_in=((0, 1),)),
    OpSpec(
        "mul", ops.mul, _pair, lambda a, b: a * b, (ari.Mul,), linear_in=((0,), (1,))
    ),
    OpSpec(
        "div",
        ops.div,
        lambda draw: _pair(draw, away_from=0.0, gap=0.3),
        lambda a, b: a / b,
        (ari.Div,),
        linear_in=((0,),),
    ),
    OpSpec("neg", ops.neg, _one(), lambda x: -x, (ari.Neg,), linear_in=((0,),)),
    OpSpec(
        "power",
        ops.power,
        _power_case,
        _power_reference,
        (ari.Pow,),
    ),
    OpSpec(
        "maximum",
        ops.maximum,
        _distinct_pair,
        lambda a, b: np.where(a > b, a, b),
        (ari.Maximum,),
    ),
    OpSpec(
        "where",
        ops.where,
        _where_case,
        lambda c, a, b: c * a + (1 - c) * b,
        (ari.Where,),
        linear_in=((1, 2),),
        constants=(0,),
    ),
)


ELEMENTWISE = (
    OpSpec("exp", ops.exp, _one(), lambda x: np.e**x, (ele.Exp,)),
    OpSpec(
        "log",
        ops.log,
        _one(positive=True),
        lambda x: np.log2(x) / np.log2(np.e),
        (ele.Log,),
    ),
    OpSpec("sqrt", ops.sqrt, _one(positive=True), lambda x: x**0.5, (ele.Sqrt,)),
    OpSpec(
        "absolute",
        ops.absolute,
        _one(away_from=0.0),
        lambda x: np.where(x < 0, -x, x),
        (ele.Abs,),
    ),
    OpSpec(
        "clip",
        ops.clip,
        lambda draw: Case(
            (draw.array(draw.shape(), away_from=(-0.5, 0.8)),),
            {"low": -0.5, "high": 0.8},
        ),
        lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x)),
        (ele.Clip,),
    ),
    OpSpec(
        "dropout",
        ops.dropout,
        _dropout_case,
        lambda x, kept, p: np.where(kept, x / (1 - p), 0.0),
        (ele.Dropout,),
        linear_in=((0,),),
        constants=(1,),
    ),
)

ACTIVATIONS = (
    OpSpec(
        "relu",
        ops.relu,
        _one(away_from=0.0),
        lambda x: np.where(x > 0, x, 0.0),
        (act.ReLU,),
    ),
    OpSpec(
        "leaky_relu",
        ops.leaky_relu,
        lambda draw: Case(
            (draw.array(draw.shape(), away_from=0.0),),
            {"slope": draw.choice((0.01, 0.0, 0.2))},
        ),
        lambda x, slope: np.where(x > 0, x, slope * x),
        (act.LeakyReLU,),
    ),
    OpSpec(
        "sigmoid", ops.sigmoid, _one(), lambda x: 1 / (1 + np.e**-x), (act.Sigmoid,)
    ),
    OpSpec("silu", ops.silu, _logits_case, lambda x: x / (1 + np.e**-x), (act.SiLU,)),
    OpSpec(
        "gelu",
        ops.gelu,
        lambda draw: Case((draw.choice((1.0, 3.0)) * draw.array(draw.shape()),)),
        _gelu_reference,
        (act.GELU,),
    ),
    OpSpec("tanh", ops.tanh, _one(), lambda x: np.sinh(x) / np.cosh(x), (act.Tanh,)),
    OpSpec(
        "softplus",
        ops.softplus,
        _logits_case,
        lambda x: np.logaddexp(0, x),
        (act.Softplus,),
    ),
    OpSpec(
        "softmax",
        ops.softmax,
        _softmax_case,
        lambda x, axis: np.e**x / (np.e**x).sum(axis=axis, keepdims=True),
        (act.Softmax,),
    ),
)
