"""Train what makes images from noise: a GAN, or with a codebook a noise-driven VQ-GAN.

A GAN's step is the generator's, then the discriminator's on what it made. The codebook
adds a loss to the first, and a move of its own after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tinyvq.data import ImageData
from tinyvq.function import Array
from tinyvq.losses import AdversarialName
from tinyvq.models import GAN, Generator, NoiseOutput, NoiseVQGAN
from tinyvq.optim import Adam
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, grad
from tinyvq.training.adversary import (
    Adversary,
    AdversaryOptions,
    carry_back,
    to_be_judged,
)
from tinyvq.training.guard import guarded_backward, in_double
from tinyvq.training.measures import Measures
from tinyvq.training.options import ImageOptions
from tinyvq.training.state import Parted, Stateful
from tinyvq.training.tokenizer import batch_of, use_of_codes

BETAS = (0.5, 0.999)  # of both Adams, as in arXiv:1511.06434


@dataclass(frozen=True)
class GANOptions(AdversaryOptions, ImageOptions):
    """What the user chooses of a GAN."""

    steps: int = 4000
    """Training steps."""
    batch_size: int = 64
    """Images a step."""
    lr: float = 2e-4
    """Learning rate of the generator's Adam."""
    discriminator_lr: float = 2e-4
    """Learning rate of the discriminator's Adam."""
    discriminator_width: int = 64
    """Channels of its first layer."""
    noise_dim: int = 100
    """Values of noise an image is made of."""
    hidden: int = 64
    """Channels of the decoder at half the images' size."""
    code_dim: int = 32
    """Width of the grid between the dense layer and the decoder; of a code, if any."""
    adversarial: AdversarialName = "bce"
    """The loss of the two sides."""
    discriminator: Literal["patch", "plain"] = "plain"
    """patch: PatchGAN, a verdict on each part of an image. plain: convolutions and one
    verdict on the whole."""

    LEAST: ClassVar[dict[str, float]] = {
        **AdversaryOptions.LEAST,
        **ImageOptions.LEAST,
        **dict.fromkeys(("noise_dim", "hidden", "code_dim"), 1),
    }


@dataclass(frozen=True)
class NoiseOptions(GANOptions):
    """What the user chooses of a noise-driven VQ-GAN: a GAN's, and a codebook's."""

    num_codes: int = 256
    """Codes in the codebook."""
    commitment: float = 0.25
    """Weight of the commitment loss."""

    LEAST: ClassVar[dict[str, float]] = {
        **GANOptions.LEAST,
        "num_codes": 1,
        "commitment": 0,
    }


def build_generator(options: GANOptions, facts: Mapping[str, Any]) -> Generator:
    """Build the generator that a run's options and facts describe."""
    height, width, channels = facts["image_shape"]
    settings: dict[str, Any] = {
        "image_size": (height, width),
        "channels": channels,
        "noise_dim": options.noise_dim,
        "hidden": options.hidden,
        "code_dim": options.code_dim,
        "seed": options.seed,
    }
    if isinstance(options, NoiseOptions):
        settings["num_codes"] = options.num_codes
        settings["commitment"] = options.commitment
        return NoiseVQGAN(**settings)
    return GAN(**settings)


class GANTask(Parted):
    """One step after another of a GAN; see `loop.Task`."""

    def __init__(
        self, options: GANOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        self.options = options
        self.batch_size = options.batch_size
        self.images = images
        self.model = build_generator(options, facts).to(options.backend)
        self.adversary = Adversary(options, facts, BETAS)
        self.optimizer = Adam(self.model.parameters(), options.lr, BETAS)

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        return {
            "model": self.model,
            "adam": self.optimizer,
            **self.adversary.parts(),
        }

    def batch(self, step: int) -> Tensor:
        """Select the originals (N,H,W,C) of a step."""
        return batch_of(self.images, self.options, step)

    def noise(self, step: int) -> Tensor:
        """Draw the noise (N,Z) of a step."""
        stream = Stream(self.options.seed, "noise to train", step)
        noise = self.model.noise(self.options.batch_size, stream)
        return noise.to(self.options.backend)

    def step(self, step: int) -> Measures:
        """Do the generator's step, then the discriminator's on what it made."""
        originals, noise = self.batch(step), self.noise(step)
        measures = self._generator_step(step, originals, noise)
        return measures | self.adversary.step(step, originals, self.made)

    def _generator_step(self, step: int, originals: Tensor, noise: Tensor) -> Measures:
        """Move the generator, and nothing of the discriminator."""
        self.optimizer.lr = self.options.rate(step, self.options.lr)

        def differentiate() -> Array:
            self.made, *losses = self._make(noise)
            copy = to_be_judged(self.made)
            verdict = self.adversary.verdict(copy, originals)
            (push,) = grad(verdict, [copy])
            carry_back(self.made, push.array, *losses)
            return sum((in_double(loss) for loss in losses), in_double(verdict))

        loss, norm = guarded_backward(differentiate, self.model)
        self.optimizer.step()
        return Measures(loss=loss, gradient_norm=norm, lr=self.optimizer.lr)

    def _make(self, noise: Tensor) -> tuple[Tensor, ...]:
        """Make images (N,H,W,C) of noise; after them, losses of the generator's own."""
        return (self.model.generate(noise),)

    def validate(self) -> dict[str, float]:
        """Measure nothing: what is made has no original to be held against."""
        return {}


class NoiseTask(GANTask):
    """One step after another of a noise-driven VQ-GAN; see `loop.Task`."""

    model: NoiseVQGAN
    output: NoiseOutput

    def _make(self, noise: Tensor) -> tuple[Tensor, ...]:
        self.output = self.model(noise)
        return self.output.images, self.output.quantizer_loss

    def _generator_step(self, step: int, originals: Tensor, noise: Tensor) -> Measures:
        """Move the generator, then the codebook by what the noise chose."""
        measures = super()._generator_step(step, originals, noise)
        output = self.output
        self.model.quantizer.update(output.stats)
        return (
            measures
            | use_of_codes(output.stats)
            | Measures(quantizer_loss=output.quantizer_loss.item)
        )
