"""A VQ-GAN trained by tinyvq and by PyTorch: same weights, batches, two optimisers."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from parity.steps import (
    U64,
    Array,
    Errors,
    assert_at_most_twice,
    assert_gradients_agree,
    errors,
    gradients,
    gradients_of,
    images,
    to_nchw,
)
from parity.vqvae_steps import spread
from peers import require

from tinyvq import optim
from tinyvq.data import ImageData, Split
from tinyvq.nn import Module
from tinyvq.tensor import Tensor
from tinyvq.training.vqgan import (
    BETAS,
    DISCRIMINATOR_BETAS,
    VQGANOptions,
    VQGANTask,
)

torch = require("torch")

from benchmarks.peers.torch_vqgan import (  # noqa: E402
    TorchGANStep,
    TorchVQGAN,
    patchgan_twin,
)
from benchmarks.peers.torch_vqvae import to_torch, twin  # noqa: E402

pytestmark = pytest.mark.torch

STEPS, LR, SIZE = 20, 3e-4, (12, 16)
SIZES: dict[str, Any] = {"hidden": 8, "code_dim": 6, "num_codes": 16}
LAYERS = 40  # of generator and discriminator in a row; twice with backward
# Two orders of a sum of n terms differ by about n·u of its largest value, layer by
# layer: 40 there and back, sums over at most 4·12·16 pixels.
TOLERANCE = 2 * LAYERS * 4 * 12 * 16 * U64

# A key's bias adds the same to all scores of a query, which softmax does not see: its
# gradient is 0, and Adam divides roundings of 0 by their own size.
UNSEEN = ("key.bias",)
# And while no logit is beyond the hinge's margin, as many pull the last bias up as
# down.
AT_FIRST = (*UNSEEN, "head.bias")

each_quantizer = pytest.mark.parametrize("quantizer", ["ema", "gradient"])
each_setting = pytest.mark.parametrize(
    ("channels", "changes"),
    [
        (1, {}),
        (3, {"lecam_weight": 0.1, "feature_matching": 0.5}),
        (3, {"discriminator_norm": "none"}),
    ],
    ids=["grey", "colour, lecam, matching", "no norm"],
)


class GivenBatches(VQGANTask):
    """The task, on batches that the test gives."""

    batches: list[Array]

    def batch(self, step: int) -> Tensor:
        return Tensor(self.batches[step - 1])


def task_of(channels: int, dtype: str = "float64", **changes: Any) -> GivenBatches:
    options = VQGANOptions(
        model="small",
        discriminator_width=8,
        lr=LR,
        discriminator_lr=LR,
        adversarial_ramp=3,
        head_start=100,
        adversarial_weight=0.5,
        decay=0.8,
        commitment=0.25,
        restart_below=0.0,
        **{
            **SIZES,
            "adversarial_start": 4,
            "discriminator_norm": "batch",
            **changes,
        },
    )
    nothing = np.zeros((4, *SIZE, channels), np.uint8)
    data = ImageData("test", {"train": Split(nothing), "val": Split(nothing)})
    facts = {"image_shape": [*SIZE, channels], "pixel_variance": 1 / 12}
    task = GivenBatches(options, data, facts)
    task.batches = [
        images(options.seed + i, 4, SIZE, channels).astype(dtype) for i in range(STEPS)
    ]
    task.model.astype(dtype)
    task.adversary.discriminator.astype(dtype)
    task.optimizer = optim.Adam(task.model.parameters(), LR, BETAS)
    task.adversary.optimizer = optim.Adam(
        task.adversary.discriminator.parameters(), LR, DISCRIMINATOR_BETAS
    )
    task.model.quantizer.kmeans_start = False  # type: ignore[attr-defined]
    spread(task.model, task.batches[0])
    return task


def step_of_pytorch(task: GivenBatches, channels: int) -> TorchGANStep:
    """Build PyTorch's networks with a task's weights and dtype, and their step."""
    options = task.options
    normed = options.discriminator_norm == "batch"
    return TorchGANStep(
        twin(task.model, TorchVQGAN, channels=channels, hidden=SIZES["hidden"]),
        patchgan_twin(task.adversary.discriminator, channels, 8, 2, normed),
        lr=LR,
        weight=0.5,
        eps=options.adaptive_eps,
        lecam=options.lecam_weight,
        matching=options.feature_matching,
    )


def sides(task: GivenBatches, theirs: TorchGANStep) -> tuple[tuple[Module, Any], ...]:
    return (
        (task.model, theirs.model),
        (task.adversary.discriminator, theirs.judge),
    )


@each_quantizer
@each_setting
def test_twenty_float64_steps_of_both_optimisers_are_those_of_pytorch(
    quantizer: str, channels: int, changes: dict[str, Any]
) -> None:
    task = task_of(channels, quantizer=quantizer, **changes)
    options, theirs = task.options, step_of_pytorch(task, channels)
    counted = 0
    for step in range(1, STEPS + 1):
        ours = task.step(step)
        peer = theirs.step(to_nchw(task.batches[step - 1]), options.ramp(step))
        np.testing.assert_array_equal(task.output.indices, peer.indices.numpy())
        assert ours["loss"] == pytest.approx(peer.loss, rel=1e-9), step
        assert ours["discriminator_loss"] == pytest.approx(
            peer.discriminator_loss, rel=1e-9
        ), step
        if options.ramp(step) > 0:
            counted += 1
            assert ours["adaptive_weight"] == pytest.approx(
                peer.adaptive_weight, rel=1e-8
            ), step
        if step == 1:
            for mine, other in sides(task, theirs):
                assert_gradients_agree(mine, other, TOLERANCE, AT_FIRST)
    assert counted == 17
    assert_weights_agree(task, theirs)


def assert_weights_agree(task: GivenBatches, theirs: TorchGANStep) -> None:
    """Compare what 20 steps have made: 1e-7 of the way that Adam can have gone.

    Where a gradient is nearly 0, Adam divides a rounding by its own size.
    """
    reach = 1e-7 * LR * STEPS
    for mine, peer in sides(task, theirs):
        pairs = zip(mine.named_parameters(), peer.parameters(), strict=True)
        for (name, parameter), other in pairs:
            if name.endswith(UNSEEN):
                continue
            np.testing.assert_allclose(
                to_torch(parameter.numpy()),
                other.detach(),
                rtol=1e-7,
                atol=reach,
                err_msg=name,
            )
    buffers = theirs.judge.named_buffers()
    running = [b for n, b in buffers if n.endswith(("_mean", "_var"))]
    ours = [
        a
        for n, a in task.adversary.discriminator.state_dict().items()
        if "running_" in n
    ]
    assert len(ours) == len(running)
    for got, want in zip(ours, running, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def float32_errors(seed: int, channels: int, changes: dict[str, Any]) -> Errors:
    """Run step 1 in float32, by us and by PyTorch, and in float64; see `errors`.

    The adversary counts in it.
    """
    task = task_of(channels, "float32", adversarial_start=1, seed=seed, **changes)
    theirs, exact = step_of_pytorch(task, channels), step_of_pytorch(task, channels)
    for network in (exact.model, exact.judge):
        network.double()
    measured = task.step(1)
    values = ("loss", "adaptive_weight", "discriminator_loss")
    ours = {name: np.array(measured[name]) for name in values}
    for mine, _ in sides(task, theirs):
        ours |= gradients(mine, AT_FIRST)

    def run(peer: TorchGANStep, dtype: str) -> list[Array]:
        x = to_nchw(task.batches[0].astype(dtype))
        found = peer.step(x, task.options.ramp(1))
        np.testing.assert_array_equal(task.output.indices, found.indices.numpy())
        grads = (gradients_of(*side, AT_FIRST) for side in sides(task, peer))
        numbers = [np.array(getattr(found, name)) for name in values]
        return [*numbers, *chain.from_iterable(grads)]

    return errors(ours, run(theirs, "float32"), run(exact, "float64"))


@each_quantizer
@each_setting
def test_float32_error_is_at_most_twice_that_of_pytorch(
    quantizer: str, channels: int, changes: dict[str, Any]
) -> None:
    changes = {"quantizer": quantizer, **changes}
    runs = [float32_errors(seed, channels, changes) for seed in range(5)]
    assert_at_most_twice(runs, LAYERS)
