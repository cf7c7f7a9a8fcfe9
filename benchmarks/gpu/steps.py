"""Whole training steps against PyTorch: eager, compiled, and captured as one graph."""

from typing import Any

import torch
from tinyvq_kernels import Captured, deferred_checks

from benchmarks import bench_vqgan_step
from benchmarks.bench_vqvae_step import LR, PLAIN, images
from benchmarks.gpu.calls import in_tf32
from benchmarks.gpu.timing import Figures, Run, as_graphs, compare, in_both
from benchmarks.peers.torch_vqvae import twin
from tinyvq.models import VQVAE
from tinyvq.optim import Adam
from tinyvq.tensor import Tensor
from tinyvq.training.guard import MOVED_WARM

BATCHES = (32, 256)  # of the VQ-VAE's step


def vqvae_steps() -> Figures:
    """Measure the VQ-VAE's training step."""
    return {f"batch {batch}": _vqvae_step(batch) for batch in BATCHES}


def _vqvae_step(batch: int) -> Figures:
    torch.compiler.reset()  # what was compiled for another batch is no use to this one
    x = images(32, 3, batch)
    model, other = (VQVAE.preset("conv", channels=3, **PLAIN) for _ in range(2))
    given = Tensor(x).to("cuda")
    tx = torch.from_dlpack(given.array).permute(0, 3, 1, 2)  # channels_last

    def peer(mode: str | None = None, capturable: bool = False) -> Run:
        theirs = twin(model, channels=3).cuda()
        run = torch.compile(theirs, mode=mode, dynamic=False) if mode else theirs
        return _their_step(theirs, run, tx, LR, capturable)

    contenders: dict[str, Run] = {
        **in_both("PyTorch", peer()),
        **in_both("PyTorch compiled, reduce-overhead", peer("reduce-overhead")),
        **as_graphs("PyTorch", lambda: peer(capturable=True)),
        **as_graphs("PyTorch compiled", lambda: peer("default", capturable=True)),
    }
    ours, in_other = (_our_step(m.to("cuda"), given, LR) for m in (model, other))
    contenders["tinyvq, captured, float32"] = ours
    contenders["tinyvq, captured, TF32"] = in_tf32(in_other)
    return compare(contenders)


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


def _their_step(
    model: Any, forward: Any, x: Any, lr: float, capturable: bool = False
) -> Run:
    """Make PyTorch's step: fused Adam, channels_last; nothing is read.

    By "reduce-overhead" a forward is captured with its backward, Adam and the codebook
    are not. Where the whole step is captured, what the weights of the codebook's
    running means add up to stays what it was: it cancels out in the codes.
    """
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(
        model.parameters(), lr, fused=True, capturable=capturable
    )

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

    def peer(compiled: bool = False, capturable: bool = False) -> Any:
        made = bench_vqgan_step.peer_of(task, "cuda", capturable=capturable)
        if compiled:
            bench_vqgan_step.compile_parts(made)
        return made

    def unread(compiled: bool) -> Run:
        made = peer(compiled, capturable=True)
        return lambda: made.unread(tx, 1.0)[0]

    def read(replay: Run) -> Run:
        def step() -> list[float]:
            return replay()[0].tolist()

        return step

    eager, compiled = peer(), peer(compiled=True)
    graphs = as_graphs("PyTorch", lambda: unread(False))
    graphs |= as_graphs("PyTorch compiled", lambda: unread(True))
    contenders = {
        **in_both("PyTorch", lambda: eager.step(tx, 1.0)),
        **in_both("PyTorch compiled", lambda: compiled.step(tx, 1.0)),
        **{name: read(replay) for name, replay in graphs.items()},
        "tinyvq, captured, float32": bench_vqgan_step.ours(task),
        "tinyvq, captured, TF32": in_tf32(bench_vqgan_step.ours(other)),
    }
    return {f"batch {bench_vqgan_step.BATCH}": compare(contenders)}
