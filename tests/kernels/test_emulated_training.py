"""Whole training steps whose kernels all run in the CUDA emulator, against Numba's."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import tinyvq_kernels
from emulated import needs_compiler
from tinyvq_kernels import use_kernels, watch_kernels

from tinyvq.data import ImageData, Split
from tinyvq.nn import Module
from tinyvq.optim import Adam, AdamW
from tinyvq.tensor import Tensor
from tinyvq.training.prior import CodedSplit, PriorOptions, PriorTask
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vqgan import VQGANOptions, VQGANTask
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

pytestmark = needs_compiler

EMULATED = {
    kernel.op: kernel.variant
    for kernel in tinyvq_kernels.kernels()
    if kernel.variant == "cuda_emulated"
}
# Sums of up to a few thousand terms in another order, through some twenty layers.
CLOSE = {"float32": 1e-4, "float64": 1e-12}
STEPS = 2
Steps = tuple[list[dict[str, float]], list[Any]]  # what was measured; gradients
SIZES: dict[str, Any] = {"hidden": 8, "num_codes": 16, "code_dim": 8, "batch_size": 2}


@contextmanager
def emulated() -> Iterator[set[str]]:
    """Run what has a CUDA ladder in the emulator; tell what ran."""
    ran: set[str] = set()

    def around(op: str, kernel: Any) -> Any:
        ran.add(op)
        return kernel

    with use_kernels(**EMULATED), watch_kernels(around):
        yield ran


def task_of(kind: str, dtype: str) -> Any:
    """Make a tiny task whose models and batches are of a dtype."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    data = ImageData("noise", {name: Split(pixels) for name in ("train", "val")})
    if kind == "vqvae":
        task: Any = VQVAETask(VQVAEOptions(**SIZES), data, facts_of(data))
    else:
        adversary = {"adversarial_start": 1, "adversarial_ramp": 0}
        options = VQGANOptions(**SIZES, **adversary, discriminator_width=8)
        task = VQGANTask(options, data, facts_of(data))
    for model, holder in learners(task):
        model.astype(dtype)
        adam = holder.optimizer
        holder.optimizer = Adam(model.parameters(), adam.lr, adam.betas)
    batch = task.batch
    task.batch = lambda step: Tensor(batch(step).numpy(), dtype=dtype)
    return task


def learners(task: Any) -> list[tuple[Module, Any]]:
    """List what learns, and who holds its optimiser."""
    found: list[tuple[Module, Any]] = [(task.model, task)]
    if hasattr(task, "adversary"):
        found.append((task.adversary.discriminator, task.adversary))
    return found


def assert_close(one: Steps, other: Steps, dtype: str) -> None:
    """Hold two runs to the same measures and gradients."""
    (measured, gradients), (others, their_gradients) = one, other
    for ours, theirs in zip(measured, others, strict=True):
        assert theirs == pytest.approx(ours, rel=CLOSE[dtype])
    assert len(gradients) == len(their_gradients) > 20
    # Of all gradients: that of a bias before a norm is rounding and nothing else.
    most = CLOSE[dtype] * max(np.abs(ours).max() for ours in gradients)
    for ours, theirs in zip(gradients, their_gradients, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=most)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("kind", ["vqvae", "vqgan"])
def test_steps_through_emulated_kernels_are_those_of_the_cpu(
    kind: str, dtype: str
) -> None:
    found, indices = [], []
    for kernels in (nullcontext(set[str]()), emulated()):
        task = task_of(kind, dtype)
        with kernels as ran:
            measured = [dict(task.step(step)) for step in range(1, STEPS + 1)]
        gradients = [
            parameter.grad.array
            for model, _ in learners(task)
            for parameter in model.parameters()
            if parameter.grad is not None
        ]
        found.append((measured, gradients))
        indices.append(task.output.indices)
    wanted = {"conv2d", "conv2d_weight_grad", "nearest_code", "code_sums", "adam"}
    if kind == "vqgan":
        wanted |= {"group_norm_grad", "attention", "attention_grad"}
    assert wanted <= ran
    np.testing.assert_array_equal(*indices)
    assert_close(*found, dtype)


@pytest.mark.parametrize("dtype", CLOSE)
def test_a_prior_learns_the_same_through_emulated_kernels(dtype: str) -> None:
    """81 codes per image, which attention takes as several tiles."""
    codes = np.random.default_rng(0).integers(0, 16, (4, 9, 9))
    split = CodedSplit(codes, labels=None)
    facts = {"grid": [9, 9], "num_codes": 16, "num_classes": 0}
    options = PriorOptions(width=16, layers=2, heads=2, batch_size=2)
    found = []
    for kernels in (nullcontext(set[str]()), emulated()):
        task = PriorTask(options, {"train": split, "val": split}, facts)
        task.prior.astype(dtype)
        task.optimizer = AdamW(task.prior.parameters(), options.lr)
        with kernels as ran:
            measured = [dict(task.step(step)) for step in range(1, STEPS + 1)]
        gradients = [
            p.grad.array for p in task.prior.parameters() if p.grad is not None
        ]
        found.append((measured, gradients))
    assert {"attention", "attention_grad", "matmul", "code_sums", "adam"} <= ran
    assert_close(*found, dtype)
