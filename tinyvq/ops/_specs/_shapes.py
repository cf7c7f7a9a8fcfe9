"""What ops on axes are: reductions, moving values, pooling."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _pooling as poo
from tinyvq.ops import _reductions as red
from tinyvq.ops import _shapes as sha
from tinyvq.testing import Case, Draw, OpSpec


def _reduction_case(draw: Draw, least: int = 1, distinct: bool = False) -> Case:
    """At least so many values along each axis that is reduced; 0 along others too."""
    ndim = draw.integer(0, 4)
    axes = tuple(range(ndim))
    axis = None
    if ndim:
        axis = draw.choice((None, 0, -1, axes[: draw.integer(0, ndim)], axes[::-2]))
    reduced = _axes(ndim, axis)
    shape = tuple(draw.integer(least if a in reduced else 0, 5) for a in axes)
    x = draw.array(shape, distinct=distinct)
    return Case((x,), {"axis": axis, "keepdims": draw.choice((False, True))})


def _var_case(draw: Draw) -> Case:
    case = _reduction_case(draw, least=2)
    (x,) = case.args
    single = not _axes(x.ndim, case.settings["axis"])  # each value is its own mean
    correction = 0 if single else draw.choice((0, 1))
    return Case(case.args, {**case.settings, "correction": correction})


def _reduce(x: Array, axis: Any, keepdims: bool, by: Callable[[Any], float]) -> Array:
    """Apply `by` to each list of values that is reduced to one."""
    axes = _axes(x.ndim, axis)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    shape, reduced = ([x.shape[a] for a in group] for group in (kept, axes))
    lists = x.transpose(kept + axes).reshape(math.prod(shape), math.prod(reduced))
    y = np.array([by(list(values)) for values in lists]).reshape(shape)
    return np.expand_dims(y, axes) if keepdims else y


def _axes(ndim: int, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def _variance(values: list[float], correction: int) -> float:
    centre = sum(values) / len(values)
    return sum((v - centre) ** 2 for v in values) / (len(values) - correction)


REDUCTIONS = (
    OpSpec(
        "sum",
        ops.sum,
        lambda draw: _reduction_case(draw, least=0),
        lambda x, axis, keepdims: _reduce(x, axis, keepdims, sum),
        (red.Sum,),
        linear_in=((0,),),
    ),
    OpSpec(
        "mean",
        ops.mean,
        _reduction_case,
        lambda x, axis, keepdims: _reduce(x, axis, keepdims, lambda v: sum(v) / len(v)),
        (red.Mean,),
        linear_in=((0,),),
    ),
    OpSpec(
        "var",
        ops.var,
        _var_case,
        lambda x, axis, keepdims, correction: _reduce(
            x, axis, keepdims, lambda v: _variance(v, correction)
        ),
        (red.Var,),
    ),
    OpSpec(
        "max",
        ops.max,
        lambda draw: _reduction_case(draw, distinct=True),
        lambda x, axis, keepdims: _reduce(x, axis, keepdims, max),
        (red.Max,),
    ),
)


def _reshape_case(draw: Draw) -> Case:
    sides = draw.shape(dims=(1, 4))
    total = int(np.prod(sides))
    shape = draw.choice(((total,), sides[::-1], (1, total), (*sides, 1)))
    return Case((draw.array(sides),), {"shape": shape})


def _slice_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(dims=(2, 4), sides=(1, 5)))
    first, second = x.shape[:2]
    keys: tuple[Any, ...] = (
        (slice(None, None, 2),),
        (draw.integer(-first, first - 1),),
        (..., slice(1, None)),
        (slice(None, None, -1), draw.integer(0, second - 1)),
        (None, slice(0, 0)),
        (slice(None), None, slice(draw.integer(0, second), None)),
    )
    return Case((x,), {"key": draw.choice(keys)})


def _concatenate_case(draw: Draw) -> Case:
    shape = draw.shape(dims=(1, 3))
    axis = draw.integer(0, len(shape) - 1)
    parts = [(*shape[:axis], draw.integer(0, 4), *shape[axis + 1 :]) for _ in range(3)]
    return Case(tuple(draw.array(part) for part in parts), {"axis": axis})


def _concatenate_reference(*xs: Array, axis: int) -> Array:
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    y, at = np.empty(shape), 0
    for x in xs:
        np.moveaxis(y, axis, 0)[at : at + x.shape[axis]] = np.moveaxis(x, axis, 0)
        at += x.shape[axis]
    return y


def _pad_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(dims=(1, 4), sides=(0, 3)))
    widths = [(draw.integer(0, 2), draw.integer(0, 2)) for _ in x.shape]
    return Case((x,), {"widths": widths, "value": 0.0})


def _pad_reference(x: Array, widths: Any, value: float) -> Array:
    sides = [b + n + a for (b, a), n in zip(widths, x.shape, strict=True)]
    y = np.full(sides, value)
    for at in np.ndindex(x.shape):
        y[tuple(i + b for i, (b, _) in zip(at, widths, strict=True))] = x[at]
    return y


def _image(draw: Draw, least: int = 1, distinct: bool = False) -> Array:
    n, c = draw.integer(0, 2), draw.integer(1, 3)
    shape = (n, draw.integer(least, 6), draw.integer(least, 6), c)
    return draw.array(shape, distinct=distinct)


def _pool_case(draw: Draw, distinct: bool = False) -> Case:
    size = draw.integer(1, 3)
    x = _image(draw, size, distinct)
    return Case((x,), {"size": size, "stride": draw.integer(1, 3)})


def _pool_reference(
    x: Array, size: int, stride: int, by: Callable[..., Array]
) -> Array:
    """Apply `by` to each window."""
    p, q = ((n - size) // stride + 1 for n in x.shape[1:3])
    y = np.empty((x.shape[0], p, q, x.shape[3]))
    for u, v in itertools.product(range(p), range(q)):
        window = x[:, u * stride : u * stride + size, v * stride : v * stride + size]
        y[:, u, v] = by(window, axis=(1, 2))
    return y


SHAPES = (
    OpSpec(
        "reshape",
        lambda x, shape: ops.reshape(x, *shape),
        _reshape_case,
        lambda x, shape: np.array(list(x.flat)).reshape(shape),
        (sha.Reshape,),
        linear_in=((0,),),
    ),
    OpSpec(
        "transpose",
        lambda x, axes: ops.transpose(x, *axes),
        lambda draw: Case(
            (draw.array((2, 3, 1, 4)),),
            {"axes": draw.choice(((), (0, 2, 3, 1), (3, 1, 0, 2), (-1, 0, 1, 2)))},
        ),
        lambda x, axes: np.einsum(
            x, list(range(4)), [a % 4 for a in axes or (3, 2, 1, 0)]
        ),
        (sha.Transpose,),
        linear_in=((0,),),
    ),
    OpSpec(
        "getitem",
        ops.getitem,
        _slice_case,
        lambda x, key: x[key].copy(),
        (sha.Slice,),
        linear_in=((0,),),
    ),
    OpSpec(
        "concatenate",
        lambda *xs, axis: ops.concatenate(xs, axis),
        _concatenate_case,
        _concatenate_reference,
        (sha.Concatenate,),
        linear_in=((0, 1, 2),),
    ),
    OpSpec(
        "pad",
        ops.pad,
        _pad_case,
        _pad_reference,
        (sha.Pad,),
        linear_in=((0,),),
    ),
    OpSpec(
        "upsample_nearest",
        ops.upsample_nearest,
        lambda draw: Case((_image(draw),), {"scale": draw.integer(1, 3)}),
        lambda x, scale: np.kron(x, np.ones((1, scale, scale, 1))),
        (sha.UpsampleNearest,),
        linear_in=((0,),),
    ),
    OpSpec(
        "avg_pool2d",
        ops.avg_pool2d,
        _pool_case,
        partial(_pool_reference, by=np.mean),
        (poo.AvgPool2d,),
        linear_in=((0,),),
    ),
    OpSpec(
        "max_pool2d",
        ops.max_pool2d,
        partial(_pool_case, distinct=True),
        partial(_pool_reference, by=np.max),
        (poo.MaxPool2d,),
    ),
)
