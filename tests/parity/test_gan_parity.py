"""What makes images from noise, by tinyvq and by PyTorch: same weights and noise."""

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
    give_weights,
    gradients,
    gradients_of,
    images,
    to_nchw,
    turned,
)
from peers import require

from tinyvq.data import ImageData, Split
from tinyvq.nn import Module
from tinyvq.optim import Adam
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.gan import BETAS, GANOptions, GANTask, NoiseOptions, NoiseTask

torch = require("torch")

from parity.torch_variants import TorchNoiseStep, TorchNoiseVQGAN  # noqa: E402

from benchmarks.peers.torch_gan import (  # noqa: E402
    TorchGANStep,
    discriminator,
    generator,
)
from benchmarks.peers.torch_vqvae import quantizer_twin  # noqa: E402

pytestmark = pytest.mark.torch

STEPS, LR, SIZE, BATCH = 20, 2e-4, (8, 12), 6
WIDTHS: dict[str, Any] = {"noise_dim": 5, "hidden": 4, "code_dim": 3}
GRID = (SIZE[0] // 4, SIZE[1] // 4, WIDTHS["code_dim"])
# 36 vectors per batch for 29 codes. Sizes of codes are whole numbers over powers of 10
# (decay 0.9), and 0.7 · 36 / 29 is none: no code stands on the line between dead and
# alive, where a rounding would decide.
CODES: dict[str, Any] = {"num_codes": 29, "commitment": 0.5}
RESTART_BELOW = 0.7  # above the 0.2 of a run, so that codes die within 20 steps
LAYERS = 20  # of generator and discriminator in a row; twice with backward
# Two orders of a sum of n terms differ by about n·u of its largest value, layer by
# layer: 20 there and back, sums over at most 6·8·12 pixels.
TOLERANCE = 2 * LAYERS * 6 * 8 * 12 * U64

each_norm = pytest.mark.parametrize("norm", ["batch", "none"])
each_depth = pytest.mark.parametrize("channels", [1, 3])
each_kind = pytest.mark.parametrize("coded", [False, True], ids=["gan", "noise-vqgan"])


class GivenBatches(GANTask):
    """The task, on originals that the test gives; its noise, in their dtype."""

    batches: list[Array]

    def batch(self, step: int) -> Tensor:
        return Tensor(self.batches[step - 1])

    def noise(self, step: int) -> Tensor:
        noise = super().noise(step).numpy()
        return Tensor(noise.astype(self.batches[0].dtype))


class GivenBatchesForCodes(GivenBatches, NoiseTask):
    """The same, with a codebook."""


def task_of(
    channels: int, norm: Any, coded: bool, dtype: str = "float64", seed: int = 0
) -> Any:
    kind, given = (NoiseOptions, CODES) if coded else (GANOptions, {})
    options = kind(
        **WIDTHS,
        **given,
        lr=LR,
        discriminator_lr=LR,
        discriminator_width=4,
        discriminator_norm=norm,
        batch_size=BATCH,
        seed=seed,
    )
    nothing = np.zeros((BATCH, *SIZE, channels), np.uint8)
    data = ImageData("test", {"train": Split(nothing), "val": Split(nothing)})
    build = GivenBatchesForCodes if coded else GivenBatches
    task = build(options, data, {"image_shape": [*SIZE, channels]})
    task.batches = [
        images(seed + i, BATCH, SIZE, channels).astype(dtype) for i in range(STEPS)
    ]
    if coded:
        task.model.quantizer.restart_below = RESTART_BELOW
        with task.model.quantizer.codebook.mutate() as codes:  # like what a norm makes
            codes[...] = Stream(0, "codes").normal(codes.shape, codes.dtype)
    for network in (task.model, task.adversary.discriminator):
        network.astype(dtype)
    task.optimizer = Adam(task.model.parameters(), LR, BETAS)
    judged = task.adversary.discriminator.parameters()
    task.adversary.optimizer = Adam(judged, LR, BETAS)
    return task


def twin(task: GANTask, channels: int, norm: str) -> TorchGANStep:
    """Build the PyTorch networks with a task's weights and dtype, and their step."""
    judge = discriminator(GRID[:2], channels, hidden=4, normed=norm == "batch")
    give_weights(task.adversary.discriminator, judge)
    model = generator(GRID, channels, noise_dim=5, hidden=4)
    if isinstance(task, NoiseTask):
        model = TorchNoiseVQGAN(model, quantizer_twin(task.model.quantizer))
    give_weights(task.model, model)
    kind = TorchNoiseStep if isinstance(task, NoiseTask) else TorchGANStep
    return kind(model, judge, LR)


def sides(task: GANTask, theirs: TorchGANStep) -> tuple[tuple[Module, Any], ...]:
    return (
        (task.model, theirs.model),
        (task.adversary.discriminator, theirs.judge),
    )


def step_of_theirs(theirs: TorchGANStep, task: GivenBatches, step: int) -> Any:
    """Do PyTorch's step on the same originals and noise."""
    dtype = next(theirs.model.parameters()).dtype
    x = to_nchw(task.batches[step - 1]).to(dtype)
    return theirs.step(x, torch.tensor(task.noise(step).numpy()).to(dtype))


@each_norm
@each_depth
@each_kind
def test_twenty_float64_steps_of_both_sides_are_those_of_pytorch(
    coded: bool, channels: int, norm: str
) -> None:
    task = task_of(channels, norm, coded)
    theirs = twin(task, channels, norm)
    for step in range(1, STEPS + 1):
        ours = task.step(step)
        peer = step_of_theirs(theirs, task, step)
        assert ours["loss"] == pytest.approx(peer.generator, rel=1e-9), step
        assert ours["discriminator_loss"] == pytest.approx(
            peer.discriminator, rel=1e-9
        ), step
        if coded:
            assert_codes_agree(task, theirs)
        if step == 1:
            for mine, other in sides(task, theirs):
                assert_gradients_agree(mine, other, TOLERANCE)
    reach = 1e-7 * LR * STEPS  # of the way that Adam can have gone
    for mine, other in sides(task, theirs):
        pairs = zip(mine.named_parameters(), other.parameters(), strict=True)
        for (path, parameter), copy in pairs:
            got, want = turned(path, parameter.numpy()), copy.detach()
            np.testing.assert_allclose(got, want, 1e-7, reach, err_msg=path)
        running = [b for n, b in other.named_buffers() if "running_" in n]
        means = [a for n, a in mine.state_dict().items() if "running_" in n]
        for got, want in zip(means, running, strict=True):
            np.testing.assert_allclose(got, want, 1e-7, reach)
    if coded:
        assert theirs.model.quantizer.restarted > 0


def assert_codes_agree(task: NoiseTask, theirs: Any) -> None:
    """Compare what the noise chose, and the codebook after its move."""
    ours, peer = task.model.quantizer, theirs.model.quantizer
    chosen = task.output.stats.indices.reshape(-1)
    np.testing.assert_array_equal(chosen, peer.batch[1].numpy())
    for name in ("codebook", "cluster_size", "embed_sum"):
        got, want = getattr(ours, name).numpy(), getattr(peer, name)
        np.testing.assert_allclose(got, want, 1e-7, 1e-9, err_msg=name)


@each_norm
@each_kind
def test_float32_error_is_at_most_twice_that_of_pytorch(coded: bool, norm: str) -> None:
    # Twenty, for the gradient of the last bias is a single number, near 0: as many
    # logits pull it up as down.
    runs = [float32_errors(seed, norm, coded) for seed in range(20)]
    assert_at_most_twice(runs, LAYERS)


def float32_errors(seed: int, norm: str, coded: bool) -> Errors:
    """Run step 1 in float32, by us and by PyTorch, and in float64; see `errors`."""
    task = task_of(3, norm, coded, "float32", seed)
    theirs, exact = twin(task, 3, norm), twin(task, 3, norm)
    for network in (exact.model, exact.judge):
        network.double()
    measured = task.step(1)
    ours = {name: np.array(measured[name]) for name in ("loss", "discriminator_loss")}
    for mine, _ in sides(task, theirs):
        ours |= gradients(mine)

    def run(peer: TorchGANStep) -> list[Any]:
        losses = step_of_theirs(peer, task, 1)
        found = [gradients_of(*side) for side in sides(task, peer)]
        values = [np.array(losses.generator), np.array(losses.discriminator)]
        return [*values, *chain.from_iterable(found)]

    return errors(ours, run(theirs), run(exact))
