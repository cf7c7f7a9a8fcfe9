"""What normalisation is: one group of values after another."""

import math

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _normalization as nor
from tinyvq.testing import Case, Draw, OpSpec


def _eps(draw: Draw, count: int) -> float:
    """Draw an ε for groups of so many values.

    Two values become -1 and 1 wherever they are, but for ε: with a small one their
    gradient is 0 but for rounding, and there is nothing to compare.
    """
    return 0.5 if count == 2 else draw.choice((1e-5, 0.5))


def _affine(draw: Draw, c: int) -> tuple[Array, Array]:
    return draw.array((c,), away_from=0.0), draw.array((c,))


def _group_case(draw: Draw) -> Case:
    groups, size = draw.integer(1, 3), draw.integer(1, 3)
    shape = (draw.integer(1, 3), *draw.shape(dims=(0, 2), sides=(1, 4)), groups * size)
    eps = _eps(draw, math.prod(shape[1:-1]) * size)
    args = (draw.array(shape), *_affine(draw, groups * size))
    return Case(args, {"groups": groups, "eps": eps})


def _layer_case(draw: Draw) -> Case:
    shape = (*draw.shape(dims=(0, 3), sides=(1, 4)), draw.integer(1, 9))
    args = (draw.array(shape), *_affine(draw, shape[-1]))
    return Case(args, {"eps": _eps(draw, shape[-1])})


def _batch_case(draw: Draw) -> Case:
    shape = (*draw.shape(dims=(1, 3), sides=(1, 4)), draw.integer(1, 5))
    args = (draw.array(shape), *_affine(draw, shape[-1]))
    return Case(args, {"eps": _eps(draw, math.prod(shape[:-1]))})


def _standard(values: Array, eps: float) -> Array:
    """Take the mean of all values out, and divide by their root mean square."""
    centred = values - values.sum() / values.size
    return centred / math.sqrt((centred**2).sum() / values.size + eps)


def _group_reference(
    x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> Array:
    y = np.empty_like(x)
    size = x.shape[-1] // groups
    for n in range(len(x)):
        for first in range(0, x.shape[-1], size):
            part = (n, ..., slice(first, first + size))
            y[part] = _standard(x[part], eps)
    return y * weight + bias


def _layer_reference(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    y = np.empty_like(x)
    for at in np.ndindex(x.shape[:-1]):
        y[at] = _standard(x[at], eps)
    return y * weight + bias


def _batch_reference(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        y[..., c] = _standard(x[..., c], eps)
    return y * weight + bias


def _l2_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(dims=(1, 4)))
    # A single value becomes -1 or 1, as above.
    return Case((x,), {"eps": 0.5 if x.shape[-1] == 1 else draw.choice((1e-12, 0.5))})


NORMALIZATION = (
    OpSpec(
        "group_norm",
        lambda x, weight, bias, groups, eps: ops.group_norm(
            x, groups, weight, bias, eps
        ),
        _group_case,
        _group_reference,
        (nor.Normalize,),
        linear_in=((1, 2),),
    ),
    OpSpec(
        "layer_norm",
        ops.layer_norm,
        _layer_case,
        _layer_reference,
        (nor.Normalize,),
        linear_in=((1, 2),),
    ),
    OpSpec(
        "batch_norm",
        ops.batch_norm,
        _batch_case,
        _batch_reference,
        (nor.Normalize,),
        linear_in=((1, 2),),
    ),
    OpSpec(
        "l2_normalize",
        ops.l2_normalize,
        _l2_case,
        lambda x, eps: x / np.sqrt(np.einsum("...d,...d", x, x)[..., None] + eps),
        (nor.L2Normalize,),
    ),
)
