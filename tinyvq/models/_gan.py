"""GAN and NoiseVQGAN: images from noise, straight or through a codebook."""

from dataclasses import dataclass
from typing import Any

from tinyvq import ops
from tinyvq.models._discriminators import draw_normal
from tinyvq.models._generator import Generator
from tinyvq.models._presets import QuantizerName, check_divides, make_quantizer
from tinyvq.nn import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Linear,
    ReLU,
    Reshape,
    Sequential,
)
from tinyvq.quantizers import QuantizerStats
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor


class GAN(Generator):
    """Noise (N,Z) -> dense -> grid (N,P,Q,D) -> decoder -> images (N,H,W,C).

    DCGAN's generator (Radford et al., arXiv:1511.06434): transposed convolutions, batch
    norm after each layer but the last, the decoder's first weights from N(0, 0.02²).
    Without batch norm all noise soon makes the same image. It is the one of
    `NoiseVQGAN` without the codebook, weight for weight.

    image_size  (H, W), multiples of 4: the grid is H/4 × W/4
    hidden      channels of the decoder at half size; it has twice as many at the grid
    code_dim    D, the width of the grid
    """

    def __init__(
        self,
        *,
        image_size: tuple[int, int],
        channels: int = 1,
        noise_dim: int = 100,
        hidden: int = 64,
        code_dim: int = 64,
        seed: int = 0,
    ) -> None:
        check_divides(image_size, 4)
        rng = Stream(seed, "weights")
        self.noise_dim = noise_dim
        self.dense = dense(noise_dim, image_size, code_dim, rng)
        self.decoder = decoder(code_dim, hidden, channels, rng)

    def generate(self, noise: Tensor) -> Tensor:
        """Make an image of each row of noise (N, noise_dim), in [-0.5, 0.5]."""
        self.check_noise(noise)
        return paint(self.decoder, self.dense(noise))


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


class NoiseVQGAN(GAN):
    """Noise (N,Z) -> dense -> grid (N,P,Q,D) -> nearest codes -> decoder -> images.

    The textbooks' generator that needs no images to start from: a `GAN` with a codebook
    between grid and decoder. What it can draw is what grids of M codes decode to; a
    discriminator's gradient reaches the dense layer straight through the codebook.
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
        super().__init__(
            image_size=image_size,
            channels=channels,
            noise_dim=noise_dim,
            hidden=hidden,
            code_dim=code_dim,
            seed=seed,
        )
        self.quantizer = make_quantizer(
            quantizer, num_codes, code_dim, seed, **settings
        )

    def __call__(self, noise: Tensor) -> NoiseOutput:
        """Make an image of each row of noise (N, noise_dim), standard normal."""
        self.check_noise(noise)
        found = self.quantizer(self.dense(noise))
        images = paint(self.decoder, found.quantized)
        return NoiseOutput(images, found.loss, found.stats)

    def generate(self, noise: Tensor) -> Tensor:
        """Make an image of each row of noise (N, noise_dim), in [-0.5, 0.5]."""
        return self(noise).images


def dense(
    noise_dim: int, image_size: tuple[int, int], code_dim: int, rng: Stream
) -> Sequential:
    """Build noise (N, noise_dim) -> grid (N, H/4, W/4, code_dim)."""
    p, q = image_size[0] // 4, image_size[1] // 4
    return Sequential(
        Linear(noise_dim, p * q * code_dim, rng=rng),
        Reshape(p, q, code_dim),
        BatchNorm2d(code_dim),
    )


def decoder(code_dim: int, hidden: int, channels: int, rng: Stream) -> Sequential:
    """Build grid (N,P,Q,code_dim) -> (N,4P,4Q,channels), before the last tanh."""
    layers = Sequential(  # batch norm would take a bias away again
        Conv2d(code_dim, 2 * hidden, 3, padding=1, bias=False, rng=rng),
        BatchNorm2d(2 * hidden),
        ReLU(),
        ConvTranspose2d(
            2 * hidden, hidden, 4, stride=2, padding=1, bias=False, rng=rng
        ),
        BatchNorm2d(hidden),
        ReLU(),
        ConvTranspose2d(hidden, channels, 4, stride=2, padding=1, rng=rng),
    )
    draw_normal(layers, rng)
    return layers


def paint(layers: Sequential, grid: Tensor) -> Tensor:
    """Decode a grid (N,P,Q,D) to images (N,H,W,C) in [-0.5, 0.5]."""
    return ops.tanh(layers(grid)) * 0.5
