"""Scaled dot-product attention, over heads, causal or not."""

from dataclasses import dataclass

from tinyvq_kernels import attention as attention_kernel
from tinyvq_kernels import attention_grad

from tinyvq.errors import ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import as_floats
from tinyvq.tensor import Operand, Tensor, apply


@dataclass(frozen=True)
class Attention(Function):
    """y = softmax(q kᵀ / √E) v, for each item and head.

    q (N,A,T,E), k (N,A,S,E), v (N,A,S,F) -> (N,A,T,F); A heads
    causal: query t sees the keys 0 .. S - T + t alone
    """

    causal: bool = False

    def forward(self, ctx: Context, q: Array, k: Array, v: Array) -> Array:
        y, lse = attention_kernel(_heads(q), _heads(k), _heads(v), self.causal)
        ctx.save(q=q, k=k, v=v, lse=lse)
        return y.reshape(*q.shape[:3], v.shape[3])

    # y = p v:                 gv = pᵀ gy,  gp = gy vᵀ
    # p = softmax(s), by row:  gs = p · (gp - Σ gp p); where hidden, p = 0 and so is gs.
    #                          As in Softmax, gp is shifted to 0 at the largest p.
    # s = q kᵀ / √E:           gq = gs k / √E,  gk = gsᵀ q / √E
    # p is not kept: it is e^(s - lse), lse = log Σ e^s.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        given = ctx.q, ctx.k, ctx.v
        q, k, v = map(_heads, given)
        gradients = attention_grad(q, k, v, ctx.lse, _heads(gy), self.causal)
        return tuple(
            g.reshape(x.shape) if needed else None
            for g, x, needed in zip(gradients, given, ctx.needs, strict=True)
        )


def _heads(x: Array) -> Array:
    """View items and heads (N,A,...) as one axis."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def attention(q: Operand, k: Operand, v: Operand, *, causal: bool = False) -> Tensor:
    """Let each query take a mixture of values, weighted by softmax(q kᵀ / √E).

    q (N,A,T,E), k (N,A,S,E), v (N,A,S,F) -> (N,A,T,F), A heads. Causal: query t sees
    keys up to S - T + t, so the last query sees all (T < S with cached keys).
    Source: Vaswani et al., "Attention is all you need", arXiv:1706.03762, eq. 1.
    """
    q, k = as_floats("attention", q, "q"), as_floats("attention", k, "k")
    v = as_floats("attention", v, "v")
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
