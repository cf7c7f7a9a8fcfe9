"""How much an adversary counts, so that it neither drowns nor is drowned."""

import math

import numpy as np

from tinyvq.backends import read
from tinyvq.errors import ConfigError
from tinyvq.function import Array


def adaptive_weight(
    reconstruction_gradient: Array,
    adversarial_gradient: Array,
    *,
    eps: float = 1e-4,
    clamp: float = 1e4,
) -> float:
    """Weigh the adversary's loss: min(|g_rec| / (|g_gan| + eps), clamp).

    Gradients of both losses at the decoder's last layer, of any shape and float dtype;
    lengths are taken in float64. The weighted adversary then pulls there about as hard
    as the reconstruction. `clamp` is what counts where the adversary's gradient
    vanishes, and |g_rec| / eps where that is less. NaN where a gradient has it, so that
    it is seen. ConfigError where eps or clamp is below 0. Waits for a GPU, once.
    Source: Esser et al., arXiv:2012.09841, eq. 7.
    """
    if not (eps >= 0 and clamp >= 0):
        raise ConfigError(
            f"adaptive_weight: needs eps >= 0 and clamp >= 0, got {eps} and {clamp}"
        )
    squares = map(_square, (reconstruction_gradient, adversarial_gradient))
    wanted, push = map(math.sqrt, read(*squares))
    push += eps
    if math.isnan(wanted + push):
        return math.nan
    return min(wanted / push, clamp) if push > 0 else clamp


def _square(gradient: Array) -> Array:
    # A plain sum: a BLAS norm would depend on the number of threads.
    return np.square(gradient, dtype=np.float64).sum()
