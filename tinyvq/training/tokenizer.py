"""What a VQ-VAE and a VQ-GAN have in common: images in, a tokenizer trained."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from tinyvq import data
from tinyvq.data import ImageData
from tinyvq.errors import ConfigError, DataError
from tinyvq.function import Array
from tinyvq.models import TUNED, VQVAE, QuantizerName, VQVAEOutput
from tinyvq.optim import Betas
from tinyvq.training.batches import Images
from tinyvq.training.codebook_use import CollapseWatch, use_of_codes
from tinyvq.training.evaluation import evaluate
from tinyvq.training.image_task import ImageTask
from tinyvq.training.measures import Measure, Measures
from tinyvq.training.options import ImageOptions

COUNTED = 2**20  # pixels at once, for their variance
_SIZES = ("hidden", "num_codes", "code_dim")  # a preset has its own by default
_HARD = ("commitment", "decay", "restart_below", "normalize", "estimator")
_SETTINGS = {"ema": _HARD, "gradient": _HARD, "soft": ("temperature", "kl_weight")}


@dataclass(frozen=True)
class TokenizerOptions(ImageOptions):
    """What the user chooses of a tokenizer: network, quantizer."""

    model: Literal["conv", "dense", "small", "f16"] = "conv"
    """The network: conv, DeepMind's; dense, the textbooks' smallest, one code per
    image; small and f16, VQ-GAN's of residual blocks and attention."""
    hidden: int | None = None
    """Channels of the hidden layers; by default the model's (conv 128, small 32)."""
    num_codes: int | None = None
    """Codes in the codebook; by default the model's (conv 512, dense 10)."""
    code_dim: int | None = None
    """Width of a code; by default the model's (conv 64, dense 20)."""
    quantizer: QuantizerName = "ema"
    """ema: codes are running means of their vectors. gradient: codes follow the
    codebook loss. soft: in training a softmax-weighted mixture of codes."""
    commitment: float = TUNED["commitment"]
    """Weight of the commitment loss (ema, gradient)."""
    decay: float = TUNED["decay"]
    """Of the running means of the codes (ema, gradient)."""
    restart_below: float = TUNED["restart_below"]
    """Codes chosen less often than this share of the average are placed anew (ema,
    gradient)."""
    normalize: bool = False
    """Vectors and codes of length 1: the nearest code is the one of the most similar
    direction (ema, gradient)."""
    estimator: Literal["straight_through", "rotation"] = "straight_through"
    """How the decoder's gradient passes the codebook (ema, gradient)."""
    temperature: float = 1.0
    """Of the softmax over codes (soft)."""
    kl_weight: float = 0.0
    """Weight of the divergence of the assignment from uniform (soft)."""

    LEAST: ClassVar[dict[str, float]] = {
        **ImageOptions.LEAST,
        **dict.fromkeys(_SIZES, 1),
    }


def load_images(options: ImageOptions) -> ImageData:
    """Load the data of a run and check that the network can take it."""
    images = data.load(
        options.data, image_size=options.image_size, channels=options.channels
    )
    images.split("val")  # raises where it is empty
    available = len(images.split("train"))
    if options.batch_size > available:
        raise ConfigError(
            f"--batch-size {options.batch_size} is more than the {available} training "
            f"images of {options.data}"
        )
    return images


def facts_of(images: ImageData) -> dict[str, Any]:
    """Find out what the run needs to know of its data, for config.json."""
    variance = _variance(images.split("train").images)
    if variance == 0:
        raise DataError(f"{images.source}: all training pixels are alike")
    return {
        "data_source": images.source,
        "data_digest": images.digest(),
        "image_shape": list(images.image_shape),
        "images": {name: len(split.images) for name, split in images.splits.items()},
        "pixel_variance": variance,
    }


def _variance(images: Images) -> float:
    """Compute the variance of all pixels, scaled to [0, 1], from how often each is."""
    pixels = images.reshape(-1)
    counts = np.zeros(256, np.int64)
    for first in range(0, len(pixels), COUNTED):
        counts += np.bincount(pixels[first : first + COUNTED], minlength=256)
    # In whole numbers, which do not round: the mean of squares less that of the mean.
    each = list(enumerate(counts.tolist()))
    total = sum(count * value for value, count in each)
    squares = sum(count * value**2 for value, count in each)
    n = len(pixels)
    return float((n * squares - total**2) / (255 * n) ** 2)


def build(options: TokenizerOptions, facts: Mapping[str, Any]) -> VQVAE:
    """Build the model that a run's options and facts describe."""
    height, width, channels = facts["image_shape"]
    sizes = {name: getattr(options, name) for name in _SIZES}
    return VQVAE.preset(
        options.model,
        channels=channels,
        image_size=(height, width),
        quantizer=options.quantizer,
        pixel_variance=facts["pixel_variance"],
        seed=options.seed,
        **{name: size for name, size in sizes.items() if size is not None},
        **{name: getattr(options, name) for name in _SETTINGS[options.quantizer]},
    )


class TokenizerTask(ImageTask):
    """What each step of a tokenizer's training shares; see `loop.Task`."""

    betas: Betas = (0.9, 0.999)
    options: TokenizerOptions
    model: VQVAE
    output: VQVAEOutput

    def __init__(
        self, options: TokenizerOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        super().__init__(options, images, build(options, facts), self.betas)
        self._watch = CollapseWatch()

    def update(self, key: Hashable = None) -> Measures:
        """Move the weights, then the codebook by what the batch chose.

        key  the key of the backward pass, whose gradients these are
        """
        self.optimizer.count()
        dead = self.move(key)
        stats, quantizer = self.output.stats, self.model.quantizer
        update = quantizer.settle(stats, dead)
        for codebook in quantizer.trained_codebook():
            self.optimizer.reset_rows(codebook, update.moved)
        return use_of_codes(stats) | Measures(codes_restarted=len(update.restarted))

    def _move(self) -> Array | None:
        super()._move()
        return self.model.quantizer.average(self.output.stats)

    def nmse(self, output: VQVAEOutput) -> Measure:
        """Measure a batch's squared error over the variance of the training pixels."""
        return lambda: output.reconstruction_mse / self.model.pixel_variance

    def validate(self) -> dict[str, float]:
        """Measure the model on the validation split, or on a glance of it."""
        found = evaluate(self.model, self.glance())
        used, total = found.codes_used, found.codes_total
        self._watch.look(used, total, self._remedy(), found.positions)
        return {
            "val_nmse": found.nmse,
            "val_perplexity": found.perplexity,
            "val_codes_used": found.codes_used,
        }

    def _remedy(self) -> str:
        """Say what helps against a codebook that collapses."""
        if self.options.quantizer == "soft":
            return "A --kl-weight above 0 draws the assignment towards even use"
        if self.options.restart_below == 0:
            share = TUNED["restart_below"]
            return f"--restart-below {share} places codes anew that are hardly chosen"
        return "A higher --restart-below or a lower --lr may help"
