"""Train what makes images from noise: a GAN, or with a codebook a noise-driven VQ-GAN.

A GAN's step is the generator's, then the discriminator's on what it made. The codebook
adds a loss to the first, and a move of its own after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tinyvq.backends import Place
from tinyvq.data import ImageData
from tinyvq.function import Array
from tinyvq.losses import AdversarialName
from tinyvq.models import GAN, Generator, NoiseOutput, NoiseVQGAN
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, grad
from tinyvq.training.adversary import (
    Adversary,
    AdversaryOptions,
    carry_back,
    to_be_judged,
)
from tinyvq.training.codebook_use import CollapseWatch, use_of_codes
from tinyvq.training.guard import in_double
from tinyvq.training.image_task import ImageTask
from tinyvq.training.measures import Measures
from tinyvq.training.noise_evaluation import evaluate_codes
from tinyvq.training.options import ImageOptions
from tinyvq.training.state import Stateful

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


class GANTask(ImageTask):
    """One step after another of a GAN; see `loop.Task`."""

    options: GANOptions
    model: Generator

    def __init__(
        self, options: GANOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        super().__init__(options, images, build_generator(options, facts), BETAS)
        self.adversary = Adversary(options, facts, BETAS)
        self.drawn = Place(options.backend)

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        return {**super().parts(), **self.adversary.parts()}

    def noise(self, step: int) -> Tensor:
        """Draw the noise (N,Z) of a step."""
        stream = Stream(self.options.seed, "noise to train", step)
        noise = self.model.noise(self.options.batch_size, stream)
        return Tensor.wrap(self.drawn.fill(noise.array))

    def step(self, step: int) -> Measures:
        """Do the generator's step, then the discriminator's on what it made."""
        originals, noise = self.batch(step), self.noise(step)
        measures = self._generator_step(step, originals, noise)
        return measures | self.adversary.step(step, originals, self.made)

    def _generator_step(self, step: int, originals: Tensor, noise: Tensor) -> Measures:
        """Move the generator, and nothing of the discriminator."""
        self._inputs = originals, noise
        self.optimizer.lr = self.options.rate(step, self.options.lr)
        loss, norm, (self.made, self.output) = self.backward(ahead=self.feed.prepare)
        self.optimizer.count()
        self.dead = self.move()
        return Measures(loss=loss, gradient_norm=norm, lr=self.optimizer.lr)

    def _differentiate(self) -> tuple[Array, tuple[Tensor, NoiseOutput | None]]:
        originals, noise = self._inputs
        made, output = self._make(noise)
        losses = () if output is None else (output.quantizer_loss,)
        copy = to_be_judged(made)
        verdict = self.adversary.verdict(copy, originals)
        (push,) = grad(verdict, [copy])
        carry_back(made, push.array, *losses)
        total = sum((in_double(loss) for loss in losses), in_double(verdict))
        return total, (made, output)

    def _make(self, noise: Tensor) -> tuple[Tensor, NoiseOutput | None]:
        """Make images (N,H,W,C) of noise; beside them, what else a codebook gives."""
        return self.model.generate(noise), None

    def validate(self) -> dict[str, float]:
        """Measure nothing: what is made has no original to be held against."""
        return {}


class NoiseTask(GANTask):
    """One step after another of a noise-driven VQ-GAN; see `loop.Task`."""

    options: NoiseOptions
    model: NoiseVQGAN
    output: NoiseOutput

    def __init__(
        self, options: NoiseOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        super().__init__(options, images, facts)
        self._watch = CollapseWatch()

    def _make(self, noise: Tensor) -> tuple[Tensor, NoiseOutput | None]:
        output = self.model(noise)
        return output.images, output

    def _move(self) -> Array | None:
        super()._move()
        return self.model.quantizer.average(self.output.stats)

    def _generator_step(self, step: int, originals: Tensor, noise: Tensor) -> Measures:
        """Move the generator, then the codebook by what the noise chose."""
        measures = super()._generator_step(step, originals, noise)
        stats = self.output.stats
        self.model.quantizer.settle(stats, self.dead)
        return (
            measures
            | use_of_codes(stats)
            | Measures(quantizer_loss=self.output.quantizer_loss.item)
        )

    def validate(self) -> dict[str, float]:
        """Measure how the codebook is used by what is drawn."""
        found = evaluate_codes(self.model)
        remedy = "A higher --commitment or a lower --lr may help"
        used, total = found.codes_used, found.codes_total
        self._watch.look(used, total, remedy, found.positions)
        return {"val_perplexity": found.perplexity, "val_codes_used": found.codes_used}
