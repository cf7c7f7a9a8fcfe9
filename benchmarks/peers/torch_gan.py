"""DCGAN's generator, the textbooks' discriminator, a step of both, in plain PyTorch.

What tinyvq is held against. Both sides have the loss as textbooks print it, the
generator's step goes through the discriminator as one graph. Images are (N,C,H,W) here.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tinyvq.training.gan import BETAS


class ToGrid(nn.Module):
    """(N, P·Q·D) -> (N,D,P,Q), from channels-last order."""

    def __init__(self, grid: tuple[int, int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, self.grid).permute(0, 3, 1, 2)


class ToRow(nn.Module):
    """(N,K,P,Q) -> (N, P·Q·K), in channels-last order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Halved(nn.Module):
    """Images in [-0.5, 0.5]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) / 2


def generator(
    grid: tuple[int, int, int], channels: int, noise_dim: int, hidden: int
) -> nn.Sequential:
    """Noise (N,Z) -> grid (P, Q, D) -> images (N,C,4P,4Q)."""
    p, q, d = grid
    return nn.Sequential(
        nn.Linear(noise_dim, p * q * d),
        ToGrid(grid),
        nn.BatchNorm2d(d),
        nn.Conv2d(d, 2 * hidden, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * hidden),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * hidden, hidden, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.ConvTranspose2d(hidden, channels, 4, stride=2, padding=1),
        Halved(),
    )


def discriminator(
    grid: tuple[int, int], channels: int, hidden: int, normed: bool
) -> nn.Sequential:
    """Images -> two halvings to a grid (P, Q) -> logits (N,1)."""
    norm = [nn.BatchNorm2d(2 * hidden)] if normed else []
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(hidden, 2 * hidden, 3, stride=2, padding=1, bias=not normed),
        *norm,
        nn.LeakyReLU(0.2),
        ToRow(),
        nn.Linear(grid[0] * grid[1] * 2 * hidden, 1),
    )


class Losses(NamedTuple):
    generator: float
    discriminator: float


class TorchGANStep:
    """Both optimisers, and a step of each."""

    def __init__(self, model: nn.Module, judge: nn.Module, lr: float) -> None:
        self.model, self.judge = model, judge
        self.adam = torch.optim.Adam(model.parameters(), lr, BETAS)
        self.judge_adam = torch.optim.Adam(judge.parameters(), lr, BETAS)

    def make(self, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Make images, and what they cost beside the verdict: here nothing."""
        return self.model(noise), noise.new_zeros(())

    def moved(self) -> None:
        """Move what follows the generator's weights: here nothing."""

    def step(self, x: torch.Tensor, noise: torch.Tensor) -> Losses:
        made, cost = self.make(noise)
        kept = [buffer.clone() for buffer in self.judge.buffers()]
        total = _cross_entropy(self.judge(made), 1.0) + cost
        self.adam.zero_grad()
        total.backward()
        self.adam.step()
        self.moved()
        # The generator's step leaves the running statistics of the judge as they were.
        for buffer, before in zip(self.judge.buffers(), kept, strict=True):
            buffer.copy_(before)
        self.judge_adam.zero_grad()
        loss = _cross_entropy(self.judge(x), 1.0)
        loss = loss + _cross_entropy(self.judge(made.detach()), 0.0)
        loss.backward()
        self.judge_adam.step()
        return Losses(total.item(), loss.item())


def _cross_entropy(logits: torch.Tensor, wanted: float) -> torch.Tensor:
    targets = torch.full_like(logits, wanted)
    return F.binary_cross_entropy_with_logits(logits, targets)
