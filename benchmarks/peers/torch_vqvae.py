"""The preset `conv`, its quantizers and its training step in plain PyTorch.

What tinyvq is held against, and what the peers' curves are measured with. Images are
(N,C,H,W) here. Gradients pass the codebook by `detach`, the form in which most people
write a VQ-VAE: the second oracle for tinyvq's explicit Functions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from tinyvq.models import VQVAE
from tinyvq.nn import Module
from tinyvq.rng import Stream


class Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


def residual_stack(hidden: int, residual_hidden: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            Residual(
                nn.ReLU(),
                nn.Conv2d(hidden, residual_hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(residual_hidden, hidden, 1),
            )
            for _ in range(blocks)
        ),
        nn.ReLU(),
    )


class TorchOutput(NamedTuple):
    """As `tinyvq.models.VQVAEOutput`; the reconstruction is (N,C,H,W)."""

    reconstruction: torch.Tensor
    loss: torch.Tensor
    mse: torch.Tensor
    indices: torch.Tensor


class TorchVQVAE(nn.Module):
    """DeepMind's convolutional VQ-VAE around any quantizer.

    quantizer  z (N,P,Q,D) -> quantized (N,P,Q,D), indices (N,P,Q), loss
    """

    def __init__(
        self,
        quantizer: nn.Module,
        *,
        channels: int = 3,
        hidden: int = 128,
        residual_hidden: int = 32,
        residual_blocks: int = 2,
        code_dim: int = 64,
        pixel_variance: float = 1.0,
    ) -> None:
        super().__init__()
        half = hidden // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, half, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            residual_stack(hidden, residual_hidden, residual_blocks),
            nn.Conv2d(hidden, code_dim, 1),
        )
        self.quantizer = quantizer
        self.decoder = nn.Sequential(
            nn.Conv2d(code_dim, hidden, 3, padding=1),
            residual_stack(hidden, residual_hidden, residual_blocks),
            nn.ConvTranspose2d(hidden, half, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1),
        )
        self.pixel_variance = pixel_variance

    def forward(self, x: torch.Tensor) -> TorchOutput:
        z = self.encoder(x).permute(0, 2, 3, 1)  # (N,P,Q,D)
        quantized, indices, quantizer_loss = self.quantizer(z)
        reconstruction = self.decoder(quantized.permute(0, 3, 1, 2))  # (N,C,H,W)
        mse = F.mse_loss(reconstruction, x)
        loss = mse / self.pixel_variance + quantizer_loss
        return TorchOutput(reconstruction, loss, mse, indices)


Network = TypeVar("Network", bound=TorchVQVAE)


class TorchQuantizer(nn.Module):
    """Nearest code; the codebook learns by gradient or by running means.

    Settings as of `tinyvq.quantizers.VectorQuantizer`. The same random draws are taken
    from `rng`: they are data here, not what is judged.
    """

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        *,
        learn: str,
        commitment: float = 0.25,
        decay: float = 0.99,
        kmeans_start: bool,
        restart_below: float,
        rng: Stream,
    ) -> None:
        super().__init__()
        self.num_codes, self.learn, self.commitment = num_codes, learn, commitment
        self.decay, self.kmeans_start = decay, kmeans_start
        self.restart_below, self.rng = restart_below, rng
        bound = 1 / num_codes
        first = torch.empty(num_codes, code_dim).uniform_(-bound, bound)
        if learn == "gradient":
            self.codebook = nn.Parameter(first)
        else:
            self.register_buffer("codebook", first)
        self.register_buffer("cluster_size", torch.zeros(num_codes))
        self.register_buffer("embed_sum", torch.zeros(num_codes, code_dim))
        self.mass = 0.0  # what the weights of a running mean add up to so far
        self.updates = 0
        self.restarted = 0

    def forward(
        self, z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        vectors = z.reshape(-1, z.shape[-1])  # (N·P·Q, D)
        chosen = nearest(vectors, self.codebook)
        self.batch = (vectors.detach(), chosen)
        codes = self.codebook[chosen].reshape(z.shape)  # (N,P,Q,D)
        loss = self.commitment * F.mse_loss(z, codes.detach())
        if self.learn == "gradient":
            loss = loss + F.mse_loss(codes, z.detach())
        return z + (codes - z).detach(), chosen.reshape(z.shape[:-1]), loss

    @torch.no_grad()
    def update(self, optimizer: Any = None) -> None:
        """Move the codebook by what the last batch chose, after the optimiser's step.

        Rows that are placed anew lose their moments in the optimiser (Adam).
        """
        vectors, chosen = self.batch
        if self.kmeans_start and self.updates == 0:
            codes, sizes = kmeans(vectors, self.num_codes, self.rng.child("k-means"))
            self.codebook.copy_(codes)
            self.cluster_size.copy_(sizes)
            self.embed_sum.copy_(codes * sizes[:, None])
            self.mass, self.updates = 1.0, 1
            self._forget(optimizer, torch.arange(self.num_codes))
            return
        self.updates += 1
        ones = torch.ones_like(chosen, dtype=vectors.dtype)  # bincount waits for a GPU
        counts = torch.zeros_like(self.cluster_size).index_add_(0, chosen, ones)
        sums = torch.zeros_like(self.embed_sum).index_add_(0, chosen, vectors)
        self.cluster_size.lerp_(counts, 1 - self.decay)
        self.embed_sum.lerp_(sums, 1 - self.decay)
        self.mass = self.decay * self.mass + (1 - self.decay)
        if self.learn == "ema":
            sizes = self.cluster_size[:, None] / self.mass
            sums = self.embed_sum / self.mass
            self.codebook.copy_(torch.where(sizes > 0, sums / sizes, self.codebook))
        if self.restart_below > 0:
            self._restart(vectors, optimizer)

    def _restart(self, vectors: torch.Tensor, optimizer: Any) -> None:
        average = len(vectors) / self.num_codes
        sizes = self.cluster_size / self.mass
        dead = torch.nonzero(sizes < self.restart_below * average).flatten()
        if len(dead) == 0:
            return
        order = self.rng.child("restart", self.updates).permutation(len(vectors))
        self.codebook[dead] = vectors[np.resize(order, len(dead))]
        self.cluster_size[dead] = average * self.mass
        self.embed_sum[dead] = self.codebook[dead] * average * self.mass
        self._forget(optimizer, dead)
        self.restarted += len(dead)

    def _forget(self, optimizer: Any, rows: torch.Tensor) -> None:
        if optimizer is not None and self.learn == "gradient":
            state = optimizer.state[self.codebook]
            others = torch.ones(self.num_codes, dtype=torch.bool, device=rows.device)
            others[rows] = False
            state["exp_avg"][rows] = 0
            state["exp_avg_sq"][rows] = state["exp_avg_sq"][others].mean(0).nan_to_num()


def nearest(vectors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Return the index of the nearest code: |c|² - 2 z·c orders them as |z - c|² does.

    A table of scores written once is the fastest that PyTorch has for few codes.
    """
    squares = codes.square().sum(1)
    return torch.addmm(squares, vectors, codes.T, alpha=-2).argmin(1)


def kmeans(
    vectors: torch.Tensor, num_codes: int, rng: Stream, iterations: int = 10
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run Lloyd's algorithm; a cluster that empties keeps its place."""
    codes = vectors[rng.permutation(len(vectors))[:num_codes]].clone()
    for _ in range(iterations):
        one_hot = F.one_hot(nearest(vectors, codes), num_codes).to(vectors.dtype)
        sizes = one_hot.sum(0)
        means = one_hot.T @ vectors / sizes.clamp(min=1)[:, None]
        codes = torch.where(sizes[:, None] > 0, means, codes)
    return codes, sizes


def to_torch(weight: npt.NDArray[Any]) -> torch.Tensor:
    """Reorder a tinyvq weight as PyTorch's: (R,S,C,K) -> (K,C,R,S), others alike."""
    if weight.ndim == 4:
        weight = weight.transpose(3, 2, 0, 1)
    return torch.tensor(weight)


def quantizer_twin(ours: Any) -> TorchQuantizer:
    """Build the PyTorch quantizer with the settings, codebook and dtype of tinyvq's."""
    codes = to_torch(ours.codebook.numpy())
    theirs = TorchQuantizer(
        ours.num_codes,
        ours.code_dim,
        learn=ours.learn,
        commitment=ours.commitment,
        decay=ours.decay,
        kmeans_start=ours.kmeans_start,
        restart_below=ours.restart_below,
        rng=Stream(0, "quantizer"),
    ).to(codes.dtype)
    with torch.no_grad():
        theirs.codebook.copy_(codes)
    return theirs


def copy_weights(mine: Module, theirs: nn.Module) -> None:
    """Give PyTorch's parameters the values of tinyvq's, in the order of definition."""
    theirs.to(to_torch(mine.parameters()[0].numpy()).dtype)
    pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
    with torch.no_grad():
        for ours, copy in pairs:
            copy.copy_(to_torch(ours.numpy()))


def twin(
    model: VQVAE, kind: Callable[..., Network] = TorchVQVAE, **settings: Any
) -> Network:
    """Build the PyTorch model with a tinyvq model's weights, codebook and dtype.

    kind      the network: TorchVQVAE of the preset `conv`, TorchVQGAN of `small`
    settings  that the model's preset was given, sizes and quantizer apart
    """
    theirs = kind(
        quantizer_twin(model.quantizer),
        code_dim=model.quantizer.code_dim,
        pixel_variance=model.pixel_variance,
        **settings,
    )
    copy_weights(model, theirs)
    return theirs


def training_step(
    model: TorchVQVAE,
    x: npt.NDArray[Any],
    layout: torch.memory_format = torch.contiguous_format,
    lr: float = 3e-4,
    run: Callable[[torch.Tensor], TorchOutput] | None = None,
) -> Callable[[], float]:
    """Make the step on images x (N,H,W,C): forward, backward, Adam, codebook.

    layout  of images and weights
    run     what to run instead of the model's forward, say its compiled form
    ->      a function that does one step and returns the loss
    """
    model.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(memory_format=layout)
    forward = model if run is None else run

    def step() -> float:
        optimizer.zero_grad()
        loss = forward(images).loss
        loss.backward()
        optimizer.step()
        model.quantizer.update(optimizer)
        return loss.item()

    return step
