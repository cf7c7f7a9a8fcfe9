"""A VAE trained by tinyvq and by PyTorch: same weights, batches and noise."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from models.vae_examples import SIZE, SMALL, VARIANCE
from peers import require

from tinyvq.data import ImageData, Split
from tinyvq.optim import Adam
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.vae import VAEOptions, VAETask

torch = require("torch")

from benchmarks.peers.torch_vae import TorchVAE  # noqa: E402
from benchmarks.peers.torch_vqgan import decoder, encoder  # noqa: E402
from benchmarks.peers.torch_vqvae import TorchVQVAE, to_torch  # noqa: E402

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]
STEPS, LR, GRID_DIM, LATENT_DIM, BETA = 20, 1e-3, 3, 5, 0.25
HIDDEN = 8
UNSEEN = "key.bias"  # of an attention: adds the same to all scores of a query


class GivenBatches(VAETask):
    """The task, on float64 batches that the test gives; its noise, in float64."""

    batches: list[Array]

    def batch(self, step: int) -> Tensor:
        return Tensor(self.batches[step - 1])

    def noise(self, step: int) -> Tensor:
        return Tensor(super().noise(step).numpy().astype(np.float64))


def task_of(model: Any, channels: int) -> GivenBatches:
    options = VAEOptions(
        model=model,
        hidden=HIDDEN,
        grid_dim=GRID_DIM,
        latent_dim=LATENT_DIM,
        beta=BETA,
        lr=LR,
        batch_size=4,
    )
    nothing = np.zeros((4, *SIZE, channels), np.uint8)
    data = ImageData("test", {"train": Split(nothing), "val": Split(nothing)})
    facts = {"image_shape": [*SIZE, channels], "pixel_variance": VARIANCE}
    task = GivenBatches(options, data, facts)
    task.batches = [
        Stream(i, "images").uniform((4, *SIZE, channels), -0.5, 0.5)
        for i in range(STEPS)
    ]
    task.model.astype(np.float64)
    task.optimizer = Adam(task.model.parameters(), LR)
    return task


def halves(name: str, channels: int) -> tuple[Any, Any]:
    """Build the PyTorch encoder and decoder of a preset."""
    if name == "conv":
        sizes = {"channels": channels, "hidden": HIDDEN, "code_dim": GRID_DIM}
        whole = TorchVQVAE(torch.nn.Identity(), **sizes)
        return whole.encoder, whole.decoder
    widths = [HIDDEN, 2 * HIDDEN, 4 * HIDDEN]
    return (
        encoder(channels, GRID_DIM, widths, HIDDEN, 1),
        decoder(channels, GRID_DIM, widths, 1),
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SMALL)
def test_twenty_float64_steps_are_those_of_pytorch(name: str, channels: int) -> None:
    task = task_of(name, channels)
    peer = TorchVAE(
        *halves(name, channels),
        grid=task.model.grid,
        latent_dim=LATENT_DIM,
        beta=BETA,
        pixel_variance=VARIANCE,
    )
    peer.double()
    with torch.no_grad():
        pairs = zip(task.model.parameters(), peer.parameters(), strict=True)
        for mine, theirs in pairs:
            theirs.copy_(turned(mine.numpy()))
    adam = torch.optim.Adam(peer.parameters(), LR)
    for step in range(1, STEPS + 1):
        ours = task.step(step)
        x = torch.tensor(task.batches[step - 1].transpose(0, 3, 1, 2).copy())
        found = peer(x, torch.tensor(task.noise(step).numpy()))
        adam.zero_grad()
        found.loss.backward()
        adam.step()
        assert ours["loss"] == pytest.approx(found.loss.item(), rel=1e-9), step
        assert ours["kl"] == pytest.approx(found.kl.item(), rel=1e-9), step
        nmse = found.mse.item() / VARIANCE
        assert ours["nmse"] == pytest.approx(nmse, rel=1e-9), step
        if step == 1:
            assert_gradients_agree(task, peer)
    # 1e-7 of the way that Adam can have gone: where a gradient is nearly 0, it divides
    # a rounding by its own size.
    reach = 1e-7 * LR * STEPS
    for (path, mine), theirs in zip(
        task.model.named_parameters(), peer.parameters(), strict=True
    ):
        if not path.endswith(UNSEEN):
            got, want = turned(mine.numpy()), theirs.detach()
            np.testing.assert_allclose(got, want, 1e-7, reach, err_msg=path)


def turned(weight: Array) -> Any:
    """Reorder a weight as PyTorch's: linear ones (C,K) -> (K,C) too."""
    return torch.tensor(weight.T.copy()) if weight.ndim == 2 else to_torch(weight)


def assert_gradients_agree(task: VAETask, peer: Any) -> None:
    """Compare the first step's gradients, element for element.

    Two orders of a sum of n terms differ by about n·u of its largest value, layer by
    layer: 40 layers there and back, sums over at most 4·8·12 pixels.
    """
    tolerance = 2 * 40 * 4 * 8 * 12 * 2.0**-53
    pairs = zip(task.model.named_parameters(), peer.parameters(), strict=True)
    for (path, mine), theirs in pairs:
        assert mine.grad is not None, path
        got, want = turned(mine.grad.numpy()).numpy(), theirs.grad.numpy()
        scale = 1.0 if path.endswith(UNSEEN) else np.abs(want).max()
        assert scale > 0, path
        np.testing.assert_allclose(got, want, 0, tolerance * scale, err_msg=path)
