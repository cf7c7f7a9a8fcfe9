"""Adversarial losses on a discriminator's logits: who wants what, by name.

A discriminator gives high logits r to real images and low ones f to made images. Every
loss has two sides, and each falls as the verdict goes its owner's way: the
discriminator's as r rises and f falls, the generator's as f rises.

                    discriminator(r, f)                          generator(f)
    hinge           (mean max(0, 1-r) + mean max(0, 1+f)) / 2    -mean f
    non_saturating  (mean softplus(-r) + mean softplus(f)) / 2   mean softplus(-f)
    bce             -mean log σ(r) - mean log(1 - σ(f))          -mean log σ(f)
    least_squares   (mean (r-1)² + mean f²) / 2                  mean (f-1)² / 2

`bce` is the textbooks' form, with D(x) = σ(logit): G = -E log D(G(z)), D = -E log D(x)
- E log(1 - D(G(z))). As -log σ(x) = softplus(-x), `non_saturating` is the same but for
the half on the discriminator's side, which VQ-GAN's authors put before it, as before
the hinge: one learning rate then suits all.
Sources: Lim and Ye, arXiv:1705.02894 (hinge); Goodfellow et al., arXiv:1406.2661 (bce,
non-saturating); Mao et al., arXiv:1611.04076 (least squares); Esser et al.,
arXiv:2012.09841 (the halves).
"""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from tinyvq import ops
from tinyvq.errors import ConfigError
from tinyvq.losses._logits import check_logits
from tinyvq.tensor import Tensor

AdversarialName = Literal["hinge", "non_saturating", "bce", "least_squares"]


class AdversarialLoss(ABC):
    """Two sides of one loss, each a mean over all logits, of any shape.

    Logits that are empty raise ShapeError; of no float dtype, or of two, DTypeError.
    """

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the discriminator's loss: low where it tells real from fake."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Compute the generator's loss: low where its images pass for real."""


class Hinge(AdversarialLoss):
    """Verdicts beyond ±1 are right enough."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """(mean max(0, 1 - r) + mean max(0, 1 + f)) / 2."""
        check_logits("hinge", real, fake)
        return (ops.relu(1.0 - real).mean() + ops.relu(1.0 + fake).mean()) / 2.0

    def generator(self, fake: Tensor) -> Tensor:
        """-mean f."""
        check_logits("hinge", fake)
        return -fake.mean()


class NonSaturating(AdversarialLoss):
    """Cross entropy of the verdicts; it pushes G hardest where D sees through it."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """(mean softplus(-r) + mean softplus(f)) / 2."""
        check_logits("non_saturating", real, fake)
        return (ops.softplus(-real).mean() + ops.softplus(fake).mean()) / 2.0

    def generator(self, fake: Tensor) -> Tensor:
        """Mean softplus(-f)."""
        check_logits("non_saturating", fake)
        return ops.softplus(-fake).mean()


class BinaryCrossEntropy(AdversarialLoss):
    """The textbooks' words: -E log D(x) - E log(1 - D(G(z))), and -E log D(G(z))."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-mean log σ(r) - mean log(1 - σ(f))."""
        check_logits("bce", real, fake)
        ones, zeros = np.ones_like(real.array), np.zeros_like(fake.array)
        return ops.bce_with_logits(real, ones) + ops.bce_with_logits(fake, zeros)

    def generator(self, fake: Tensor) -> Tensor:
        """-mean log σ(f)."""
        check_logits("bce", fake)
        return ops.bce_with_logits(fake, np.ones_like(fake.array))


class LeastSquares(AdversarialLoss):
    """Logits are drawn to 1 and 0, from either side."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """(mean (r - 1)² + mean f²) / 2."""
        check_logits("least_squares", real, fake)
        return (((real - 1.0) ** 2).mean() + (fake**2).mean()) / 2.0

    def generator(self, fake: Tensor) -> Tensor:
        """Mean (f - 1)² / 2."""
        check_logits("least_squares", fake)
        return ((fake - 1.0) ** 2).mean() / 2.0


LOSSES: dict[AdversarialName, type[AdversarialLoss]] = {
    "hinge": Hinge,
    "non_saturating": NonSaturating,
    "bce": BinaryCrossEntropy,
    "least_squares": LeastSquares,
}


def adversarial_loss(name: AdversarialName) -> AdversarialLoss:
    """Make an adversarial loss by name."""
    if name not in LOSSES:
        raise ConfigError(
            f"no adversarial loss {name!r}; there is: {', '.join(LOSSES)}"
        )
    return LOSSES[name]()
