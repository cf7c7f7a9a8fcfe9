"""The usual networks, by name."""

from typing import Any

from tinyvq import nn
from tinyvq.errors import ConfigError
from tinyvq.models._vqvae import VQVAE
from tinyvq.quantizers import VectorQuantizer
from tinyvq.rng import Stream


def conv(
    *,
    channels: int = 3,
    hidden: int = 128,
    residual_hidden: int = 32,
    residual_blocks: int = 2,
    code_dim: int = 64,
    num_codes: int = 512,
    pixel_variance: float = 1.0,
    seed: int = 0,
    **quantizer: Any,
) -> VQVAE:
    """Build DeepMind's convolutional VQ-VAE; images shrink by 4 in each direction.

    As in the example that accompanies arXiv:1711.00937 (the Sonnet library,
    `vqvae_example.ipynb`). Further settings go to the VectorQuantizer.
    """
    rng = Stream(seed, "weights")

    def residual_stack() -> list[nn.Layer]:
        blocks: list[nn.Layer] = [
            nn.Residual(
                nn.ReLU(),
                nn.Conv2d(hidden, residual_hidden, 3, padding=1, rng=rng),
                nn.ReLU(),
                nn.Conv2d(residual_hidden, hidden, 1, rng=rng),
            )
            for _ in range(residual_blocks)
        ]
        return [*blocks, nn.ReLU()]

    half = hidden // 2
    encoder = nn.Sequential(
        nn.Conv2d(channels, half, 4, stride=2, padding=1, rng=rng),
        nn.ReLU(),
        nn.Conv2d(half, hidden, 4, stride=2, padding=1, rng=rng),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, padding=1, rng=rng),
        *residual_stack(),
        nn.Conv2d(hidden, code_dim, 1, rng=rng),
    )
    codes = VectorQuantizer(
        num_codes, code_dim, rng=Stream(seed, "quantizer"), **quantizer
    )
    decoder = nn.Sequential(
        nn.Conv2d(code_dim, hidden, 3, padding=1, rng=rng),
        *residual_stack(),
        nn.ConvTranspose2d(hidden, half, 4, stride=2, padding=1, rng=rng),
        nn.ReLU(),
        nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1, rng=rng),
    )
    return VQVAE(encoder, codes, decoder, pixel_variance=pixel_variance)


PRESETS = {"conv": conv}


def build(name: str, **settings: Any) -> VQVAE:
    """Build the preset of that name."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; there is: {', '.join(PRESETS)}")
    return PRESETS[name](**settings)
