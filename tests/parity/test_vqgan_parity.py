"""A VQ-GAN trained by tinyvq and by PyTorch: same weights, batches, two optimisers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require

from tinyvq import optim
from tinyvq.data import ImageData, Split
from tinyvq.models import VQVAE
from tinyvq.rng import Stream
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

Array = npt.NDArray[Any]
STEPS, LR = 20, 3e-4
SIZES: dict[str, Any] = {"hidden": 8, "code_dim": 6, "num_codes": 16}


# A key's bias adds the same to all scores of a query, which softmax does not see: its
# gradient is 0, and Adam divides roundings of 0 by their own size.
UNSEEN = "key.bias"


class GivenBatches(VQGANTask):
    """The task, on float64 batches that the test gives."""

    batches: list[Array]

    def batch(self, step: int) -> Tensor:
        return Tensor(self.batches[step - 1])


def task_of(channels: int, **changes: Any) -> GivenBatches:
    options = VQGANOptions(
        model="small",
        discriminator_width=8,
        lr=LR,
        discriminator_lr=LR,
        adversarial_start=4,
        adversarial_ramp=3,
        head_start=100,
        adversarial_weight=0.5,
        decay=0.8,
        commitment=0.25,
        restart_below=0.0,
        **{**SIZES, "discriminator_norm": "batch", **changes},
    )
    nothing = np.zeros((4, 12, 16, channels), np.uint8)
    data = ImageData("test", {"train": Split(nothing), "val": Split(nothing)})
    facts = {"image_shape": [12, 16, channels], "pixel_variance": 1 / 12}
    task = GivenBatches(options, data, facts)
    task.batches = [
        Stream(i, "images").uniform((4, 12, 16, channels), -0.5, 0.5)
        for i in range(STEPS)
    ]
    task.model.astype(np.float64)
    task.adversary.discriminator.astype(np.float64)
    task.optimizer = optim.Adam(task.model.parameters(), LR, BETAS)
    task.adversary.optimizer = optim.Adam(
        task.adversary.discriminator.parameters(), LR, DISCRIMINATOR_BETAS
    )
    spread(task.model, task.batches[0])
    return task


def spread(model: VQVAE, x: Array) -> None:
    """Draw the codes like the encoder's vectors of x; leave k-means out of it."""
    model.quantizer.kmeans_start = False  # type: ignore[attr-defined]
    z = model.encoder(Tensor(x)).numpy().reshape(-1, SIZES["code_dim"])
    with model.quantizer.codebook.mutate() as codes:  # type: ignore[attr-defined]
        drawn = Stream(0, "codes").normal(codes.shape, codes.dtype)
        codes[...] = z.mean(axis=0) + z.std(axis=0) * drawn


def nchw(x: Array) -> Any:
    return torch.tensor(x.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("quantizer", ["ema", "gradient"])
@pytest.mark.parametrize(
    ("channels", "changes"),
    [
        (1, {}),
        (3, {"lecam_weight": 0.1, "feature_matching": 0.5}),
        (3, {"discriminator_norm": "none"}),
    ],
    ids=["grey", "colour, lecam, matching", "no norm"],
)
def test_twenty_float64_steps_of_both_optimisers_are_those_of_pytorch(
    quantizer: str, channels: int, changes: dict[str, Any]
) -> None:
    task = task_of(channels, quantizer=quantizer, **changes)
    options = task.options
    model = twin(task.model, TorchVQGAN, channels=channels, hidden=SIZES["hidden"])
    normed = options.discriminator_norm == "batch"
    judge = patchgan_twin(task.adversary.discriminator, channels, 8, 2, normed)
    theirs = TorchGANStep(
        model,
        judge,
        lr=LR,
        weight=0.5,
        eps=options.adaptive_eps,
        lecam=options.lecam_weight,
        matching=options.feature_matching,
    )
    counted = 0
    for step in range(1, STEPS + 1):
        ours = task.step(step)
        peer = theirs.step(nchw(task.batches[step - 1]), options.pressure(step))
        np.testing.assert_array_equal(task.output.indices, peer.indices.numpy())
        assert ours["loss"] == pytest.approx(peer.loss, rel=1e-9), step
        assert ours["discriminator_loss"] == pytest.approx(
            peer.discriminator_loss, rel=1e-9
        ), step
        if options.pressure(step) > 0:
            counted += 1
            assert ours["adaptive_weight"] == pytest.approx(
                peer.adaptive_weight, rel=1e-8
            ), step
        if step == 1:
            assert_gradients_agree(task, model, judge)
    assert counted == 17
    assert_weights_agree(task, model, judge)


def assert_gradients_agree(task: VQGANTask, model: Any, judge: Any) -> None:
    """Compare the first step's gradients, element for element.

    Two orders of a sum of n terms differ by about n·u of its largest value, layer by
    layer: 40 layers there and back, sums over at most 4·12·16 pixels.
    """
    tolerance = 2 * 40 * 4 * 12 * 16 * 2.0**-53
    for mine, peer in (
        (task.model, model),
        (task.adversary.discriminator, judge),
    ):
        pairs = zip(mine.named_parameters(), peer.parameters(), strict=True)
        for (name, parameter), other in pairs:
            assert parameter.grad is not None, name
            got, want = to_torch(parameter.grad.numpy()).numpy(), other.grad.numpy()
            scale = 1.0 if name.endswith(UNSEEN) else np.abs(want).max()
            np.testing.assert_allclose(
                got, want, rtol=0, atol=tolerance * scale, err_msg=name
            )


def assert_weights_agree(task: VQGANTask, model: Any, judge: Any) -> None:
    """Compare what 20 steps have made: 1e-7 of the way that Adam can have gone.

    Where a gradient is nearly 0, Adam divides a rounding by its own size.
    """
    reach = 1e-7 * LR * STEPS
    for mine, peer in ((task.model, model), (task.adversary.discriminator, judge)):
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
    running = [b for n, b in judge.named_buffers() if n.endswith(("_mean", "_var"))]
    ours = [
        a
        for n, a in task.adversary.discriminator.state_dict().items()
        if "running_" in n
    ]
    assert len(ours) == len(running)
    for got, want in zip(ours, running, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
