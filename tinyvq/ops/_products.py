"""Matrix products: matmul and linear."""

import math
from dataclasses import dataclass

from tinyvq_kernels import matmul as matmul_kernel

from tinyvq.errors import ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._broadcast import add_up
from tinyvq.ops._doors import as_floats
from tinyvq.tensor import Operand, Tensor, apply


def as_rows(x: Array) -> Array:
    """See (..., C) as (rows, C)."""
    rows = math.prod(x.shape[:-1])  # not -1, which could be any number where C is 0
    return x.reshape(rows, x.shape[-1])


@dataclass(frozen=True)
class MatMul(Function):
    """c = a b, over leading axes."""

    def forward(self, ctx: Context, a: Array, b: Array) -> Array:
        ctx.save(a=a, b=b)
        return matmul_kernel(a, b)

    # c_ij = Σ_l a_il b_lj, so ga_il = Σ_j gc_ij b_lj and gb_lj = Σ_i a_il gc_ij:
    # ga = gc bᵀ and gb = aᵀ gc; a b shared by the batch sums over all rows of it.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        a, b = ctx.a, ctx.b
        ga = gb = None
        if ctx.needs[0]:
            ga = matmul_kernel(gy, b.swapaxes(-1, -2))
        if ctx.needs[1]:
            if b.ndim == 2:
                a, gy = as_rows(a), as_rows(gy)  # (rows, L), (rows, J)
            gb = matmul_kernel(a.swapaxes(-1, -2), gy)
        return ga, gb


def matmul(a: Operand, b: Operand) -> Tensor:
    """Multiply a (...,I,L) by b (...,L,J) or (L,J) -> (...,I,J)."""
    return apply(MatMul(), as_floats("matmul", a, "a"), as_floats("matmul", b, "b"))


@dataclass(frozen=True)
class Linear(Function):
    """y = x w + b, on the last axis of x."""

    def forward(self, ctx: Context, x: Array, w: Array, b: Array | None) -> Array:
        ctx.save(x=x, w=w)
        y = matmul_kernel(as_rows(x), w)  # (rows, K)
        if b is not None:
            y += b
        return y.reshape(*x.shape[:-1], w.shape[1])  # (..., K)

    # y_k = Σ_c x_c w_ck + b_k a row, so gx = gy wᵀ, gw = xᵀ gy, gb = Σ_rows gy.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        x, w = ctx.x, ctx.w
        rows = as_rows(gy)  # (rows, K)
        gx = gw = gb = None
        if ctx.needs[0]:
            gx = matmul_kernel(rows, w.T).reshape(x.shape)  # (..., C)
        if ctx.needs[1]:
            gw = matmul_kernel(as_rows(x).T, rows)  # (C, K)
        if ctx.needs[2]:
            gb = add_up(rows, 0)
        return gx, gw, gb


def linear(x: Operand, w: Operand, b: Operand | None = None) -> Tensor:
    """Map the last axis: x (...,C), w (C,K), b (K) or None -> (...,K).

    PyTorch's weight is the transpose, (K,C).
    """
    x, w = as_floats("linear", x), as_floats("linear", w, "w")
    bias = None if b is None else as_floats("linear", b, "b")
    fits = x.ndim >= 1 and w.ndim == 2 and x.shape[-1] == w.shape[0]
    if not fits or (bias is not None and bias.shape != w.shape[1:]):
        raise ShapeError(
            f"linear: needs x (...,C), w (C,K), b (K), got {x.shape}, {w.shape}"
            + ("" if bias is None else f", {bias.shape}")
        )
    return apply(Linear(), x, w, bias)
