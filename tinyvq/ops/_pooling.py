"""Pooling: the average or the largest value of each window of pixels."""

from dataclasses import dataclass

import numpy as np

from tinyvq.errors import ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import as_floats, whole
from tinyvq.tensor import Operand, Tensor, apply, as_tensor

Window = tuple[slice, slice, slice]


def _windows(x: Array, size: int, stride: int) -> tuple[tuple[int, ...], list[Window]]:
    """Give the shape (N,P,Q,C) of the output and, for each place in a window, the
    pixels that stand there: x[window] is (N,P,Q,C).
    """
    n, h, w, c = x.shape
    p, q = ((side - size) // stride + 1 for side in (h, w))
    rows, columns = (
        [slice(i, i + (count - 1) * stride + 1, stride) for i in range(size)]
        for count in (p, q)
    )
    return (n, p, q, c), [(slice(None), row, col) for row in rows for col in columns]


@dataclass(frozen=True)
class AvgPool2d(Function):
    """y = the mean of each size × size window, taken every `stride` pixels."""

    size: int
    stride: int

    def forward(self, ctx: Context, x: Array) -> Array:
        shape, windows = _windows(x, self.size, self.stride)
        ctx.save(shape=x.shape, windows=windows)
        y = np.zeros_like(x, shape=shape)
        for window in windows:
            y += x[window]
        return y / self.size**2

    # Each pixel has a share of 1 / size² in every window that it stands in.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        gx = np.zeros_like(gy, shape=ctx.shape)
        share = gy / self.size**2
        for window in ctx.windows:
            gx[window] += share
        return (gx,)


def avg_pool2d(x: Operand, size: int, stride: int | None = None) -> Tensor:
    """Average each size × size window of (N,H,W,C); stride defaults to the size.

    Pixels at the right and bottom that fill no whole window are left out.
    """
    x, size, stride = _checked("avg_pool2d", as_floats("avg_pool2d", x), size, stride)
    return apply(AvgPool2d(size, stride), x)


@dataclass(frozen=True)
class MaxPool2d(Function):
    """y = the largest value of each size × size window, taken every `stride` pixels."""

    size: int
    stride: int

    def forward(self, ctx: Context, x: Array) -> Array:
        _, windows = _windows(x, self.size, self.stride)
        y = x[windows[0]].copy()
        for window in windows[1:]:
            np.maximum(y, x[window], out=y)
        ctx.save(x=x, y=y, windows=windows)
        return y

    # The gradient of a window goes to its largest pixel, the first of several.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        gx = np.zeros_like(ctx.x)
        left = gy.copy()
        for window in ctx.windows:
            here = ctx.x[window]
            largest = (here == ctx.y) | np.isnan(here)  # a NaN, too, is the largest
            gx[window] += left * largest
            left[largest] = 0
        return (gx,)


def max_pool2d(x: Operand, size: int, stride: int | None = None) -> Tensor:
    """Take the largest of each size × size window of (N,H,W,C).

    stride  defaults to the size
    Pixels at the right and bottom that fill no whole window are left out.
    """
    x, size, stride = _checked("max_pool2d", x, size, stride)
    return apply(MaxPool2d(size, stride), x)


def _checked(
    op: str, x: Operand, size: int, stride: int | None
) -> tuple[Tensor, int, int]:
    x = as_tensor(x)
    size, stride = whole(op, size=size, stride=size if stride is None else stride)
    if x.ndim != 4 or size < 1 or stride < 1 or min(x.shape[1:3]) < size:
        raise ShapeError(
            f"{op}: needs x (N,H,W,C) of at least size={size} >= 1, stride >= 1, "
            f"got {x.shape}, stride={stride}"
        )
    return x, size, stride
