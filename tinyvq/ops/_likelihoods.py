"""Losses of logits: log-softmax, cross entropy, binary cross entropy.

They take logits, not probabilities: log p of a p that underflows to 0 would be
infinite, while the log of a softmax, taken together, is not. And they stay exact where
the answer is nearly certain, so that what is left to learn there is not lost.
"""

from dataclasses import dataclass

import numpy as np

from tinyvq.backends import module_of
from tinyvq.errors import DTypeError, ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._activations import logistic
from tinyvq.ops._doors import as_floats, check_range, tensor_beside
from tinyvq.ops._losses import same_shape
from tinyvq.tensor import Operand, Tensor, apply, as_tensor


def _log_softmax(x: Array) -> Array:
    """x - log Σ exp(x) over the last axis.

    With the largest x taken out of all, the sum is 1 + what the others add: a log1p.
    """
    largest = x.argmax(axis=-1, keepdims=True)
    shifted = x - np.take_along_axis(x, largest, axis=-1)
    others = np.exp(shifted)
    np.put_along_axis(others, largest, 0, axis=-1)
    return shifted - np.log1p(others.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class LogSoftmax(Function):
    """y_i = x_i - log Σ_j exp(x_j) over the last axis."""

    def forward(self, ctx: Context, x: Array) -> Array:
        y = _log_softmax(x)
        ctx.save(y=y)
        return y

    # ∂y_i/∂x_j = δ_ij - p_j with p = exp(y), so gx_j = gy_j - p_j Σ_i gy_i. For the
    # largest p that is (1 - p_j) gy_j less p_j times the others' sum, and 1 - p comes
    # from log p at once: where p is nearly 1, it would cancel.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        y = ctx.y
        largest = y.argmax(axis=-1, keepdims=True)
        its_gy, its_y = (np.take_along_axis(a, largest, axis=-1) for a in (gy, y))
        others = gy.copy()
        np.put_along_axis(others, largest, 0, axis=-1)
        sum_of_others = others.sum(axis=-1, keepdims=True)
        gx = others - np.exp(y) * (sum_of_others + its_gy)
        its_gx = -np.expm1(its_y) * its_gy - np.exp(its_y) * sum_of_others
        np.put_along_axis(gx, largest, its_gx, axis=-1)
        return (gx,)


def log_softmax(x: Operand) -> Tensor:
    """Log of the normalised exponentials over the last axis."""
    x = as_floats("log_softmax", x)
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ShapeError(f"log_softmax: needs x (..., M) with M >= 1, got {x.shape}")
    return apply(LogSoftmax(), x)


@dataclass(frozen=True)
class CrossEntropy(Function):
    """L = mean over rows of -log softmax(x)[target]."""

    def forward(self, ctx: Context, x: Array, targets: Array) -> Array:
        rows = _log_softmax(x.reshape(-1, x.shape[-1]))  # (rows, M)
        target = module_of(x).arange(len(rows)), targets.reshape(-1)
        ctx.save(rows=rows, target=target, shape=x.shape)
        return -rows[target].mean()

    # ∂/∂x_j of -log p_t is p_j - δ_jt, so gx = gy (p - one-hot of the target) / rows.
    # p_t - 1 comes from log p_t at once: where p_t is nearly 1, it would cancel.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        g = np.exp(ctx.rows)
        g[ctx.target] = np.expm1(ctx.rows[ctx.target])
        g *= gy / len(g)
        return g.reshape(ctx.shape), None


def cross_entropy(logits: Operand, targets: Operand) -> Tensor:
    """Mean negative log likelihood, in nats, of targets under softmax(logits).

    logits (..., M), targets (...) integers in 0 .. M-1, checked where they live, then
    copied beside the logits: those on a GPU make Python wait for it.
    """
    logits = as_floats("cross_entropy", logits, "logits")
    targets = as_tensor(targets)
    if targets.dtype.kind not in "iu":
        raise DTypeError(
            f"cross_entropy: targets must be integers, got {targets.dtype}"
        )
    if logits.ndim < 1 or logits.shape[:-1] != targets.shape or targets.size == 0:
        raise ShapeError(
            "cross_entropy: needs logits (..., M) and targets (...), not empty, got "
            f"{logits.shape} and {targets.shape}"
        )
    check_range("cross_entropy", "targets", targets, logits.shape[-1])
    targets = tensor_beside(targets, logits)
    return apply(CrossEntropy(), logits, targets)


@dataclass(frozen=True)
class BCEWithLogits(Function):
    """L = mean of -t log σ(x) - (1 - t) log(1 - σ(x)), σ the logistic function."""

    def forward(self, ctx: Context, x: Array, t: Array) -> Array:
        ctx.save(x=x, t=t)
        # -log σ(x) = softplus(-x) and -log(1 - σ(x)) = softplus(x): together
        # softplus(x) - t x, and softplus(x) = max(x, 0) + log(1 + exp(-|x|)).
        small = np.exp(-np.abs(x))
        return (np.maximum(x, 0) - x * t + np.log1p(small)).mean()

    # ∂L/∂x = (σ(x) - t) / n and ∂L/∂t = -x / n. As 1 - σ(x) is σ(-x),
    #   σ(x) - t = (1 - t) σ(x) - t σ(-x),
    # in which nothing cancels where t is 0 or 1 and σ(x) nearly so.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        x, t = ctx.x, ctx.t
        gx = gt = None
        if ctx.needs[0]:
            gx = (gy / x.size) * ((1 - t) * logistic(x) - t * logistic(-x))
        if ctx.needs[1]:
            gt = (-gy / x.size) * x
        return gx, gt


def bce_with_logits(logits: Operand, targets: Operand) -> Tensor:
    """Mean binary cross entropy, in nats, of targets in [0, 1] under σ(logits)."""
    return apply(BCEWithLogits(), *same_shape("bce_with_logits", logits, targets))
