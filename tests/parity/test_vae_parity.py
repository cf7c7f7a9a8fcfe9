"""A VAE trained by tinyvq and by PyTorch: same weights, batches and noise."""

from typing import Any

import numpy as np
import pytest
from models.vae_examples import SIZE, SMALL, VARIANCE
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
from tinyvq.optim import Adam
from tinyvq.tensor import Tensor
from tinyvq.training.vae import VAEOptions, VAETask

torch = require("torch")

from benchmarks.peers.torch_vae import TorchVAE  # noqa: E402
from benchmarks.peers.torch_vqgan import decoder, encoder  # noqa: E402
from benchmarks.peers.torch_vqvae import TorchVQVAE  # noqa: E402

pytestmark = pytest.mark.torch

STEPS, LR, GRID_DIM, LATENT_DIM, BETA = 20, 1e-3, 3, 5, 0.25
HIDDEN = 8
UNSEEN = ("key.bias",)  # of an attention: adds the same to all scores of a query
LAYERS = 40  # at most; twice with backward
# Two orders of a sum of n terms differ by about n·u of its largest value, layer by
# layer: 40 there and back, sums over at most 4·8·12 pixels.
TOLERANCE = 2 * LAYERS * 4 * 8 * 12 * U64


class GivenBatches(VAETask):
    """The task, on batches that the test gives; its noise, in their dtype."""

    batches: list[Array]

    def batch(self, step: int) -> Tensor:
        return Tensor(self.batches[step - 1])

    def noise(self, step: int) -> Tensor:
        noise = super().noise(step).numpy()
        return Tensor(noise.astype(self.batches[0].dtype))


def task_of(
    model: Any, channels: int, dtype: str = "float64", seed: int = 0
) -> GivenBatches:
    options = VAEOptions(
        model=model,
        hidden=HIDDEN,
        grid_dim=GRID_DIM,
        latent_dim=LATENT_DIM,
        beta=BETA,
        lr=LR,
        batch_size=4,
        seed=seed,
    )
    nothing = np.zeros((4, *SIZE, channels), np.uint8)
    data = ImageData("test", {"train": Split(nothing), "val": Split(nothing)})
    facts = {"image_shape": [*SIZE, channels], "pixel_variance": VARIANCE}
    task = GivenBatches(options, data, facts)
    task.batches = [
        images(seed + i, 4, SIZE, channels).astype(dtype) for i in range(STEPS)
    ]
    task.model.astype(dtype)
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


def twin(task: GivenBatches, name: str, channels: int) -> Any:
    """Build the PyTorch model with a task's weights and dtype."""
    theirs = TorchVAE(
        *halves(name, channels),
        grid=task.model.grid,
        latent_dim=LATENT_DIM,
        beta=BETA,
        pixel_variance=VARIANCE,
    )
    give_weights(task.model, theirs)
    return theirs


def run(peer: Any, task: GivenBatches, step: int) -> Any:
    """Run PyTorch's model on the same images and noise, in the dtype of its weights."""
    dtype = next(peer.parameters()).dtype
    x = to_nchw(task.batches[step - 1]).to(dtype)
    return peer(x, torch.tensor(task.noise(step).numpy()).to(dtype))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SMALL)
def test_twenty_float64_steps_are_those_of_pytorch(name: str, channels: int) -> None:
    task = task_of(name, channels)
    peer = twin(task, name, channels)
    adam = torch.optim.Adam(peer.parameters(), LR)
    for step in range(1, STEPS + 1):
        ours = task.step(step)
        found = run(peer, task, step)
        adam.zero_grad()
        found.loss.backward()
        adam.step()
        assert ours["loss"] == pytest.approx(found.loss.item(), rel=1e-9), step
        assert ours["kl"] == pytest.approx(found.kl.item(), rel=1e-9), step
        nmse = found.mse.item() / VARIANCE
        assert ours["nmse"] == pytest.approx(nmse, rel=1e-9), step
        if step == 1:
            assert_gradients_agree(task.model, peer, TOLERANCE, UNSEEN)
    # 1e-7 of the way that Adam can have gone: where a gradient is nearly 0, it divides
    # a rounding by its own size.
    reach = 1e-7 * LR * STEPS
    for (path, mine), theirs in zip(
        task.model.named_parameters(), peer.parameters(), strict=True
    ):
        if not path.endswith(UNSEEN):
            got, want = turned(path, mine.numpy()), theirs.detach()
            np.testing.assert_allclose(got, want, 1e-7, reach, err_msg=path)


def float32_errors(name: str, seed: int) -> Errors:
    """Run step 1 in float32, by us and by PyTorch, and in float64; see `errors`."""
    task = task_of(name, 3, "float32", seed)
    theirs, exact = twin(task, name, 3), twin(task, name, 3).double()
    measured = task.step(1)
    ours = {key: np.array(measured[key]) for key in ("loss", "nmse", "kl")}
    ours |= gradients(task.model, UNSEEN)

    def results(peer: Any) -> list[Array]:
        found = run(peer, task, 1)
        found.loss.backward()
        values = (found.loss, found.mse / VARIANCE, found.kl)
        grads = gradients_of(task.model, peer, UNSEEN)
        return [*(v.detach().numpy() for v in values), *grads]

    return errors(ours, results(theirs), results(exact))


@pytest.mark.parametrize("name", SMALL)
def test_float32_error_is_at_most_twice_that_of_pytorch(name: str) -> None:
    assert_at_most_twice([float32_errors(name, seed) for seed in range(5)], LAYERS)
