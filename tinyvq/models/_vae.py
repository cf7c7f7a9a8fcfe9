"""VAE: encoder, normal distribution, decoder."""

import math
from dataclasses import dataclass
from typing import Any

from tinyvq import ops
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.models._generator import Generator
from tinyvq.models._vqvae import VQVAE
from tinyvq.nn import Layer, Linear
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

# Of the networks for a VQ-VAE, those that have a grid to make one vector of.
VAE_PRESETS = ("conv", "small", "f16")
# By the validation split of Fashion-MNIST. At β = .08, near the share of the variance
# that is not reconstructed, new images were shreds; after 2,000 steps .5 and 1.0 made
# garments, and left an nmse of .103 and .119.
BETA = 0.5
LATENT_DIM = 32


@dataclass(frozen=True)
class VAEOutput:
    """The result of a VAE's forward.

    reconstruction      (N,H,W,C)
    loss                reconstruction term + weighted divergence
    mse                 mean squared error over all pixel values
    kl                  divergence from N(0, 1) in nats per image, the mean over images
    mean, log_variance  (N, noise_dim) of the distributions that z was drawn from
    """

    reconstruction: Tensor
    loss: Tensor
    mse: Tensor
    kl: Tensor
    mean: Tensor
    log_variance: Tensor


class VAE(Generator):
    """Images to normal distributions and back (Kingma and Welling, arXiv:1312.6114).

    encoder         (N,H,W,C) -> (N,P,Q,D), any module
    decoder         (N,P,Q,D) -> (N,H,W,C), any module
    grid            (P, Q, D); linear layers stand between it and the latents
    latent_dim      values of z, one vector per image
    beta            weight of the divergence, see below
    pixel_variance  of the training pixels; the reconstruction term is the mean squared
                    error over it, as a VQ-VAE's

    One vector per image, not a grid of them, because new images are decoded from
    z ~ N(0, 1): vectors of a grid would be drawn each on its own, without what they
    have to do with each other.

    The loss is L = mse / V + (2β/n) KL, V being the pixel variance and n the values of
    an image. Where the pixels of x are from N(reconstruction, σ²),

        -ELBO = n mse / (2σ²) + n/2 log(2πσ²) + KL,

    which is n/(2β) · L and a constant, for σ² = βV. So β says how much of the pixels'
    variance is left to chance. The ELBO, as a function of σ², is largest at σ² = mse,
    where β is the share of the variance that is not reconstructed: mse / V (Rybkin et
    al., arXiv:2006.13202, train with that). A larger β makes reconstructions softer and
    the encoder's distributions more like N(0, 1), from which new images are made.
    """

    def __init__(
        self,
        encoder: Layer,
        decoder: Layer,
        *,
        grid: tuple[int, int, int],
        latent_dim: int = LATENT_DIM,
        beta: float = BETA,
        pixel_variance: float = 1.0,
        rng: Stream | None = None,
    ) -> None:
        if not 0 < pixel_variance < math.inf:
            raise ConfigError(f"pixel_variance must be above 0, got {pixel_variance}")
        if not 0 <= beta < math.inf:
            raise ConfigError(f"beta must be at least 0, got {beta}")
        rng = rng or Stream.fresh()
        self.grid = grid
        self.noise_dim = latent_dim
        self.beta = beta
        self.pixel_variance = pixel_variance
        size = math.prod(grid)
        self.encoder = encoder
        self.to_mean = Linear(size, latent_dim, rng=rng)
        self.to_log_variance = Linear(size, latent_dim, rng=rng)
        self.from_latent = Linear(latent_dim, size, rng=rng)
        self.decoder = decoder

    @classmethod
    def preset(
        cls,
        name: str,
        *,
        image_size: tuple[int, int],
        channels: int = 3,
        grid_dim: int = 16,
        latent_dim: int = LATENT_DIM,
        beta: float = BETA,
        pixel_variance: float = 1.0,
        seed: int = 0,
        **settings: Any,
    ) -> "VAE":
        """Build one between the encoder and the decoder of a VQ-VAE of that name.

        They are, weight for weight, those of `VQVAE.preset` with that seed and with
        code_dim = grid_dim. Further settings go to them.
        """
        if name not in VAE_PRESETS:
            raise ConfigError(f"no preset {name!r}; there is: {', '.join(VAE_PRESETS)}")
        halves = VQVAE.preset(
            name,
            image_size=image_size,
            channels=channels,
            code_dim=grid_dim,
            num_codes=1,  # of a codebook that is left behind
            seed=seed,
            **settings,
        )
        height, width = (side // halves.divides_by for side in image_size)
        return cls(
            halves.encoder,
            halves.decoder,
            grid=(height, width, grid_dim),
            latent_dim=latent_dim,
            beta=beta,
            pixel_variance=pixel_variance,
            rng=Stream(seed, "latent weights"),
        )

    def __call__(self, x: Tensor, noise: Tensor | None = None) -> VAEOutput:
        """Encode, draw z, decode images x (N,H,W,C); values around [-0.5, 0.5].

        noise  (N, noise_dim), standard normal; without it the mean itself is decoded
        """
        mean, log_variance = self.encode(x)
        z = mean
        if noise is not None:
            z = ops.reparameterize(mean, log_variance, noise)
        reconstruction = self.generate(z)
        if reconstruction.shape != x.shape:
            raise ShapeError(
                f"the decoder makes {reconstruction.shape} of images {x.shape}"
            )
        mse = ops.mse_loss(reconstruction, x)
        kl = ops.gaussian_kl(mean, log_variance)
        values = x.size // x.shape[0]  # of an image
        return VAEOutput(
            reconstruction=reconstruction,
            loss=mse / self.pixel_variance + kl * (2 * self.beta / values),
            mse=mse,
            kl=kl,
            mean=mean,
            log_variance=log_variance,
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (N, noise_dim) of images x (N,H,W,C)."""
        grid = self.encoder(x)
        if grid.shape[1:] != self.grid:
            raise ShapeError(
                f"VAE: needs images that the encoder makes grids {self.grid} of, got "
                f"{x.shape}, which become {grid.shape}"
            )
        rows = ops.reshape(grid, x.shape[0], -1)
        return self.to_mean(rows), self.to_log_variance(rows)

    def generate(self, noise: Tensor) -> Tensor:
        """Decode latents (N, noise_dim), drawn from N(0, 1) for new images."""
        self.check_noise(noise)
        grid = ops.reshape(self.from_latent(noise), noise.shape[0], *self.grid)
        return self.decoder(grid)
