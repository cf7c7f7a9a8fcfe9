"""Group norm and its gradient in plain NumPy, in float64: the specification."""

import numpy as np

from tinyvq_kernels._types import Array


def group_norm(
    x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """y = (x - mean) / √(var + ε) · weight + bias, over each item's groups."""
    n, length, c = x.shape
    split = x.astype(np.float64).reshape(n, length, groups, c // groups)
    with np.errstate(invalid="ignore"):  # of an infinite mean
        mean = split.mean(axis=(1, 3))  # (N,G)
        centred = split - mean[:, None, :, None]
    rstd = 1 / np.sqrt((centred * centred).mean(axis=(1, 3)) + eps)  # (N,G)
    normal = (centred * rstd[:, None, :, None]).reshape(x.shape)
    y = normal * weight + bias
    return y.astype(x.dtype), mean.astype(x.dtype), rstd.astype(x.dtype)


def group_norm_grad(
    x: Array, gy: Array, mean: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Take out of the gradient what points along 1 or along ŷ, in which y is fixed."""
    n, length, c = x.shape
    groups, kind = mean.shape[1], x.dtype
    shape = (n, length, groups, c // groups)
    x, gy, mean, rstd = (a.astype(np.float64) for a in (x, gy, mean, rstd))
    normal = (x.reshape(shape) - mean[:, None, :, None]) * rstd[:, None, :, None]
    gw = (gy * normal.reshape(x.shape)).sum(axis=(0, 1))
    gb = gy.sum(axis=(0, 1))
    g = (gy * weight).reshape(shape)  # the gradient of ŷ
    along_one = g.mean(axis=(1, 3), keepdims=True)
    along_y = (g * normal).mean(axis=(1, 3), keepdims=True)
    gx = (g - along_one - normal * along_y) * rstd[:, None, :, None]
    return gx.reshape(x.shape).astype(kind), gw.astype(kind), gb.astype(kind)
