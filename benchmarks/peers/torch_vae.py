"""The VAE between the halves of a VQ-VAE, and its loss, in plain PyTorch.

What tinyvq is held against. The draw is `rsample`'s formula with the noise handed in,
the divergence that of `torch.distributions`, gradients all autograd's. Images are
(N,C,H,W) here.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence


class TorchVAEOutput(NamedTuple):
    loss: torch.Tensor
    mse: torch.Tensor
    kl: torch.Tensor


class TorchVAE(nn.Module):
    """Encoder (N,C,H,W) -> (N,D,P,Q), linear layers, decoder back.

    grid, latent_dim, beta, pixel_variance   as of `tinyvq.models.VAE`
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        grid: tuple[int, int, int],
        latent_dim: int,
        beta: float,
        pixel_variance: float,
    ) -> None:
        super().__init__()
        p, q, d = self.grid = grid
        self.beta, self.pixel_variance = beta, pixel_variance
        self.encoder = encoder
        self.to_mean = nn.Linear(p * q * d, latent_dim)
        self.to_log_variance = nn.Linear(p * q * d, latent_dim)
        self.from_latent = nn.Linear(latent_dim, p * q * d)
        self.decoder = decoder

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> TorchVAEOutput:
        rows = self.encoder(x).permute(0, 2, 3, 1).flatten(1)
        scale = (self.to_log_variance(rows) / 2).exp()
        latents = Normal(self.to_mean(rows), scale)
        z = latents.loc + latents.scale * noise
        grid = self.from_latent(z).unflatten(1, self.grid).permute(0, 3, 1, 2)
        mse = F.mse_loss(self.decoder(grid), x)
        prior = Normal(torch.zeros_like(z), torch.ones_like(z))
        kl = kl_divergence(latents, prior).sum(1).mean()
        weight = 2 * self.beta / x[0].numel()
        return TorchVAEOutput(mse / self.pixel_variance + weight * kl, mse, kl)
