"""NoiseVQGAN: images from noise, through a codebook."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq import ops
from tinyvq.errors import ShapeError
from tinyvq.models._presets import conv
from tinyvq.nn import Linear, Module
from tinyvq.quantizers import QuantizerStats
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor


@dataclass(frozen=True)
class NoiseOutput:
    """The result of a NoiseVQGAN's forward.

    images           (N,H,W,C) in [-0.5, 0.5]
    quantizer_loss   what the quantizer adds to the generator's loss
    stats            for `model.quantizer.update`, and for the log
    """

    images: Tensor
    quantizer_loss: Tensor
    stats: QuantizerStats


class NoiseVQGAN(Module):
    """Noise (N,Z) -> dense -> grid (N,P,Q,D) -> nearest codes -> decoder -> images.

    The textbooks' generator that needs no images to start from. What it can draw is
    what grids of M codes decode to; a discriminator's gradient reaches the dense layer
    through the codebook. Decoder and quantizer are those of the preset `conv`, whose
    settings it takes.
    """

    def __init__(
        self,
        *,
        image_size: tuple[int, int],
        channels: int = 1,
        noise_dim: int = 100,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        whole = conv(image_size=image_size, channels=channels, seed=seed, **settings)
        self.noise_dim = noise_dim
        self.grid = (image_size[0] // 4, image_size[1] // 4)
        self.quantizer = whole.quantizer
        p, q = self.grid
        self.dense = Linear(
            noise_dim, p * q * self.quantizer.code_dim, rng=Stream(seed, "dense")
        )
        self.decoder = whole.decoder

    def __call__(self, noise: Tensor) -> NoiseOutput:
        """Make an image of each row of noise (N, noise_dim), standard normal."""
        if noise.ndim != 2 or noise.shape[1] != self.noise_dim:
            raise ShapeError(
                f"NoiseVQGAN: needs noise (N,{self.noise_dim}), got {noise.shape}"
            )
        p, q = self.grid
        grid = ops.reshape(self.dense(noise), -1, p, q, self.quantizer.code_dim)
        found = self.quantizer(grid)
        images = ops.tanh(self.decoder(found.quantized)) * 0.5  # (N,H,W,C)
        return NoiseOutput(images, found.loss, found.stats)

    def noise(self, count: int, stream: Stream) -> Tensor:
        """Draw noise (count, noise_dim)."""
        return Tensor.wrap(stream.normal((count, self.noise_dim), np.float32))
