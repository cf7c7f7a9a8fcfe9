"""What the ops of normal distributions are."""

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _gaussian as gau
from tinyvq.testing import Case, Draw, OpSpec


def _case(draw: Draw, arrays: int) -> Case:
    shape = draw.shape(dims=(1, 3), sides=(1, 5))
    return Case(tuple(draw.array(shape) for _ in range(arrays)))


def _kl_reference(mean: Array, log_variance: Array) -> Array:
    # σ² - 1 - log σ² cancels where σ is nearly 1: more digits make up for it.
    s = log_variance.astype(np.longdouble)
    nats = (mean.astype(np.longdouble) ** 2 + np.exp(s) - 1 - s) / 2
    return nats.sum(axis=-1).mean()


GAUSSIAN = (
    OpSpec(
        "reparameterize",
        ops.reparameterize,
        lambda draw: _case(draw, 3),
        lambda mean, log_variance, noise: mean + np.sqrt(np.exp(log_variance)) * noise,
        (gau.Reparameterize,),
        constants=(2,),
    ),
    OpSpec(
        "gaussian_kl",
        ops.gaussian_kl,
        lambda draw: _case(draw, 2),
        _kl_reference,
        (gau.GaussianKL,),
    ),
)
