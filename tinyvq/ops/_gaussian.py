"""Normal distributions whose parameters a network makes: draw from one, measure it.

A distribution is given by its mean and the logarithm of its variance, which may be any
number, so that a network's last layer can make it: σ = exp(log_variance / 2).
"""

from dataclasses import dataclass

import numpy as np

from tinyvq.errors import ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._losses import same_shape
from tinyvq.tensor import Operand, Tensor, apply


@dataclass(frozen=True)
class Reparameterize(Function):
    """z = mean + σ · noise, σ = exp(log_variance / 2).

    With noise from N(0, 1), z comes from N(mean, σ²). What is random is an input, and z
    a smooth function of the parameters: so a draw has a derivative.
    Source: Kingma and Welling, arXiv:1312.6114, section 2.4.
    """

    def forward(
        self, ctx: Context, mean: Array, log_variance: Array, noise: Array
    ) -> Array:
        moved = np.exp(log_variance / 2) * noise
        ctx.save(moved=moved)
        return mean + moved

    # ∂z/∂mean = 1, and ∂z/∂log_variance = σ/2 · noise, for dσ/dlog_variance = σ/2.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        glog = gy * ctx.moved / 2 if ctx.needs[1] else None
        return gy if ctx.needs[0] else None, glog, None


def reparameterize(mean: Operand, log_variance: Operand, noise: Operand) -> Tensor:
    """Draw from N(mean, exp(log_variance)) by standard normal noise, all of one shape.

    The noise is a constant: no gradient goes to it.
    """
    mean, log_variance = same_shape("reparameterize", mean, log_variance)
    _, noise = same_shape("reparameterize", mean, noise)
    return apply(Reparameterize(), mean, log_variance, noise.detach())


@dataclass(frozen=True)
class GaussianKL(Function):
    """L = mean over rows of KL(N(μ, σ²) ‖ N(0, 1)), in nats; s = log σ².

    For one variable, with E over N(μ, σ²),
    KL = E[log N(z; μ, σ²) - log N(z; 0, 1)]
       = ½ E[z² - (z - μ)²/σ² - s] = ½ (μ² + σ² - 1 - s),
    and a row's variables are independent, so theirs add up.
    Source: arXiv:1312.6114, appendix B.
    """

    def forward(self, ctx: Context, mean: Array, log_variance: Array) -> Array:
        excess = np.expm1(log_variance)  # σ² - 1, exact where σ is nearly 1
        rows = mean.size // mean.shape[-1]
        ctx.save(mean=mean, excess=excess, rows=rows)
        return (mean * mean + (excess - log_variance)).sum() / (2 * rows)

    # ∂L/∂μ = μ / rows, and ∂L/∂s = ½ (σ² - 1) / rows.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        gmean = gy / ctx.rows * ctx.mean if ctx.needs[0] else None
        glog = gy / (2 * ctx.rows) * ctx.excess if ctx.needs[1] else None
        return gmean, glog


def gaussian_kl(mean: Operand, log_variance: Operand) -> Tensor:
    """Divergence, in nats, of N(mean, exp(log_variance)) from N(0, 1).

    mean, log_variance  (..., Z): summed over the last axis, the mean over all rows
    """
    mean, log_variance = same_shape("gaussian_kl", mean, log_variance)
    if mean.ndim < 1:
        raise ShapeError(f"gaussian_kl: needs parameters (..., Z), got {mean.shape}")
    return apply(GaussianKL(), mean, log_variance)
