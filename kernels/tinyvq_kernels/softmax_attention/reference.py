"""Attention and its gradient in plain NumPy, in float64: the specification."""

import math

import numpy as np

from tinyvq_kernels._types import Array


def attention(q: Array, k: Array, v: Array, causal: bool) -> tuple[Array, Array]:
    """y = softmax(s) v and lse = log Σ e^s, by row, both from e^(s - largest)."""
    kind = q.dtype
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    scores = _scores(q, k, causal)
    top = scores.max(axis=-1, keepdims=True)
    p = np.exp(scores - top)
    total = p.sum(axis=-1, keepdims=True)
    lse = (top + np.log(total))[..., 0]
    return (p / total @ v).astype(kind), lse.astype(kind)


def attention_grad(
    q: Array, k: Array, v: Array, lse: Array, gy: Array, causal: bool
) -> tuple[Array, Array, Array]:
    """The weights again, and from them all three gradients."""
    kind, scale = q.dtype, 1 / math.sqrt(q.shape[-1])
    q, k, v, lse, gy = (a.astype(np.float64) for a in (q, k, v, lse, gy))
    p = np.exp(_scores(q, k, causal) - lse[..., None])  # (B,T,S)
    gv = p.swapaxes(-1, -2) @ gy
    gp = gy @ v.swapaxes(-1, -2)
    gp = gp - np.take_along_axis(gp, p.argmax(axis=-1)[..., None], axis=-1)
    gs = p * (gp - (gp * p).sum(axis=-1, keepdims=True))
    gq, gk = gs @ k * scale, gs.swapaxes(-1, -2) @ q * scale
    return gq.astype(kind), gk.astype(kind), gv.astype(kind)


def _scores(q: Array, k: Array, causal: bool) -> Array:
    """q kᵀ / √E (B,T,S), -∞ where hidden."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        t, s = scores.shape[-2:]
        hidden = np.triu(np.ones_like(scores), s - t + 1) > 0
        scores = np.where(hidden, -np.inf, scores)
    return scores
