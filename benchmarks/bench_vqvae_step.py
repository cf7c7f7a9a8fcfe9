"""A whole training step of the VQ-VAE `conv` against PyTorch, on the same network."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.harness import Case, Work
from benchmarks.peers.torch_vqvae import TorchVQVAE, twin
from tinyvq.models import VQVAE
from tinyvq.optim import Adam
from tinyvq.tensor import Tensor

BATCH = 32
SETTINGS = {"kmeans_start": False, "restart_below": 0.0}


def build(size: int, channels: int, toy: bool) -> Work:
    """Make steps with an EMA codebook on random images."""
    small = {"hidden": 8, "residual_hidden": 4} if toy else {}
    model = VQVAE.preset("conv", channels=channels, **small, **SETTINGS)
    rng = np.random.default_rng(0)
    batch = 2 if toy else BATCH
    x = rng.uniform(-0.5, 0.5, (batch, size, size, channels)).astype(np.float32)
    contenders = {"tinyvq": _ours(model, x)}
    peers = {}
    for name, layout in (
        ("PyTorch eager", torch.contiguous_format),
        ("PyTorch channels_last", torch.channels_last),
    ):
        peers[name] = twin(model, channels=channels, **small).to(memory_format=layout)
        contenders[name] = _theirs(peers[name], x, layout)

    def check() -> None:
        fresh = VQVAE.preset("conv", channels=channels, **small, **SETTINGS)
        copy = twin(fresh, channels=channels, **small)
        ours = fresh(Tensor(x)).loss.item()
        theirs = copy(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).loss.item()
        assert abs(ours - theirs) <= 1e-5 * abs(theirs), (ours, theirs)

    return Work(contenders, check)


def _ours(model: VQVAE, x: np.ndarray) -> Callable[[], None]:
    optimizer = Adam(model.parameters(), 3e-4)

    def step() -> None:
        optimizer.zero_grad()
        output = model(Tensor.wrap(x))
        output.loss.backward()
        optimizer.step()
        model.quantizer.update(output.stats)

    return step


def _theirs(
    model: TorchVQVAE, x: np.ndarray, layout: torch.memory_format
) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), 3e-4)
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(memory_format=layout)

    def step() -> None:
        optimizer.zero_grad()
        model(images).loss.backward()
        optimizer.step()
        model.quantizer.update(optimizer)

    return step


CASES = [
    Case(
        f"vqvae_step/{size}x{size}x{channels}",
        f"VQ-VAE training step, batch {BATCH}, {size}×{size}×{channels}",
        partial(build, size, channels),
    )
    for size, channels in ((32, 3), (28, 1))
]
