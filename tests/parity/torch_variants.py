"""What `benchmarks.peers` has not, in plain PyTorch: other quantizers, other networks.

Written from the papers, gradients all autograd's. Images are (N,C,H,W) here.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers.torch_gan import ToGrid, TorchGANStep, ToRow
from benchmarks.peers.torch_vqvae import TorchQuantizer, TorchVQVAE, kmeans, nearest
from tinyvq.rng import Stream

Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def rotated(e: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Turn vectors e (N,D) onto their codes q by matrices that are constants.

    arXiv:2410.06424, section 4.2: q̃ = (|q|/|e|) R e with
    R = I - 2 r rᵀ + 2 q̂ êᵀ, r = (ê + q̂) / |ê + q̂|; the gradient stops at |q|/|e| · R.
    """
    with torch.no_grad():
        e_unit, q_unit = F.normalize(e, dim=1), F.normalize(q, dim=1)
        r = F.normalize(e_unit + q_unit, dim=1)
        rotation = (
            torch.eye(e.shape[1], dtype=e.dtype)
            - 2 * r[:, :, None] * r[:, None, :]
            + 2 * q_unit[:, :, None] * e_unit[:, None, :]
        )  # (N, D, D)
        matrix = (q.norm(dim=1) / e.norm(dim=1))[:, None, None] * rotation
    return (matrix @ e[:, :, None]).squeeze(2)


class VariedQuantizer(TorchQuantizer):
    """With vectors and codes of length 1, or with the rotation trick, or both."""

    def __init__(self, *, normalize: bool, rotate: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self.normalize, self.rotate = normalize, rotate

    def forward(self, z: torch.Tensor) -> Found:
        vectors, table = z.reshape(-1, z.shape[-1]), self.codebook  # (N·P·Q, D), (M, D)
        if self.normalize:
            vectors, table = F.normalize(vectors, dim=1), F.normalize(table, dim=1)
        chosen = nearest(vectors, table)
        self.batch = (vectors.detach(), chosen)
        codes = table[chosen]
        loss = self.commitment * F.mse_loss(vectors, codes.detach())
        if self.learn == "gradient":
            loss = loss + F.mse_loss(codes, vectors.detach())
        if self.rotate:
            handed_on = rotated(vectors, codes.detach())
        else:
            handed_on = vectors + (codes - vectors).detach()
        return handed_on.reshape(z.shape), chosen.reshape(z.shape[:-1]), loss


class SoftTorchQuantizer(nn.Module):
    """All codes, weighed by softmax(-|z - e|² / temperature); arXiv:1704.00648."""

    def __init__(
        self,
        codebook: torch.Tensor,
        *,
        temperature: float,
        kl_weight: float,
        kmeans_start: bool,
        rng: Stream,
    ) -> None:
        super().__init__()
        self.codebook = nn.Parameter(codebook)
        self.temperature, self.kl_weight = temperature, kl_weight
        self.starts, self.rng = kmeans_start, rng

    def forward(self, z: torch.Tensor) -> Found:
        self.vectors = z.reshape(-1, z.shape[-1])  # (N·P·Q, D)
        apart = (self.vectors[:, None] - self.codebook).square().sum(2)  # (N·P·Q, M)
        logits = F.log_softmax(-apart / self.temperature, dim=1)
        weights = logits.exp()
        divergence = (weights * (logits + math.log(len(self.codebook)))).sum(1)
        loss = self.kl_weight * divergence.mean()
        mixed = weights @ self.codebook
        return mixed.reshape(z.shape), apart.argmin(1).reshape(z.shape[:-1]), loss

    @torch.no_grad()
    def update(self, optimizer: Any = None) -> None:
        """Place the codebook by k-means over the first batch."""
        if self.starts:
            vectors, count = self.vectors.detach(), len(self.codebook)
            self.codebook.copy_(kmeans(vectors, count, self.rng.child("k-means"))[0])
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[self.codebook][moment].zero_()
        self.starts = False


class TorchDense(TorchVQVAE):
    """The preset `dense`: one code per image."""

    def __init__(
        self,
        quantizer: nn.Module,
        *,
        size: tuple[int, int],
        channels: int,
        hidden: int,
        code_dim: int,
        pixel_variance: float,
    ) -> None:
        nn.Module.__init__(self)
        grid = (size[0] // 4, size[1] // 4, hidden)
        half = hidden // 2
        self.encoder = nn.Sequential(
            ToRow(),
            nn.Linear(size[0] * size[1] * channels, code_dim),
            nn.Unflatten(1, (code_dim, 1, 1)),
        )
        self.quantizer = quantizer
        self.decoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(code_dim, grid[0] * grid[1] * hidden),
            nn.ReLU(),
            ToGrid(grid),
            nn.ConvTranspose2d(hidden, half, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1),
        )
        self.pixel_variance = pixel_variance


class TorchNoiseVQGAN(nn.Module):
    """DCGAN's generator with a codebook at its grid."""

    def __init__(self, generator: nn.Sequential, quantizer: TorchQuantizer) -> None:
        super().__init__()
        self.dense = generator[:3]  # a linear layer, to the grid, batch norm
        self.quantizer = quantizer
        self.decoder = generator[3:]

    def forward(self, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grid = self.dense(noise).permute(0, 2, 3, 1)  # (N,P,Q,D)
        quantized, _, loss = self.quantizer(grid)
        return self.decoder(quantized.permute(0, 3, 1, 2)), loss


class TorchNoiseStep(TorchGANStep):
    """A GAN's step, whose generator has a quantizer's loss and moves its codes."""

    def make(self, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made, loss = self.model(noise)
        return made, loss

    def moved(self) -> None:
        self.model.quantizer.update()
