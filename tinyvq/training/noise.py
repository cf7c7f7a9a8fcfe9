"""Train the noise-driven VQ-GAN: its options, and one step of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tinyvq.data import ImageData
from tinyvq.function import Array
from tinyvq.losses import AdversarialName
from tinyvq.models import NoiseVQGAN
from tinyvq.optim import Adam
from tinyvq.rng import Stream
from tinyvq.tensor import grad
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
class NoiseOptions(AdversaryOptions, ImageOptions):
    """What the user chooses of a noise-driven VQ-GAN."""

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
    num_codes: int = 256
    """Codes in the codebook."""
    code_dim: int = 32
    """Width of a code."""
    commitment: float = 0.25
    """Weight of the commitment loss."""
    adversarial: AdversarialName = "bce"
    """The loss of the two sides."""
    discriminator: Literal["patch", "plain"] = "plain"
    """patch: PatchGAN, a verdict on each part of an image. plain: convolutions and one
    verdict on the whole."""

    LEAST: ClassVar[dict[str, float]] = {
        **AdversaryOptions.LEAST,
        **ImageOptions.LEAST,
        **dict.fromkeys(("noise_dim", "hidden", "num_codes", "code_dim"), 1),
        "commitment": 0,
    }


def build_generator(options: NoiseOptions, facts: Mapping[str, Any]) -> NoiseVQGAN:
    """Build the generator that a run's options and facts describe."""
    height, width, channels = facts["image_shape"]
    return NoiseVQGAN(
        image_size=(height, width),
        channels=channels,
        noise_dim=options.noise_dim,
        hidden=options.hidden,
        num_codes=options.num_codes,
        code_dim=options.code_dim,
        commitment=options.commitment,
        seed=options.seed,
    )


class NoiseTask(Parted):
    """One step after another of a noise-driven VQ-GAN; see `loop.Task`."""

    def __init__(
        self, options: NoiseOptions, images: ImageData, facts: Mapping[str, Any]
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

    def step(self, step: int) -> Measures:
        """Do the generator's step, then the discriminator's on what it made."""
        options, model = self.options, self.model
        originals = batch_of(self.images, options, step)
        self.optimizer.lr = options.rate(step, options.lr)
        stream = Stream(options.seed, "noise to train", step)
        noise = model.noise(options.batch_size, stream).to(options.backend)

        def differentiate() -> Array:
            self.output = model(noise)
            made = to_be_judged(self.output.images)
            verdict = self.adversary.verdict(made, originals)
            (push,) = grad(verdict, [made])
            carry_back(self.output.images, push.array, self.output.quantizer_loss)
            return in_double(verdict) + in_double(self.output.quantizer_loss)

        loss, norm = guarded_backward(differentiate, model)
        self.optimizer.step()
        output = self.output
        model.quantizer.update(output.stats)
        return (
            Measures(loss=loss)
            | use_of_codes(output.stats)
            | Measures(quantizer_loss=output.quantizer_loss.item)
            | self.adversary.step(step, originals, output.images)
            | Measures(gradient_norm=norm, lr=self.optimizer.lr)
        )

    def validate(self) -> dict[str, float]:
        """Measure nothing: what is made has no original to be held against."""
        return {}
