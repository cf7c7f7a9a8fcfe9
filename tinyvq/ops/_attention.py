"""Scaled dot-product attention, over heads, causal or not."""

import math
from dataclasses import dataclass

import numpy as np
from tinyvq_kernels import matmul

from tinyvq.backends import module_of
from tinyvq.errors import ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.tensor import Operand, Tensor, apply, as_tensor


@dataclass(frozen=True)
class Attention(Function):
    """y = softmax(q kᵀ / √E) v, for each item and head; causal: t sees 0 .. t only.

    q (N,A,T,E), k (N,A,S,E), v (N,A,S,F) -> (N,A,T,F); A heads
    """

    causal: bool = False

    def forward(self, ctx: Context, q: Array, k: Array, v: Array) -> Array:
        scores = matmul(self._scaled(q), k.swapaxes(-1, -2))  # (N,A,T,S)
        if self.causal:
            # The last query sees all keys: with a cache, T < S.
            t, s = scores.shape[-2:]
            xp = module_of(q)
            hidden = xp.arange(s) > xp.arange(s - t, s)[:, None]  # (T,S)
            np.copyto(scores, -np.inf, where=hidden)
        scores -= scores.max(axis=-1, keepdims=True)
        p = np.exp(scores, out=scores)
        p /= p.sum(axis=-1, keepdims=True)
        ctx.save(q=q, k=k, v=v, p=p)
        return matmul(p, v)

    @staticmethod
    def _scaled(x: Array) -> Array:
        return x * (1 / math.sqrt(x.shape[-1]))

    # y = p v:                 gv = pᵀ gy,  gp = gy vᵀ
    # p = softmax(s), by row:  gs = p · (gp - Σ gp p); where hidden, p = 0 and so is gs.
    #                          As in Softmax, gp is shifted to 0 at the largest p.
    # s = (q / √E) kᵀ:         gq = gs k / √E,  gk = gsᵀ (q / √E)
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        q, k, v, p = ctx.q, ctx.k, ctx.v, ctx.p
        gq = gk = gv = None
        if ctx.needs[2]:
            gv = matmul(p.swapaxes(-1, -2), gy)
        if ctx.needs[0] or ctx.needs[1]:
            gs = matmul(gy, v.swapaxes(-1, -2))  # gp as yet
            largest = p.argmax(axis=-1, keepdims=True)
            gs -= np.take_along_axis(gs, largest, axis=-1)
            gs -= (gs * p).sum(axis=-1, keepdims=True)
            gs *= p
            if ctx.needs[0]:
                gq = self._scaled(matmul(gs, k))
            if ctx.needs[1]:
                gk = matmul(gs.swapaxes(-1, -2), self._scaled(q))
        return gq, gk, gv


def attention(q: Operand, k: Operand, v: Operand, *, causal: bool = False) -> Tensor:
    """Let each query take a mixture of values, weighted by softmax(q kᵀ / √E).

    q (N,A,T,E), k (N,A,S,E), v (N,A,S,F) -> (N,A,T,F), A heads. Causal: query t sees
    keys up to S - T + t, so the last query sees all (T < S with cached keys).
    Source: Vaswani et al., "Attention is all you need", arXiv:1706.03762, eq. 1.
    """
    q, k, v = as_tensor(q), as_tensor(k), as_tensor(v)
    fits = (
        q.ndim == k.ndim == v.ndim == 4
        and q.shape[:2] == k.shape[:2] == v.shape[:2]
        and q.shape[3] == k.shape[3] > 0
        and k.shape[2] == v.shape[2] > 0
    )
    if not fits or (causal and q.shape[2] > k.shape[2]):
        raise ShapeError(
            "attention: needs q (N,A,T,E), k (N,A,S,E), v (N,A,S,F), S and E >= 1, "
            f"T <= S where causal, got {q.shape}, {k.shape} and {v.shape}"
        )
    return apply(Attention(causal), q, k, v)
