"""Attention: each query mixes values, weighted by a softmax of its scores with keys.

    attention       q (B,T,E), k (B,S,E), v (B,S,F)  -> y (B,T,F), lse (B,T)
    attention_grad  q, k, v, lse, gy (B,T,F)         -> gq, gk, gv

B counts items times heads; queries T, keys S. By row, that is by query:

    s = q kᵀ / √E,  lse = log Σ e^s,  p = e^(s - lse),  y = p v

Causal: query t sees the keys up to S - T + t, so that the last one sees all (T <= S);
of the others p is 0. With gp = gy vᵀ:

    gv = pᵀ gy,  gs = p · (gp - Σ gp p),  gq = gs k / √E,  gk = gsᵀ q / √E

p is computed again from lse, not kept: what is kept grows with T, not with T·S. As Σ p
is 1, gp may be shifted: to 0 at the largest p. Where that is nearly 1, gs would else be
a small difference of large numbers.

All forms but the reference keep to more: a row of y depends, bit for bit, on its own
query and on the keys and values that it sees, and neither on T, nor on other queries,
nor on what is hidden, provided that hidden values are finite (0 · ∞ is NaN).

Source: Vaswani et al., arXiv:1706.03762, eq. 1; a gradient without the weights: Dao et
al., "FlashAttention", arXiv:2205.14135.
"""

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_rank, check_shape
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.softmax_attention import cpu, gpu, reference

declare(
    *(
        Kernel(op, backend, "reference", lambda f=f: f, "all scores at once")  # type: ignore[misc]
        for op, f in (
            ("attention", reference.attention),
            ("attention_grad", reference.attention_grad),
        )
        for backend in ("cpu", "cuda")
    ),
    Kernel(
        "attention",
        "cpu",
        "fused",
        lambda: cpu.attention,
        "scores of 48 queries at a time, which stay in a near cache; k, v packed once",
        default=True,
    ),
    Kernel(
        "attention_grad",
        "cpu",
        "fused",
        lambda: cpu.attention_grad,
        "weights of 48 queries at a time, computed again",
        default=True,
    ),
)
for _op, _ladder in gpu.LADDERS.items():
    cuda_ladder(_op, _ladder, default="fused")


def attention(q: Array, k: Array, v: Array, causal: bool) -> tuple[Array, Array]:
    """Mix values; -> y (B,T,F), and lse (B,T) for the gradient.

    Raises TypeError for dtypes, ValueError for shapes.
    """
    op = "attention"
    check_floats(op, q=q, k=k, v=v)
    _check_sizes(op, q, k, v, causal)
    y, lse = resolve(op, q)(q, k, v, causal)
    return y, lse


def attention_grad(
    q: Array, k: Array, v: Array, lse: Array, gy: Array, causal: bool
) -> tuple[Array, Array, Array]:
    """Differentiate; -> gq, gk and gv. lse as `attention` returned it."""
    op = "attention_grad"
    check_floats(op, q=q, k=k, v=v, lse=lse, gy=gy)
    _check_sizes(op, q, k, v, causal)
    check_shape(op, "lse", lse, tuple(q.shape[:2]))
    check_shape(op, "gy", gy, (*q.shape[:2], v.shape[2]))
    gq, gk, gv = resolve(op, q)(q, k, v, lse, gy, causal)
    return gq, gk, gv


def _check_sizes(op: str, q: Array, k: Array, v: Array, causal: bool) -> None:
    check_rank(op, "B,T,E", "q", q)
    check_rank(op, "B,S,E", "k", k)
    check_rank(op, "B,S,F", "v", v)
    fits = (
        q.shape[0] == k.shape[0] == v.shape[0]
        and q.shape[2] == k.shape[2] > 0
        and k.shape[1] == v.shape[1] > 0
    )
    if not fits or (causal and q.shape[1] > k.shape[1]):
        raise ValueError(
            f"{op}: needs q (B,T,E), k (B,S,E), v (B,S,F), S and E >= 1, T <= S where "
            f"causal, got {q.shape}, {k.shape} and {v.shape}"
        )
