"""What the losses of logits are."""

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _likelihoods as lik
from tinyvq.ops._specs._values import logits
from tinyvq.testing import Case, Draw, OpSpec


def _rows_case(draw: Draw) -> Case:
    shape = (*draw.shape(dims=(0, 2), sides=(0, 4)), draw.integer(1, 7))
    return Case((logits(draw, shape),))


def _cross_entropy_case(draw: Draw) -> Case:
    shape, m = draw.shape(dims=(0, 2), sides=(1, 4)), draw.integer(1, 7)
    return Case((logits(draw, (*shape, m)), draw.indices(m, shape)))


def _bce_case(draw: Draw) -> Case:
    x = logits(draw, draw.shape(sides=(1, 5)))
    sure = draw.indices(2, x.shape).astype(np.float64)
    unsure = 1 / (1 + np.exp(draw.array(x.shape)))
    return Case((x, draw.choice((sure, unsure))))


def _log_probabilities(x: Array) -> Array:
    """log p_i = -log (1 + Σ_j≠i exp(x_j - x_i))."""
    y = np.empty_like(x)
    for at in np.ndindex(x.shape):
        others = np.delete(x[at[:-1]], at[-1])
        y[at] = -np.log1p(np.exp(others - x[at]).sum())
    return y


def _cross_entropy_reference(x: Array, targets: Array) -> Array:
    chosen = np.eye(x.shape[-1])[targets]
    return -(_log_probabilities(x) * chosen).sum() / targets.size


LIKELIHOODS = (
    OpSpec(
        "log_softmax",
        ops.log_softmax,
        _rows_case,
        _log_probabilities,
        (lik.LogSoftmax,),
    ),
    OpSpec(
        "cross_entropy",
        ops.cross_entropy,
        _cross_entropy_case,
        _cross_entropy_reference,
        (lik.CrossEntropy,),
        constants=(1,),
    ),
    OpSpec(
        "bce_with_logits",
        ops.bce_with_logits,
        _bce_case,
        lambda x, t: (t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)).mean(),
        (lik.BCEWithLogits,),
    ),
)
