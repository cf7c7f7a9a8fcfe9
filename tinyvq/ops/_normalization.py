"""Normalisation: group, layer and batch norm, which differ in what is seen as an item;
and vectors of length 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from tinyvq_kernels import group_norm as group_norm_kernel
from tinyvq_kernels import group_norm_grad

from tinyvq.errors import ConfigError, ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import as_floats, whole
from tinyvq.tensor import Operand, Tensor, apply


@dataclass(frozen=True)
class Normalize(Function):
    """y = ŷ · weight + bias,  ŷ = (x - mean) / √(var + ε).

    x is seen as `items` × positions × channels; mean and var are those of an item's
    group of channels, over all its positions.
    """

    items: int
    groups: int
    eps: float

    def forward(self, ctx: Context, x: Array, weight: Array, bias: Array) -> Array:
        seen = x.reshape(self.items, -1, x.shape[-1])  # (items, positions, C)
        y, mean, rstd = group_norm_kernel(seen, weight, bias, self.groups, self.eps)
        ctx.save(x=x, mean=mean, rstd=rstd, weight=weight)
        return y.reshape(x.shape)

    # g = gy · weight is the gradient of ŷ. With each x of a group of n, the mean moves
    # by 1/n and 1/√(var + ε) by -ŷ / (n (var + ε)), so
    #   gx = (g - mean(g) - ŷ mean(g ŷ)) / √(var + ε):
    # what of g points along 1 or along ŷ moves nothing (but for ε).
    # gweight = Σ gy ŷ and gbias = Σ gy over all but the channels.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        shape = (self.items, -1, gy.shape[-1])
        gx, gw, gb = group_norm_grad(
            ctx.x.reshape(shape), gy.reshape(shape), ctx.mean, ctx.rstd, ctx.weight
        )
        return gx.reshape(gy.shape), gw, gb


def group_norm(
    x: Operand, groups: int, weight: Operand, bias: Operand, eps: float = 1e-6
) -> Tensor:
    """Normalise each image's channels in groups, over all its pixels.

    x (N,...,C), weight (C), bias (C), C a multiple of groups -> like x
    Source: Wu and He, "Group normalization", arXiv:1803.08494.
    """
    x, weight, bias = _operands("group_norm", 2, x, weight, bias, eps)
    (groups,) = whole("group_norm", groups=groups)
    if groups < 1 or x.shape[-1] % groups:
        raise ShapeError(
            f"group_norm: {x.shape[-1]} channels do not make {groups} groups"
        )
    return apply(Normalize(x.shape[0], groups, float(eps)), x, weight, bias)


def layer_norm(x: Operand, weight: Operand, bias: Operand, eps: float = 1e-5) -> Tensor:
    """Normalise the last axis: x (...,C), weight (C), bias (C) -> like x.

    Source: Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450.
    """
    x, weight, bias = _operands("layer_norm", 1, x, weight, bias, eps)
    rows = math.prod(x.shape[:-1])
    return apply(Normalize(rows, 1, float(eps)), x, weight, bias)


def batch_norm(x: Operand, weight: Operand, bias: Operand, eps: float = 1e-5) -> Tensor:
    """Normalise each channel over the batch, by the batch's own mean and variance.

    x (N,...,C), weight (C), bias (C) -> like x
    Source: Ioffe and Szegedy, "Batch normalization", arXiv:1502.03167.
    """
    x, weight, bias = _operands("batch_norm", 2, x, weight, bias, eps)
    return apply(Normalize(1, x.shape[-1], float(eps)), x, weight, bias)


def _operands(
    op: str, least_axes: int, x: Operand, weight: Operand, bias: Operand, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    require_eps(op, eps)
    x = as_floats(op, x)
    weight, bias = as_floats(op, weight, "weight"), as_floats(op, bias, "bias")
    channels = x.shape[-1:]
    if x.ndim < least_axes or x.size == 0 or not weight.shape == bias.shape == channels:
        wanted = "(N,...,C)" if least_axes == 2 else "(...,C)"
        raise ShapeError(
            f"{op}: needs x {wanted}, not empty, weight (C) and bias (C), "
            f"got {x.shape}, {weight.shape} and {bias.shape}"
        )
    return x, weight, bias


def require_eps(op: str, eps: float) -> None:
    """Raise ConfigError unless eps > 0: values that are all alike have variance 0."""
    if not eps > 0:
        raise ConfigError(f"{op}: needs eps > 0, got {eps}")


@dataclass(frozen=True)
class L2Normalize(Function):
    """y = x / √(|x|² + ε) over the last axis."""

    eps: float

    def forward(self, ctx: Context, x: Array) -> Array:
        # In float64: the square of a large float32 would overflow.
        square = np.square(x, dtype=np.float64).sum(axis=-1, keepdims=True)  # (...,1)
        scale = (1 / np.sqrt(square + self.eps)).astype(x.dtype)
        y = x * scale
        ctx.save(y=y, scale=scale)
        return y

    # ∂y_i/∂x_j = (δ_ij - y_i y_j) / √(|x|² + ε): what points along y only stretches x.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        y, scale = ctx.y, ctx.scale
        return ((gy - y * (gy * y).sum(axis=-1, keepdims=True)) * scale,)


def l2_normalize(x: Operand, eps: float = 1e-12) -> Tensor:
    """Give the vectors of the last axis length 1: (...,D) -> (...,D).

    Those that are shorter than √ε, about, stay shorter than 1; 0 stays 0.
    """
    x = as_floats("l2_normalize", x)
    if x.ndim < 1:
        raise ShapeError(f"l2_normalize: needs x (...,D), got {x.shape}")
    require_eps("l2_normalize", eps)
    return apply(L2Normalize(float(eps)), x)
