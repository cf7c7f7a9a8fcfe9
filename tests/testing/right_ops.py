"""Functions whose backward passes are right, plain enough to see it.

Each is planted with bugs by `test_planted_bugs.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq.function import Context, Function
from tinyvq.tensor import Tensor, apply

Gradients = tuple[Any, ...]


@dataclass(frozen=True)
class Square(Function):
    def forward(self, ctx: Context, x: Any) -> Any:
        ctx.save(x=x)
        return x * x

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        gx = 2 * ctx.x * gy
        return (gx,)


@dataclass(frozen=True)
class Exp(Function):
    def forward(self, ctx: Context, x: Any) -> Any:
        y = np.exp(x)
        ctx.save(x=x, y=y)
        return y

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        gx = ctx.y * gy
        return (gx,)


@dataclass(frozen=True)
class Leaky(Function):
    slope: float = 0.25

    def forward(self, ctx: Context, x: Any) -> Any:
        ctx.save(positive=x > 0)
        return np.where(x > 0, x, self.slope * x)

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        return (np.where(ctx.positive, gy, self.slope * gy),)


@dataclass(frozen=True)
class Subtract(Function):
    def forward(self, ctx: Context, a: Any, b: Any) -> Any:
        return a - b

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        ga, gb = gy, -gy
        return ga, gb


@dataclass(frozen=True)
class Multiply(Function):
    """x (N,C) times one factor a channel, w (C)."""

    def forward(self, ctx: Context, x: Any, w: Any) -> Any:
        ctx.save(x=x, w=w)
        return x * w

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        gx = gw = None
        if ctx.needs[0]:
            gx = gy * ctx.w
        if ctx.needs[1]:
            gw = (gy * ctx.x).sum(axis=0)
        return gx, gw


@dataclass(frozen=True)
class Affine(Function):
    """x (N,C) @ w (C,K) + b (K)."""

    def forward(self, ctx: Context, x: Any, w: Any, b: Any) -> Any:
        ctx.save(x=x, w=w)
        return x @ w + b

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        gx = gy @ ctx.w.T
        gw = ctx.x.T @ gy
        gb = gy.sum(axis=0)
        return gx, gw, gb


@dataclass(frozen=True)
class Softmax(Function):
    def forward(self, ctx: Context, x: Any) -> Any:
        y = np.exp(x - x.max(axis=-1, keepdims=True))
        y /= y.sum(axis=-1, keepdims=True)
        ctx.save(y=y)
        return y

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        inner = (gy * ctx.y).sum(axis=-1, keepdims=True)
        return (ctx.y * (gy - inner),)


@dataclass(frozen=True)
class Normalize(Function):
    """Batch normalisation without its affine part: x (N,C), over N."""

    eps: float = 1e-3

    def forward(self, ctx: Context, x: Any) -> Any:
        scale = 1 / np.sqrt(x.var(axis=0) + self.eps)
        y = (x - x.mean(axis=0)) * scale
        ctx.save(y=y, scale=scale)
        return y

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        along = (gy * ctx.y).mean(axis=0)
        centred = gy - gy.mean(axis=0)
        return ((centred - ctx.y * along) * ctx.scale,)


@dataclass(frozen=True)
class MeanSquare(Function):
    def forward(self, ctx: Context, x: Any, y: Any) -> Any:
        ctx.save(difference=x - y)
        return np.square(x - y).mean()

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        gx = gy * 2 * ctx.difference / ctx.difference.size
        return gx, -gx


@dataclass(frozen=True)
class RowSums(Function):
    def forward(self, ctx: Context, x: Any) -> Any:
        ctx.save(shape=x.shape)
        return x.sum(axis=1)

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        return (np.broadcast_to(gy[:, None], ctx.shape),)


@dataclass(frozen=True)
class Gather(Function):
    """table (M,D)[indices]."""

    def forward(self, ctx: Context, table: Any, indices: Any) -> Any:
        ctx.save(indices=indices, shape=table.shape)
        return table[indices]

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        gt = np.zeros_like(gy, shape=ctx.shape)
        np.add.at(gt, ctx.indices, gy)
        return gt, None


@dataclass(frozen=True)
class Conv1d(Function):
    """y[p] = Σ_r x[p·stride + r - padding] w[r]: x (W), w (R) -> y (P)."""

    stride: int = 1
    padding: int = 1

    def forward(self, ctx: Context, x: Any, w: Any) -> Any:
        padded = np.pad(x, self.padding)
        ctx.save(padded=padded, w=w)
        steps = range(0, len(padded) - len(w) + 1, self.stride)
        return np.array([(padded[p : p + len(w)] * w).sum() for p in steps], x.dtype)

    def backward(self, ctx: Context, gy: Any) -> Gradients:
        gx, gw = np.zeros_like(ctx.padded), np.zeros_like(ctx.w)
        for p, g in enumerate(gy):
            start = p * self.stride
            gx[start : start + len(gw)] += g * ctx.w
            gw += g * ctx.padded[start : start + len(gw)]
        return gx[self.padding : len(gx) - self.padding], gw


def op(function_class: type[Function], **settings: Any) -> Callable[..., Tensor]:
    """Make the public op of a Function class."""

    def call(*inputs: Any) -> Tensor:
        tensors = [x if isinstance(x, Tensor) else Tensor.wrap(x) for x in inputs]
        return apply(function_class(**settings), *tensors)

    call.__name__ = function_class.__name__
    return call
