"""The usual networks, by name."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from tinyvq import nn
from tinyvq.errors import ConfigError
from tinyvq.models import _vqgan
from tinyvq.models._vqvae import VQVAE
from tinyvq.quantizers import Quantizer, SoftQuantizer, VectorQuantizer
from tinyvq.rng import Stream

QuantizerName = Literal["ema", "gradient", "soft"]

# What hard quantizers learn fastest with, by the validation split of Fashion-MNIST (see
# benchmarks/README.md). On 2,000 steps a commitment of 2.0 is better than less, and so
# is a memory of ten batches with restarts below a fifth of the average. (The paper's
# β = 0.25 is of another scale, see `VQLoss`; it finds no change from 0.1 to 2.0.)
TUNED = {"commitment": 2.0, "decay": 0.9, "restart_below": 0.2}


def conv(
    *,
    channels: int = 3,
    image_size: tuple[int, int] | None = None,
    hidden: int = 128,
    residual_hidden: int = 32,
    residual_blocks: int = 2,
    code_dim: int = 64,
    num_codes: int = 512,
    pixel_variance: float = 1.0,
    seed: int = 0,
    quantizer: QuantizerName = "ema",
    **settings: Any,
) -> VQVAE:
    """Build DeepMind's convolutional VQ-VAE; images shrink by 4 in each direction.

    Takes images of any size that divides by 4. As in the example that accompanies
    arXiv:1711.00937 (the Sonnet library, `vqvae_example.ipynb`). Further settings go to
    the quantizer.
    """
    if image_size is not None:
        check_divides(image_size, 4)
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
    decoder = nn.Sequential(
        nn.Conv2d(code_dim, hidden, 3, padding=1, rng=rng),
        *residual_stack(),
        nn.ConvTranspose2d(hidden, half, 4, stride=2, padding=1, rng=rng),
        nn.ReLU(),
        nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1, rng=rng),
    )
    codes = make_quantizer(quantizer, num_codes, code_dim, seed, **settings)
    return VQVAE(encoder, codes, decoder, pixel_variance=pixel_variance, divides_by=4)


def dense(
    *,
    channels: int = 1,
    image_size: tuple[int, int] | None = (28, 28),
    hidden: int = 32,
    code_dim: int = 20,
    num_codes: int = 10,
    pixel_variance: float = 1.0,
    seed: int = 0,
    quantizer: QuantizerName = "ema",
    **settings: Any,
) -> VQVAE:
    """Build the textbooks' smallest VQ-VAE: one code per image.

    A dense encoder, 784 -> 20 for images of 28×28; a codebook of 10 vectors; a decoder
    from 20 to 28×28 with transposed convolutions. M codes can make only M different
    pictures, so this model is to be looked at, not used.
    """
    height, width = image_size or (28, 28)
    check_divides((height, width), 4)
    rng = Stream(seed, "weights")
    encoder = nn.Sequential(
        nn.Reshape(height * width * channels),  # (N, H·W·C)
        nn.Linear(height * width * channels, code_dim, rng=rng),
        nn.Reshape(1, 1, code_dim),  # (N, 1, 1, D): a grid of one position
    )
    decoder = nn.Sequential(
        nn.Reshape(code_dim),  # (N, D)
        nn.Linear(code_dim, height // 4 * (width // 4) * hidden, rng=rng),
        nn.ReLU(),
        nn.Reshape(height // 4, width // 4, hidden),  # (N, H/4, W/4, hidden)
        nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1, rng=rng),
        nn.ReLU(),
        nn.ConvTranspose2d(hidden // 2, channels, 4, stride=2, padding=1, rng=rng),
    )
    codes = make_quantizer(quantizer, num_codes, code_dim, seed, **settings)
    return VQVAE(encoder, codes, decoder, pixel_variance=pixel_variance, divides_by=4)


def small(
    *,
    channels: int = 3,
    image_size: tuple[int, int] | None = None,
    hidden: int = 32,
    multipliers: Sequence[int] = (1, 2, 4),
    blocks: tuple[int, int] = (1, 1),
    attention_at: Sequence[int] = (),
    code_dim: int = 64,
    num_codes: int = 512,
    pixel_variance: float = 1.0,
    seed: int = 0,
    quantizer: QuantizerName = "ema",
    **settings: Any,
) -> VQVAE:
    """Build a VQ-GAN's generator that trains on two CPU cores.

    Residual blocks with group norm and SiLU, attention at the smallest size; images
    shrink by 2 at each level but the last, so by 4 here.

    multipliers   of `hidden`, one a level
    blocks        residual blocks per level, of the encoder and of the decoder
    attention_at  levels with attention, beside the one in the middle
    Further settings go to the quantizer.
    """
    factor = 2 ** (len(multipliers) - 1)
    if image_size is not None:
        check_divides(image_size, factor)

    shape: dict[str, Any] = {
        "hidden": hidden,
        "multipliers": multipliers,
        "attention_at": attention_at,
        "rng": Stream(seed, "weights"),
    }
    return VQVAE(
        _vqgan.encoder(channels, code_dim, blocks=blocks[0], **shape),
        make_quantizer(quantizer, num_codes, code_dim, seed, **settings),
        _vqgan.decoder(channels, code_dim, blocks=blocks[1], **shape),
        pixel_variance=pixel_variance,
        divides_by=factor,
    )


def f16(**settings: Any) -> VQVAE:
    """Build the paper's VQ-GAN that shrinks images by 16: 256×256 to 16×16 codes.

    128 channels at full size, 1, 1, 2, 2 and 4 times as many from level to level, two
    residual blocks per level and three on the way back, attention at the smallest size,
    codes of 256 values.
    """
    paper: dict[str, Any] = {
        "hidden": 128,
        "multipliers": (1, 1, 2, 2, 4),
        "blocks": (2, 3),
        "attention_at": (4,),
        "code_dim": 256,
        "num_codes": 1024,
    }
    return small(**{**paper, **settings})


def make_quantizer(
    name: QuantizerName, num_codes: int, code_dim: int, seed: int, **settings: Any
) -> Quantizer:
    """Make a quantizer by name: "ema", "gradient" or "soft"; settings are its own."""
    rng = Stream(seed, "quantizer")
    if name == "soft":
        return SoftQuantizer(num_codes, code_dim, rng=rng, **settings)
    if name not in ("ema", "gradient"):
        raise ConfigError(f"no quantizer {name!r}; there is: ema, gradient, soft")
    return VectorQuantizer(
        num_codes, code_dim, learn=name, rng=rng, **{**TUNED, **settings}
    )


PRESETS: dict[str, Callable[..., VQVAE]] = {
    "conv": conv,
    "dense": dense,
    "small": small,
    "f16": f16,
}


def build(name: str, **settings: Any) -> VQVAE:
    """Build the preset of that name."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; there is: {', '.join(PRESETS)}")
    return PRESETS[name](**settings)


def check_divides(image_size: tuple[int, int], by: int) -> None:
    height, width = image_size
    if height % by or width % by or min(image_size) < by:
        raise ConfigError(
            f"images are {height}×{width} pixels, but the network needs sizes that "
            f"divide by {by}; choose one with --image-size"
        )
