"""Attention on CUDA: the host side of `attention.cu` and `attention_fused.cu`."""

import math
from typing import Any

import numpy as np

from tinyvq_kernels._cuda import REALS, Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array

PLAIN, FUSED = "softmax_attention/attention.cu", "softmax_attention/attention_fused.cu"
ROWS, LANES, LINES = 32, 16, 8  # of a fused block, as in attention_fused.cu
WIDTHS = (32, 64, 128)  # of what a fused block mixes, each compiled by itself
SOURCES: dict[str | int, Source] = {
    "f": Source(PLAIN, REALS["f"] | {"EXP": "expf", "LOG": "logf"}),
    "d": Source(PLAIN, REALS["d"] | {"EXP": "exp", "LOG": "log"}),
    **{wide: Source(FUSED, {"WIDE": wide}) for wide in WIDTHS},
}


# ---- plain ---------------------------------------------------------------------------


def plain(q: Array, k: Array, v: Array, causal: bool) -> tuple[Array, Array]:
    """Mix values by scores in memory; shapes as in the package's contract."""
    q, k, v = map(contiguous, (q, k, v))
    lse = empty(q.shape[:2], q.dtype, like=q)
    p = _score(q, k, _scale(q))
    _rows("soften_plain", p, p, lse, causal=causal)
    return _mix(p, v, 1), lse


def grad_plain(
    q: Array, k: Array, v: Array, lse: Array, gy: Array, causal: bool
) -> tuple[Array, Array, Array]:
    """Differentiate by weights in memory; shapes as in the package's contract."""
    q, k, v, lse, gy = map(contiguous, (q, k, v, lse, gy))
    p, gs = _score(q, k, _scale(q)), _score(gy, v, 1)  # gp as yet
    _rows("pull_plain", p, p, gs, lse, causal=causal)
    gq, gk = _mix(gs, k, _scale(q)), _mix(gs, q, _scale(q), turned=True)
    return gq, gk, _mix(p, gy, 1, turned=True)


def _scale(q: Array) -> float:
    return 1 / math.sqrt(q.shape[2])


def _score(a: Array, b: Array, scale: float) -> Array:
    """Multiply every row of a (B,T,L) by every row of b (B,S,L)."""
    (items, t, l), s = a.shape, b.shape[1]
    scores = empty((items, t, s), a.dtype, like=a)
    _elements("score_plain", scores, a, b, scores, a.dtype.type(scale), t, s, l)
    return scores


def _mix(w: Array, b: Array, scale: float, turned: bool = False) -> Array:
    """Multiply w (B,T,S), or its transpose, by b (B,S,F)."""
    items, s, f = b.shape
    t = w.shape[2 if turned else 1]
    y = empty((items, t, f), b.dtype, like=b)
    _elements("mix_plain", y, w, b, y, b.dtype.type(scale), t, s, f, int(turned))
    return y


def _elements(kernel: str, out: Array, *arguments: Any) -> None:
    """Launch a thread for each element of a result (B,T,S), 8 × 32 a block."""
    items, t, s = out.shape
    _run(kernel, out, (items * -(-t // 8) * -(-s // 32), 32, 8), *arguments)


def _rows(kernel: str, scores: Array, *arguments: Any, causal: bool) -> None:
    """Launch a warp for each row of scores (B,T,S), 8 a block."""
    items, t, s = scores.shape
    cut = (-(-items * t // 8), 32, 8)
    _run(kernel, scores, cut, *arguments, items * t, t, s, int(causal))


def _run(kernel: str, like: Array, cut: tuple[int, int, int], *arguments: Any) -> None:
    """Launch so many blocks of x × y threads; Python's integers become int32."""
    blocks, x, y = cut
    launch(
        SOURCES[like.dtype.char],
        kernel,
        grid=(blocks, 1, 1),
        block=(x, y, 1),
        arguments=tuple(np.int32(a) if isinstance(a, int) else a for a in arguments),
    )


# ---- fused ---------------------------------------------------------------------------


def fused(q: Array, k: Array, v: Array, causal: bool) -> tuple[Array, Array]:
    """Mix values by tiles, or wide ones as `plain` does; shapes as in the contract."""
    if not _fits(v.shape[2], q, k):
        return plain(q, k, v, causal)
    q, k, v = map(contiguous, (q, k, v))
    y = empty((*q.shape[:2], v.shape[2]), q.dtype, like=q)
    lse = empty(q.shape[:2], q.dtype, like=q)
    given = (q, k, v, y, lse)
    _walk("attention_fused", v.shape[2], q.shape[1], given, q, v, causal)
    return y, lse


def grad_fused(
    q: Array, k: Array, v: Array, lse: Array, gy: Array, causal: bool
) -> tuple[Array, Array, Array]:
    """Differentiate by tiles, or wide ones as `grad_plain` does."""
    widest = max(q.shape[2], v.shape[2])
    if not _fits(widest, q, k):
        return grad_plain(q, k, v, lse, gy, causal)
    given = tuple(map(contiguous, (q, k, v, lse, gy)))
    gq, gk, gv = (empty(a.shape, a.dtype, like=a) for a in (q, k, v))
    sums = tuple(empty(lse.shape, lse.dtype, like=lse) for _ in range(2))
    t, s = q.shape[1], k.shape[1]
    _walk("attention_grad_queries", widest, t, (*given, gq, *sums), q, v, causal)
    _walk("attention_grad_keys", widest, s, (*given, *sums, gk, gv), q, v, causal)
    return gq, gk, gv


def _fits(widest: int, q: Array, k: Array) -> bool:
    """Whether what is mixed is narrow enough, and an item's places are int32."""
    rows = max(q.shape[1], k.shape[1]) + 2 * ROWS
    return widest <= WIDTHS[-1] and rows * max(widest, q.shape[2]) < 2**31


def _walk(
    kernel: str,
    widest: int,
    rows: int,
    arrays: tuple[Array, ...],
    q: Array,
    v: Array,
    causal: bool,
) -> None:
    """Launch a block for every ROWS rows of an item, of those that are wide enough."""
    (items, t, e), (_, s, f) = q.shape, v.shape
    launch(
        SOURCES[next(wide for wide in WIDTHS if widest <= wide)],
        kernel,
        grid=(items * -(-rows // ROWS), 1, 1),
        block=(LANES, LINES, 1),
        arguments=(
            *(*arrays, np.float32(_scale(q))),
            *map(np.int32, (items, t, s, e, f, causal)),
        ),
    )


LADDERS = {
    "attention": {
        "plain": Rung(plain, "an element a thread, scores in memory"),
        "fused": Rung(
            fused, "tiles of scores, made and used within a block", ("float32",)
        ),
    },
    "attention_grad": {
        "plain": Rung(grad_plain, "an element a thread, weights in memory"),
        "fused": Rung(
            grad_fused, "weights again, by queries and by keys", ("float32",)
        ),
    },
}
