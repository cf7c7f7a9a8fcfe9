"""NoiseVQGAN: images from noise, through a codebook."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq import ops
from tinyvq.errors import ShapeError
from tinyvq.models._discriminators import draw_normal
from tinyvq.models._presets import QuantizerName, check_divides, make_quantizer
from tinyvq.nn import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Linear,
    Module,
    ReLU,
    Reshape,
    Sequential,
)
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
    straight through the codebook. Dense layer and decoder are DCGAN's (Radford et al.,
    arXiv:1511.06434): transposed convolutions, batch norm after each layer but the
    last, first weights from N(0, 0.02). Without batch norm all noise soon makes the
    same image.

    image_size  (H, W), multiples of 4: the grid is H/4 × W/4
    hidden      channels of the decoder at half size; it has twice as many at the grid
    Further settings go to the quantizer.
    """

    def __init__(
        self,
        *,
        image_size: tuple[int, int],
        channels: int = 1,
        noise_dim: int = 100,
        hidden: int = 64,
        code_dim: int = 64,
        num_codes: int = 512,
        seed: int = 0,
        quantizer: QuantizerName = "ema",
        **settings: Any,
    ) -> None:
        check_divides(image_size, 4)
        rng = Stream(seed, "weights")
        self.noise_dim = noise_dim
        self.grid = (image_size[0] // 4, image_size[1] // 4)
        p, q = self.grid
        self.dense = Sequential(
            Linear(noise_dim, p * q * code_dim, rng=rng),
            Reshape(p, q, code_dim),
            BatchNorm2d(code_dim),
        )
        self.quantizer = make_quantizer(
            quantizer, num_codes, code_dim, seed, **settings
        )
        self.decoder = Sequential(
            Conv2d(code_dim, 2 * hidden, 3, padding=1, bias=False, rng=rng),
            BatchNorm2d(2 * hidden),
            ReLU(),
            ConvTranspose2d(2 * hidden, hidden, 4, stride=2, padding=1, rng=rng),
            BatchNorm2d(hidden),
            ReLU(),
            ConvTranspose2d(hidden, channels, 4, stride=2, padding=1, rng=rng),
        )
        draw_normal(self.decoder, rng)

    def __call__(self, noise: Tensor) -> NoiseOutput:
        """Make an image of each row of noise (N, noise_dim), standard normal."""
        if noise.ndim != 2 or noise.shape[1] != self.noise_dim:
            raise ShapeError(
                f"NoiseVQGAN: needs noise (N,{self.noise_dim}), got {noise.shape}"
            )
        found = self.quantizer(self.dense(noise))
        images = ops.tanh(self.decoder(found.quantized)) * 0.5  # (N,H,W,C)
        return NoiseOutput(images, found.loss, found.stats)

    def noise(self, count: int, stream: Stream) -> Tensor:
        """Draw noise (count, noise_dim)."""
        return Tensor.wrap(stream.normal((count, self.noise_dim), np.float32))
