"""A whole training step of the VQ-GAN `small`, both optimisers, against PyTorch.

PyTorch is imported where it is needed: `ours` serves `bench_memory` too, in a process
that has none.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.bench_vqvae_step import images
from benchmarks.harness import (
    OURS,
    Case,
    Work,
    assert_close,
    not_at_toy_size,
    or_left_out,
)
from benchmarks.roofs import flops_of
from tinyvq.backends import beside
from tinyvq.data import ImageData, Split
from tinyvq.models import VQVAE
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.vqgan import VQGANOptions, VQGANTask

BATCH = 8
TOY = {"hidden": 8, "code_dim": 6, "num_codes": 16, "discriminator_width": 8}
CHANNELS_LAST = "PyTorch channels_last"
MEASURES = ("loss", "adaptive_weight", "discriminator_loss")
SAME = 1e-3  # of each measure: the adaptive weight is a ratio of two float32 lengths


class OneBatch(VQGANTask):
    """The task, on the same images in each step."""

    images_of_step: Tensor

    def batch(self, step: int) -> Tensor:
        return self.images_of_step


def task_of(x: np.ndarray, **sizes: Any) -> OneBatch:
    """Make the task for images x (N,H,W,C); its adversary counts from step 1."""
    options = VQGANOptions(
        model="small",
        adversarial_start=1,
        adversarial_ramp=0,
        restart_below=0.0,
        **sizes,
    )
    nothing = np.zeros(x.shape, np.uint8)
    data = ImageData("noise", {"train": Split(nothing), "val": Split(nothing)})
    facts = {"image_shape": list(x.shape[1:]), "pixel_variance": float(x.var())}
    task = OneBatch(options, data, facts)
    task.images_of_step = Tensor(x).to(options.backend)
    spread(task.model, task.images_of_step)
    return task


def spread(model: VQVAE, x: Tensor) -> None:
    """Draw the codes like the encoder's vectors of x; leave k-means out of it."""
    model.quantizer.kmeans_start = False
    z = model.encoder(x).numpy()
    z = z.reshape(-1, z.shape[-1])  # (N·P·Q, D)
    with model.quantizer.codebook.mutate() as codes:
        drawn = Stream(0, "codes").normal(codes.shape, codes.dtype)
        codes[...] = beside(z.mean(axis=0) + z.std(axis=0) * drawn, codes)


def build(size: int, toy: bool) -> Work:
    """Make steps on random images, colour."""
    from benchmarks.peers import LAYOUTS

    sizes: dict[str, Any] = TOY if toy else {}
    x = images(16 if toy else size, 3, 2 if toy else BATCH)
    task = task_of(x, **sizes)
    contenders = {OURS: ours(task)}
    for name in LAYOUTS:
        contenders[name] = theirs(peer_of(task, layout=name), x, name)
    contenders["PyTorch compiled"] = not_at_toy_size if toy else compiled_step(task, x)
    return Work(contenders, check, flops=flops_of(ours(task_of(x, **sizes))))


def check(found: Mapping[str, Any]) -> None:
    """Hold what all first steps measured against ours."""
    for i, measure in enumerate(MEASURES):
        values = {name: measures[i] for name, measures in found.items()}
        assert values[OURS] != 0, measure  # the adversary counts
        assert_close(values, SAME)


def ours(task: OneBatch) -> Callable[[], tuple[float, ...]]:
    """Make the step; it returns what it measured."""
    steps = iter(range(1, 2**31))

    def step() -> tuple[float, ...]:
        measures = task.step(next(steps))
        return tuple(measures[name] for name in MEASURES)

    return step


def theirs(peer: Any, x: np.ndarray, layout: str) -> Callable[[], tuple[float, ...]]:
    """Make PyTorch's step on images x (N,H,W,C); it returns what it measured.

    peer    from `peer_of`
    layout  a name in LAYOUTS
    """
    import torch

    from benchmarks.peers import LAYOUTS

    given = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    given = given.to(memory_format=LAYOUTS[layout])

    def step() -> tuple[float, ...]:
        measures = peer.step(given, ramp=1.0)
        return tuple(getattr(measures, name) for name in MEASURES)

    return step


def compiled_step(
    task: OneBatch, x: np.ndarray, backend: str = "inductor"
) -> Callable[[], tuple[float, ...]]:
    """Make PyTorch's step with model and discriminator, and their backward, compiled.

    backend  as torch.compile takes it; "aot_eager" compiles nothing, for a test
    """
    import torch

    torch.compiler.reset()  # what is compiled for one case is no use to the next
    peer = peer_of(task)
    compile_parts(peer, backend)
    return or_left_out(theirs(peer, x, CHANNELS_LAST))


def compile_parts(peer: Any, backend: str = "inductor") -> None:
    """Compile a peer's model and discriminator, but for the decoder's last layer.

    Why not that: see `TorchVQGAN.body`.
    """
    import torch

    for owner, name in ((peer.model, "body"), (peer.judge, "judge")):
        run = torch.compile(
            getattr(owner, name), fullgraph=True, dynamic=False, backend=backend
        )
        setattr(owner, name, run)


def peer_of(
    task: OneBatch,
    device: str = "cpu",
    layout: str = CHANNELS_LAST,
    capturable: bool = False,
) -> Any:
    """Make PyTorch's step with the weights of a task: a TorchGANStep.

    layout      of the weights, a name in LAYOUTS
    capturable  whether a CUDA graph may hold the optimisers' steps
    """
    from benchmarks.peers import LAYOUTS
    from benchmarks.peers.torch_vqgan import TorchGANStep, TorchVQGAN, patchgan_twin
    from benchmarks.peers.torch_vqvae import twin

    options, channels = task.options, task.images_of_step.shape[-1]
    hidden = {} if options.hidden is None else {"hidden": options.hidden}
    model = twin(task.model, TorchVQGAN, channels=channels, **hidden)
    judge = patchgan_twin(
        task.adversary.discriminator,
        channels,
        options.discriminator_width,
        options.discriminator_layers,
        options.discriminator_norm == "batch",
    )
    return TorchGANStep(
        model.to(device, memory_format=LAYOUTS[layout]),
        judge.to(device, memory_format=LAYOUTS[layout]),
        lr=options.lr,
        weight=options.adversarial_weight,
        eps=options.adaptive_eps,
        lecam=options.lecam_weight,
        matching=options.feature_matching,
        capturable=capturable,
    )


CASES = [
    Case(
        "vqgan_step/64x64x3",
        f"VQ-GAN training step, both optimisers, batch {BATCH}, 64×64×3",
        partial(build, 64),
    )
]
