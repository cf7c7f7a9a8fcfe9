"""Whole training steps against PyTorch, eager and compiled."""

from typing import Any

import torch
from tinyvq_kernels import Captured, deferred_checks

from benchmarks import bench_vqgan_step
from benchmarks.bench_vqvae_step import LR, PLAIN, images
from benchmarks.gpu.calls import in_tf32
from benchmarks.gpu.timing import Figures, Run, compare, in_both
from benchmarks.peers.torch_vqvae import twin
from tinyvq.models import VQVAE
from tinyvq.optim import Adam
from tinyvq.tensor import Tensor
from tinyvq.training.guard import MOVED_WARM

BATCHES = (32, 256)  # of the VQ-VAE's step


def vqvae_steps() -> Figures:
    """The VQ-VAE's training step against PyTorch, eager and compiled."""
    found = {}
    for batch in BATCHES:
        x = images(32, 3, batch)
        models = [VQVAE.preset("conv", channels=3, **PLAIN) for _ in range(2)]
        peers = [twin(models[0], channels=3).cuda() for _ in range(2)]
        given = Tensor(x).to("cuda")
        ours = [_our_step(model.to("cuda"), given, LR) for model in models]
        compiled = torch.compile(peers[1], mode="reduce-overhead", dynamic=False)
        tx = torch.from_dlpack(given.array).permute(0, 3, 1, 2)  # channels_last
        contenders: dict[str, Run] = {
            "tinyvq, captured, float32": ours[0],
            "tinyvq, captured, TF32": in_tf32(ours[1]),
            **in_both("PyTorch", _their_step(peers[0], peers[0], tx, LR)),
            **in_both(
                "PyTorch compiled, reduce-overhead",
                _their_step(peers[1], compiled, tx, LR),
            ),
        }
        found[f"batch {batch}"] = compare(contenders)
    return found


def _our_step(model: Any, x: Any, lr: float) -> Run:
    """Make the step of `tinyvq train`, which is captured, but for what it reads."""
    optimizer = Adam(model.parameters(), lr)

    def differentiate() -> Any:
        optimizer.zero_grad()
        with deferred_checks():
            output = model(x)
            output.loss.backward()
        return output.stats

    def move() -> None:
        optimizer.move()
        model.quantizer.average(stats)

    backward, update = Captured(differentiate), Captured(move, warm=MOVED_WARM)
    stats: Any = None

    def step() -> None:
        nonlocal stats
        stats = backward()
        optimizer.count()
        update()

    return step


def _their_step(model: Any, forward: Any, x: Any, lr: float) -> Run:
    """Make PyTorch's step: fused Adam, channels_last; nothing is read.

    A compiled forward is captured with its backward; Adam and the codebook are not.
    """
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        forward(x).loss.backward()
        optimizer.step()
        model.quantizer.update(optimizer)

    return step


def vqgan_steps() -> Figures:
    """Measure the step of the VQ-GAN `small`, both optimisers, on 64×64×3.

    Ours is the step of `tinyvq train`, its reading and checking included; PyTorch's
    reads its losses and the adaptive weight, as a step must that logs them.
    """
    x = images(64, 3, bench_vqgan_step.BATCH)
    task, other = (bench_vqgan_step.task_of(x, backend="cuda") for _ in range(2))
    given = task.images_of_step.array
    tx = torch.from_dlpack(given).permute(0, 3, 1, 2)  # channels_last
    eager, compiled = (bench_vqgan_step.peer_of(task, "cuda") for _ in range(2))
    for owner, part in ((compiled.model, "body"), (compiled.judge, "judge")):
        run = torch.compile(getattr(owner, part), fullgraph=True, dynamic=False)
        setattr(owner, part, run)
    contenders = {
        "tinyvq, captured, float32": bench_vqgan_step.ours(task),
        "tinyvq, captured, TF32": in_tf32(bench_vqgan_step.ours(other)),
        **in_both("PyTorch", lambda: eager.step(tx, 1.0)),
        **in_both("PyTorch compiled", lambda: compiled.step(tx, 1.0)),
    }
    return {f"batch {bench_vqgan_step.BATCH}": compare(contenders)}
