"""A GAN trained by tinyvq and by PyTorch: same weights, originals and noise."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require

from tinyvq.data import ImageData, Split
from tinyvq.optim import Adam
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.noise import BETAS, GANOptions, GANTask

torch = require("torch")

from benchmarks.peers.torch_gan import (  # noqa: E402
    TorchGANStep,
    discriminator,
    generator,
)
from benchmarks.peers.torch_vqvae import to_torch  # noqa: E402

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]
STEPS, LR, SIZE, BATCH = 20, 2e-4, (8, 12), 6
WIDTHS: dict[str, Any] = {"noise_dim": 5, "hidden": 4, "code_dim": 3}
# A bias before a batch norm, which takes it away again: its gradient is 0, and Adam
# divides roundings of 0 by their own size. The running mean sees it.
UNSEEN = "decoder.layers.3.bias"


class GivenBatches(GANTask):
    """The task, on float64 originals that the test gives; its noise, in float64."""

    batches: list[Array]

    def batch(self, step: int) -> Tensor:
        return Tensor(self.batches[step - 1])

    def noise(self, step: int) -> Tensor:
        return Tensor(super().noise(step).numpy().astype(np.float64))


def task_of(channels: int, norm: Any) -> GivenBatches:
    options = GANOptions(
        **WIDTHS,
        lr=LR,
        discriminator_lr=LR,
        discriminator_width=4,
        discriminator_norm=norm,
        batch_size=BATCH,
    )
    nothing = np.zeros((BATCH, *SIZE, channels), np.uint8)
    data = ImageData("test", {"train": Split(nothing), "val": Split(nothing)})
    task = GivenBatches(options, data, {"image_shape": [*SIZE, channels]})
    task.batches = [
        Stream(i, "images").uniform((BATCH, *SIZE, channels), -0.5, 0.5)
        for i in range(STEPS)
    ]
    for network in (task.model, task.adversary.discriminator):
        network.astype(np.float64)
    task.optimizer = Adam(task.model.parameters(), LR, BETAS)
    judged = task.adversary.discriminator.parameters()
    task.adversary.optimizer = Adam(judged, LR, BETAS)
    return task


def turned(weight: Array) -> Any:
    """Reorder a weight as PyTorch's: linear ones (C,K) -> (K,C) too."""
    return torch.tensor(weight.T.copy()) if weight.ndim == 2 else to_torch(weight)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_twenty_float64_steps_of_both_sides_are_those_of_pytorch(
    channels: int, norm: str
) -> None:
    task = task_of(channels, norm)
    p, q = SIZE[0] // 4, SIZE[1] // 4
    model = generator((p, q, 3), channels, noise_dim=5, hidden=4)
    judge = discriminator((p, q), channels, hidden=4, normed=norm == "batch")
    sides = ((task.model, model), (task.adversary.discriminator, judge))
    for mine, theirs in sides:
        theirs.double()
        pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
        with torch.no_grad():
            for parameter, copy in pairs:
                copy.copy_(turned(parameter.numpy()))
    step_of_theirs = TorchGANStep(model, judge, LR)
    for step in range(1, STEPS + 1):
        ours = task.step(step)
        x = torch.tensor(task.batches[step - 1].transpose(0, 3, 1, 2).copy())
        peer = step_of_theirs.step(x, torch.tensor(task.noise(step).numpy()))
        assert ours["loss"] == pytest.approx(peer.generator, rel=1e-9), step
        assert ours["discriminator_loss"] == pytest.approx(
            peer.discriminator, rel=1e-9
        ), step
    reach = 1e-7 * LR * STEPS  # of the way that Adam can have gone
    for mine, theirs in sides:
        for (path, parameter), other in zip(
            mine.named_parameters(), theirs.parameters(), strict=True
        ):
            if path != UNSEEN:
                got, want = turned(parameter.numpy()), other.detach()
                np.testing.assert_allclose(got, want, 1e-7, reach, err_msg=path)
        running = [b for n, b in theirs.named_buffers() if "running_" in n]
        means = [a for n, a in mine.state_dict().items() if "running_" in n]
        for got, want in zip(means, running, strict=True):
            np.testing.assert_allclose(got, want, 1e-7, reach)
