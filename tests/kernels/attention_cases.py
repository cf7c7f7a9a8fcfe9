"""Calls of attention and its gradient, and how far their results may be off.

Below, u is the roundoff of the dtype; what is said of a row holds for each query alone.

Scores. k / √E meets 2 roundings, and a sum of E products E + 1, so that a score is off
by γ_(E+3) Σ|q||k| / √E: by no more than Δ, the largest of those that the row sees.

Weights. What is taken off a score, the largest or lse, is the same in all of a row, and
the difference, of size R at most, is rounded: u R. e^x of it is off by 4 u of itself
(see `cases.py`), or it is below the smallest normal float and may be 0. Together

    e^(s - c) is off by the factor e^±ρ,  ρ = Δ + u (R + Δ) + 4 u,  and by `tiny`

attention. Both Σ e^s v and Σ e^s hold S such weights and are off by e^±ρ and γ_(S+1);
their quotient meets 3 roundings more. So y is off by e^(2ρ + 2γ_(S+3)) - 1 times
Σ p |v|, and lse = c + log Σ by ρ + γ_(S+3); the logarithm, their sum and the result are
rounded, 3 u (|c| + log Σ).

attention_grad. lse is given, so p is off by the factor e^ρ - 1. A value of gp is off by
γ_(F+1) G, where G is the largest of Σ|gy||v| in the row; the one that is taken off may
be that of another key whose p is as large, within the errors above: then all of gp move
by some g <= 2 G, and gs by p g (1 - Σp), for lse is rounded; D = |1 - Σp|. Shifted, gp
is 2 G at most, and gp - Σ gp p is 4 G. So gs, with two roundings more, is off by

    p · G · (4 (e^ρ - 1 + γ_2) + 2 γ_(F+2) + 2 (e^ρ - 1 + γ_(S+1) + γ_(F+2)) + 2 D)
      <= 8 p G w,   w = e^ρ - 1 + γ_(F+S+5) + D

as long as w is small. gq, gk and gv are sums of S or T products with p or gs, which are
off as much as these factors are, and γ_(S+4) or γ_(T+4) from the sums and from 1/√E.

The float64 reference makes the same errors, with its U for u.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tinyvq_kernels
from kernel_case import Array, Arrays, KernelCase, draw, gamma, unit_roundoff
from tinyvq_kernels import use_kernels

Sizes = tuple[int, int, int, int, int, bool]  # B, T, S, E, F, causal


def sizes() -> Iterator[Sizes]:
    """Around tiles of 6 queries, blocks of 48, links of 64, panels of 8, 16 and 32.

    And around what CUDA takes: 32 rows by 64, in widths up to 32, 64 and 128.
    """
    for t in (0, 1, 5, 6, 7, 12, 47, 48, 49, 97):
        yield 2, t, t + 1, 3, 2, True
        yield 1, t, 4, 5, 3, False
    for s in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129):
        yield 1, 7, s, 3, 2, False
        yield 2, min(s, 7), s, 3, 2, True
        yield 1, s, s, 2, 1, True
    for width in (1, 2, 7, 8, 9, 15, 16, 17, 32, 33, 65):
        yield 2, 3, 5, width, 4, False
        yield 1, 7, 9, 2, width, True
    yield from ((0, 2, 3, 4, 5, True), (2, 7, 9, 4, 0, False), (1, 1, 1, 1, 1, True))
    yield 2, 49, 49, 32, 32, True  # as a prior has it
    yield 1, 100, 100, 40, 24, False
    yield 300, 6, 6, 5, 4, True
    yield 1, 70, 135, 64, 48, True
    yield 1, 33, 66, 128, 100, False
    yield 1, 9, 70, 130, 5, False
    yield 1, 9, 70, 5, 130, True


def label_of(case: Sizes) -> str:
    """Name a case."""
    *counts, causal = case
    return "x".join(map(str, counts)) + ("-causal" if causal else "")


def operands(case: Sizes) -> tuple[Array, Array, Array]:
    """q, k and v; of every third size scores so far apart that most weights vanish."""
    b, t, s, e, f, _ = case
    q, k, v = draw("q", b, t, e), draw("k", b, s, e), draw("v", b, s, f)
    return (12 * q if (t + s + e) % 3 == 0 else q), k, v


def attention_cases() -> Iterator[KernelCase]:
    """The forward pass: y, and log Σ e^s."""
    return map(attention_case, sizes())


def attention_grad_cases() -> Iterator[KernelCase]:
    """The backward pass, with the lse of a forward one."""
    return map(attention_grad_case, sizes())


def attention_case(case: Sizes) -> KernelCase:
    """The forward pass at some sizes."""
    _, _, s, e, _, causal = case

    def bounds(dtype: npt.DTypeLike, *given: Array) -> Arrays:
        exact = attention_off(np.float64, *given, causal)
        return tuple(map(np.add, attention_off(dtype, *given, causal), exact))

    return KernelCase(
        *("attention", label_of(case), operands(case)),
        lambda q, k, v: tinyvq_kernels.attention(q, k, v, causal),
        terms=s + e,
        bounds=bounds,
    )


def attention_grad_case(case: Sizes) -> KernelCase:
    """The backward pass at some sizes."""
    b, t, s, e, f, causal = case
    q, k, v = operands(case)
    with use_kernels(attention="reference"):
        _, lse = tinyvq_kernels.attention(q, k, v, causal)

    def bounds(dtype: npt.DTypeLike, *given: Array) -> Arrays:
        exact = gradients_off(np.float64, *given, causal)
        return tuple(map(np.add, gradients_off(dtype, *given, causal), exact))

    return KernelCase(
        *("attention_grad", label_of(case), (q, k, v, lse, draw("gy", b, t, f))),
        lambda *arrays: tinyvq_kernels.attention_grad(*arrays, causal),
        terms=s + e + f + t,
        bounds=bounds,
    )


class Weights(NamedTuple):
    """e^(s - c) (B,T,S), 0 where hidden, and how far it is off; c and rho are (B,T,1).

    tiny  (B,T,S), 0 where hidden
    """

    p: Array
    c: Array
    rho: Array
    tiny: Array


def weights_of(
    dtype: npt.DTypeLike, q: Array, k: Array, lse: Array | None, causal: bool
) -> Weights:
    """Find the weights with c = lse, or with the largest score where it is None."""
    t, s, e = q.shape[1], *k.shape[1:]
    u = unit_roundoff(dtype)
    seen = np.tri(t, s, s - t, dtype=bool) if causal else np.ones((t, s), bool)
    scores = np.where(seen, q @ k.swapaxes(1, 2) / math.sqrt(e), -np.inf)
    size = np.abs(q) @ np.abs(k).swapaxes(1, 2) / math.sqrt(e)
    delta = gamma(e + 3, dtype) * np.where(seen, size, 0).max(axis=2, keepdims=True)
    c = scores.max(axis=2, keepdims=True) if lse is None else lse[..., None]
    distance = np.where(seen, np.abs(scores - c), 0).max(axis=2, keepdims=True)
    tiny = np.broadcast_to(seen * 4 * float(np.finfo(dtype).tiny), scores.shape)
    rho = delta + u * (distance + delta) + 4 * u
    return Weights(np.exp(scores - c), c, rho, tiny)


def attention_off(
    dtype: npt.DTypeLike, q: Array, k: Array, v: Array, causal: bool
) -> Arrays:
    """How far y and lse may be off."""
    p, c, rho, tiny = weights_of(dtype, q, k, None, causal)
    total = p.sum(axis=2, keepdims=True)  # 1 at least
    added = gamma(k.shape[1] + 3, dtype)
    y = (np.expm1(2 * rho + 2 * added) * p / total + 2 * tiny) @ np.abs(v)
    lse = rho + added + 3 * unit_roundoff(dtype) * (np.abs(c) + np.log(total))
    return y, lse[..., 0]


def gradients_off(
    dtype: npt.DTypeLike,
    q: Array,
    k: Array,
    v: Array,
    lse: Array,
    gy: Array,
    causal: bool,
) -> Arrays:
    """How far gq, gk and gv may be off."""
    t, s, f = q.shape[1], *v.shape[1:]
    p, _, rho, tiny = weights_of(dtype, q, k, lse, causal)
    root = 1 / math.sqrt(q.shape[2])
    off = np.expm1(rho)
    every = np.abs(gy) @ np.abs(v).swapaxes(1, 2)
    largest = np.where(tiny > 0, every, 0).max(axis=2, keepdims=True)  # G
    missing = np.abs(1 - p.sum(axis=2, keepdims=True))  # D
    w = off + gamma(f + s + 5, dtype) + missing
    gs_off = 8 * largest * (p * w + tiny)
    gs = 4 * largest * p + gs_off
    gq = (gs_off + gamma(s + 4, dtype) * gs) @ np.abs(k) * root
    gk = (gs_off + gamma(t + 4, dtype) * gs).swapaxes(1, 2) @ np.abs(q) * root
    p_off = off * p + tiny
    gv = (p_off + gamma(t + 4, dtype) * (p + p_off)).swapaxes(1, 2) @ np.abs(gy)
    return gq, gk, gv
