"""How much an adversary counts, so that it neither drowns nor is drowned."""

import numpy as np

from tinyvq.errors import ConfigError
from tinyvq.function import Array


def adaptive_weight(
    reconstruction_gradient: Array,
    adversarial_gradient: Array,
    *,
    eps: float = 1e-4,
    clamp: float = 1e4,
) -> Array:
    """Weigh the adversary's loss: min(|g_rec| / (|g_gan| + eps), clamp) -> ().

    Gradients of both losses at the decoder's last layer, of any shape and float dtype;
    lengths are taken in float64. The weighted adversary then pulls there about as hard
    as the reconstruction. `clamp` is what counts where the adversary's gradient
    vanishes, and |g_rec| / eps where that is less. NaN where a gradient has it, so that
    it is seen. ConfigError where eps or clamp is below 0.
    Source: Esser et al., arXiv:2012.09841, eq. 7.
    """
    if not (eps >= 0 and clamp >= 0):
        raise ConfigError(
            f"adaptive_weight: needs eps >= 0 and clamp >= 0, got {eps} and {clamp}"
        )
    wanted = _length(reconstruction_gradient)
    push = _length(adversarial_gradient) + eps
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(push > 0, np.minimum(wanted / push, clamp), clamp)
    return np.where(np.isnan(wanted + push), np.nan, weight)[()]


def _length(gradient: Array) -> Array:
    """Measure a gradient's length -> (), float64, where it lives."""
    # A plain sum: a BLAS norm would depend on the number of threads.
    return np.sqrt(np.square(gradient, dtype=np.float64).sum())
