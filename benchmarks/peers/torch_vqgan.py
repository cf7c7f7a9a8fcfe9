"""The VQ-GAN of the preset `small`, PatchGAN and the step of both, in plain PyTorch.

What tinyvq is held against and timed beside. Written with PyTorch's own layers and
autograd: the adaptive weight by two calls of `autograd.grad`, the generator's step by
one loss, gradients past the codebook by `detach`. Images are (N,C,H,W) here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers.torch_vqvae import (
    TorchOutput,
    TorchQuantizer,
    TorchVQVAE,
    copy_weights,
)
from tinyvq.models import PatchGAN
from tinyvq.training.vqgan import BETAS, DISCRIMINATOR_BETAS


def norm(channels: int) -> nn.GroupNorm:
    groups = max(1, min(32, channels // 4))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            norm(inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            norm(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x if self.skip is None else self.skip(x)) + self.body(x)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        q, k, v = (
            layer(y).flatten(2).transpose(1, 2).unsqueeze(1)  # (N,1,H·W,C)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1)  # (N,H·W,C)
        return x + self.out(mixed.transpose(1, 2).reshape(x.shape))


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def middle(width: int) -> list[nn.Module]:
    return [Block(width, width), Attention(width), Block(width, width)]


def encoder(
    channels: int, code_dim: int, widths: Sequence[int], first: int, blocks: int
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, first, 3, padding=1)]
    width = first
    for level, wide in enumerate(widths):
        for _ in range(blocks):
            layers.append(Block(width, wide))
            width = wide
        if level < len(widths) - 1:
            layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
    return nn.Sequential(
        *layers,
        *middle(width),
        norm(width),
        nn.SiLU(),
        nn.Conv2d(width, code_dim, 3, padding=1),
        nn.Conv2d(code_dim, code_dim, 1),
    )


def decoder(
    channels: int, code_dim: int, widths: Sequence[int], blocks: int
) -> nn.Sequential:
    width = widths[-1]
    layers: list[nn.Module] = [
        nn.Conv2d(code_dim, code_dim, 1),
        nn.Conv2d(code_dim, width, 3, padding=1),
        *middle(width),
    ]
    for level in reversed(range(len(widths))):
        for _ in range(blocks):
            layers.append(Block(width, widths[level]))
            width = widths[level]
        if level > 0:
            layers.append(Upsample(width))
    return nn.Sequential(
        *layers, norm(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)
    )


class TorchVQGAN(TorchVQVAE):
    """The preset `small` around a quantizer; further arguments are the preset's."""

    def __init__(
        self,
        quantizer: TorchQuantizer,
        *,
        channels: int = 3,
        hidden: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        code_dim: int = 64,
        pixel_variance: float = 1.0,
    ) -> None:
        nn.Module.__init__(self)
        widths = [hidden * m for m in multipliers]
        self.encoder = encoder(channels, code_dim, widths, hidden, 1)
        self.quantizer = quantizer
        self.decoder = decoder(channels, code_dim, widths, 1)
        self.pixel_variance = pixel_variance

    def forward(self, x: torch.Tensor) -> TorchOutput:
        hidden, indices, quantizer_loss = self.body(x)
        reconstruction = self.decoder[-1](hidden)  # (N,C,H,W)
        mse = F.mse_loss(reconstruction, x)
        loss = mse / self.pixel_variance + quantizer_loss
        return TorchOutput(reconstruction, loss, mse, indices)

    def body(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run all but the decoder's last layer; -> (N,K,H,W), indices, the loss.

        Apart, so that it can be compiled and the last layer left as it is: the adaptive
        weight wants two gradients of that layer alone, and what is compiled as one has
        a backward that computes all of its gradients or none.
        """
        z = self.encoder(x).permute(0, 2, 3, 1)  # (N,P,Q,D)
        quantized, indices, loss = self.quantizer(z)
        hidden = quantized.permute(0, 3, 1, 2)
        for layer in self.decoder[:-1]:
            hidden = layer(hidden)
        return hidden, indices, loss


class TorchPatchGAN(nn.Module):
    """Convolutions, batch norms and leaky ReLUs; the logits of overlapping patches."""

    def __init__(self, channels: int, hidden: int, layers: int, normed: bool) -> None:
        super().__init__()
        blocks = []
        for i in range(layers + 1):
            width = hidden * min(2**i, 8)
            batch = normed and i > 0
            stride = 2 if i < layers else 1
            conv = nn.Conv2d(channels, width, 4, stride, padding=1, bias=not batch)
            norms = [nn.BatchNorm2d(width)] if batch else []
            blocks.append(nn.Sequential(conv, *norms, nn.LeakyReLU(0.2)))
            channels = width
        self.body = nn.ModuleList(blocks)
        self.head = nn.Conv2d(channels, 1, 4, padding=1)

    def judge(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        features = []
        for block in self.body:
            x = block(x)
            features.append(x)
        return self.head(x), features


class TorchLeCAM:
    """Running means of the verdicts, zero-debiased; they stay where the verdicts are.

    Changed in place: a CUDA graph of a step writes to the same numbers each time.
    """

    def __init__(self, device: torch.device, decay: float = 0.999) -> None:
        self.decay, self.begun = decay, False
        self.weight, self.real, self.fake = torch.zeros(
            3, dtype=torch.float64, device=device
        )

    def __call__(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        if not self.begun:
            return (real.sum() + fake.sum()) * 0
        above = F.relu(real - self.fake / self.weight)
        below = F.relu(self.real / self.weight - fake)
        return above.square().mean() + below.square().mean()

    def update(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        keep, take = self.decay, 1 - self.decay
        self.real.mul_(keep).add_(take * real.detach().mean())
        self.fake.mul_(keep).add_(take * fake.detach().mean())
        self.weight.mul_(keep).add_(take)
        self.begun = True


class StepMeasures(NamedTuple):
    loss: float
    adaptive_weight: float
    discriminator_loss: float
    indices: torch.Tensor


class TorchGANStep:
    """Both optimisers, and a step of each, with the hinge loss.

    weight, eps, lecam, matching   as in `tinyvq.training.vqgan.VQGANOptions`
    capturable                     whether a CUDA graph may hold the optimisers' steps
    """

    def __init__(
        self,
        model: TorchVQGAN,
        judge: TorchPatchGAN,
        *,
        lr: float,
        weight: float,
        eps: float,
        lecam: float,
        matching: float,
        capturable: bool = False,
    ) -> None:
        self.model, self.judge = model, judge
        self.weight, self.eps = weight, eps
        self.lecam_weight, self.matching = lecam, matching
        self.lecam = TorchLeCAM(next(model.parameters()).device)
        self.adam, self.judge_adam = (
            torch.optim.Adam(
                side.parameters(), lr, betas, fused=True, capturable=capturable
            )
            for side, betas in ((model, BETAS), (judge, DISCRIMINATOR_BETAS))
        )

    def step(self, x: torch.Tensor, ramp: float) -> StepMeasures:
        """Do a step, and read what it measured, at once."""
        measures, indices = self.unread(x, ramp)
        loss, adaptive_weight, discriminator_loss = measures.tolist()
        return StepMeasures(loss, adaptive_weight, discriminator_loss, indices)

    def unread(self, x: torch.Tensor, ramp: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Do a step that waits for nothing; -> (3,) what it measured, and indices."""
        kept = [buffer.clone() for buffer in self.judge.buffers()]
        self.judge.requires_grad_(False)  # no gradient that its own step would drop
        output = self.model(x)
        total = output.loss.detach().double()
        adaptive = torch.zeros_like(total)
        roots, gradients = [output.loss], [None]
        if ramp > 0:
            made, last = output.reconstruction, self.model.decoder[-1].weight
            verdict = self._verdict(made, x)
            # Once through the judge, for the weight and for the step.
            (pull,) = torch.autograd.grad(verdict, made)
            wanted = output.mse / self.model.pixel_variance
            (g_rec,) = torch.autograd.grad(wanted, last, retain_graph=True)
            (g_gan,) = torch.autograd.grad(made, last, pull, retain_graph=True)
            ratio = g_rec.double().norm() / (g_gan.double().norm() + self.eps)
            adaptive = self.weight * ratio.clamp(max=1e4)
            weight = ramp * adaptive
            total = total + weight * verdict.detach()
            roots, gradients = [output.loss, made], [None, weight * pull]
        self.adam.zero_grad()
        torch.autograd.backward(roots, gradients)
        self.adam.step()
        self.model.quantizer.update(self.adam)
        # The generator's step leaves the running statistics of the judge as they were.
        for buffer, before in zip(self.judge.buffers(), kept, strict=True):
            buffer.copy_(before)
        self.judge.requires_grad_(True)
        loss = self._judge_step(x, output.reconstruction.detach())
        return torch.stack([total, adaptive, loss.detach().double()]), output.indices

    def _verdict(self, made: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        logits, features = self.judge.judge(made)
        loss = -logits.mean()
        if self.matching > 0:
            _, real = self.judge.judge(x)
            pairs = zip(features, real, strict=True)
            terms = [F.l1_loss(f, r.detach()) for f, r in pairs]
            loss = loss + self.matching * sum(terms) / len(terms)
        return loss

    def _judge_step(self, x: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        real, fake = self.judge.judge(x)[0], self.judge.judge(made)[0]
        loss = (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
        if self.lecam_weight > 0:
            loss = loss + self.lecam_weight * self.lecam(real, fake)
        self.judge_adam.zero_grad()
        loss.backward()
        self.judge_adam.step()
        self.lecam.update(real, fake)
        return loss


def patchgan_twin(
    ours: PatchGAN, channels: int, hidden: int, layers: int, normed: bool
) -> TorchPatchGAN:
    """Build the PyTorch discriminator with a tinyvq one's weights and dtype."""
    theirs = TorchPatchGAN(channels, hidden, layers, normed)
    copy_weights(ours, theirs)
    return theirs
