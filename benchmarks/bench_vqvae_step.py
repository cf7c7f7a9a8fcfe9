"""A whole training step of the VQ-VAE `conv` against PyTorch, on the same network.

PyTorch is imported where it is needed: `ours` serves `bench_memory` too, in a process
that has none.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import (
    OURS,
    Case,
    Work,
    assert_close,
    not_at_toy_size,
    or_left_out,
)
from benchmarks.roofs import flops_of
from tinyvq.models import VQVAE
from tinyvq.optim import Adam
from tinyvq.tensor import Tensor

BATCH, LR = 32, 3e-4
PLAIN = {"kmeans_start": False, "restart_below": 0.0}
TOY = {"hidden": 8, "residual_hidden": 4}
SAME = 1e-5  # how far the losses of two first steps may differ: sums in other orders


def images(size: int, channels: int, batch: int) -> np.ndarray:
    """Draw noise (N,H,W,C) in [-0.5, 0.5)."""
    rng = np.random.default_rng(0)
    return rng.uniform(-0.5, 0.5, (batch, size, size, channels)).astype(np.float32)


def ours(model: VQVAE, x: np.ndarray) -> Callable[[], float]:
    """Make tinyvq's step: forward, backward, Adam, codebook; it returns the loss."""
    optimizer = Adam(model.parameters(), LR)

    def step() -> float:
        optimizer.zero_grad()
        output = model(Tensor.wrap(x))
        output.loss.backward()
        optimizer.step()
        model.quantizer.update(output.stats)
        return output.loss.item()

    return step


def build(
    size: int, channels: int, toy: bool, *, batch: int = BATCH, compiled: bool = True
) -> Work:
    """Make steps with an EMA codebook on random images."""
    from benchmarks.peers import LAYOUTS
    from benchmarks.peers.torch_vqvae import training_step, twin

    small = TOY if toy else {}
    model, counted = (
        VQVAE.preset("conv", channels=channels, **small, **PLAIN) for _ in range(2)
    )
    x = images(size, channels, 2 if toy else batch)

    def copy() -> Any:
        return twin(model, channels=channels, **small)

    contenders = {OURS: ours(model, x)}
    for name, layout in LAYOUTS.items():
        contenders[name] = training_step(copy(), x, layout, LR)
    if compiled:
        contenders["PyTorch compiled"] = (
            not_at_toy_size if toy else compiled_step(copy(), x)
        )
    return Work(contenders, check, flops=flops_of(ours(counted, x)))


def build_restarts(size: int, toy: bool) -> Work:
    """Make steps of both libraries' own codebooks, k-means start and restarts on.

    The start is done here, by tinyvq, and its codebook is given to the peers: from then
    on each restarts what it holds to be dead. So the first losses must agree.
    """
    from benchmarks.peers import LAYOUTS
    from benchmarks.peers.torch_vqvae import TorchVQVAE, copy_weights, training_step
    from benchmarks.peers.vqp import VQPQuantizer

    small = TOY if toy else {}
    codes = {"num_codes": 24, "code_dim": 8} if toy else {}
    model = VQVAE.preset("conv", channels=1, kmeans_start=True, **small, **codes)
    x = images(size, 1, 2 if toy else BATCH)
    model.quantizer.update(model(Tensor.wrap(x)).stats)
    contenders = {OURS: ours(model, x)}
    for name, layout in LAYOUTS.items():
        quantizer = VQPQuantizer.started(model.quantizer)
        peer = TorchVQVAE(
            quantizer, channels=1, code_dim=model.quantizer.code_dim, **small
        )
        copy_weights(model, peer)
        name = name.replace("PyTorch", "vector-quantize-pytorch")
        contenders[name] = training_step(peer, x, layout, LR)
    counted = VQVAE.preset("conv", channels=1, **small, **codes, **PLAIN)
    return Work(contenders, check, flops=flops_of(ours(counted, x)))


def check(losses: Mapping[str, float]) -> None:
    """Hold the losses of all first steps against ours."""
    assert_close(losses, SAME)


def compiled_step(
    model: Any, x: np.ndarray, backend: str = "inductor"
) -> Callable[[], float]:
    """Make PyTorch's step with forward and loss, and their backward, compiled.

    backend  as torch.compile takes it; "eager" only traces, for a test
    """
    import torch

    from benchmarks.peers.torch_vqvae import training_step

    torch.compiler.reset()  # what is compiled for one case is no use to the next
    run = torch.compile(model, fullgraph=True, backend=backend)
    return or_left_out(training_step(model, x, torch.channels_last, LR, run))


CASES = [
    *(
        Case(
            f"vqvae_step/{size}x{size}x{channels}",
            f"VQ-VAE training step, batch {BATCH}, {size}×{size}×{channels}",
            partial(build, size, channels),
        )
        for size, channels in ((32, 3), (28, 1))
    ),
    Case(
        "vqvae_step/28x28x1-restarts",
        f"the step with restarts, after a k-means start, batch {BATCH}, 28×28×1",
        partial(build_restarts, 28),
    ),
]
