"""A VQ-VAE trained by tinyvq and by PyTorch: same weights, same batches."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import require

from tinyvq import models, optim, quantizers
from tinyvq.models import VQVAE, VQVAEOutput
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

torch = require("torch")

from benchmarks.peers.torch_vqvae import TorchVQVAE, to_torch, twin  # noqa: E402

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]

STEPS = 20
LR = 3e-4
U32, U64 = 2.0**-24, 2.0**-53  # unit roundoffs
LAYERS = 16  # of the preset: convolutions and what stands between; twice with backward

SMALL = {"hidden": 16, "residual_hidden": 8}
# 6 × (3×4) = 72 vectors a batch: at least one a code. Sizes of codes are whole numbers
# over powers of 5 (decay 0.8), and 0.37 · 72 / 24 = 1.11 is none: no code stands on the
# line between dead and alive, where a rounding would decide.
CODES = {"num_codes": 24, "code_dim": 8, "decay": 0.8}
PLACED = {"kmeans_start": True, "restart_below": 0.37}
LEFT = {"kmeans_start": False, "restart_below": 0.0}


def images(seed: int, n: int, size: tuple[int, int], channels: int) -> Array:
    """Noise in [-0.5, 0.5): no two patches alike, so no two codes tie."""
    return Stream(seed, "images").uniform((n, *size, channels), -0.5, 0.5)


def to_nchw(x: Array) -> torch.Tensor:
    return torch.tensor(x.transpose(0, 3, 1, 2).copy())


def spread(model: VQVAE, x: Array) -> None:
    """Draw the codes like the encoder's vectors of x, so that many are chosen."""
    z = model.encoder(Tensor(x)).numpy()
    z = z.reshape(-1, z.shape[-1])  # (N·P·Q, D)
    with model.quantizer.codebook.mutate() as codes:
        drawn = Stream(0, "codes").normal(codes.shape, codes.dtype)
        codes[...] = z.mean(axis=0) + z.std(axis=0) * drawn


def train_ours(model: VQVAE, adam: optim.Adam, x: Array) -> VQVAEOutput:
    model.zero_grad()
    output = model(Tensor(x))
    output.loss.backward()
    adam.step()
    update = model.quantizer.update(output.stats)
    for codebook in model.quantizer.trained_codebook():
        adam.reset_rows(codebook, update.moved)
    return output


def train_theirs(model: TorchVQVAE, adam: Any, x: Array) -> Any:
    adam.zero_grad()
    output = model(to_nchw(x))
    output.loss.backward()
    adam.step()
    model.quantizer.update(adam)
    return output


def gradients(model: VQVAE) -> dict[str, Array]:
    """Each parameter's gradient, in PyTorch's axes."""
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        found[name] = to_torch(parameter.grad.numpy()).numpy()
    return found


def assert_steps_agree(
    model: VQVAE, theirs: TorchVQVAE, batches: list[Array], terms: int
) -> None:
    """Train both on the batches, comparing every step.

    terms  values in the longest sum of a forward or backward pass

    A sum of n terms in two orders differs by about √n·u times the sum of their
    magnitudes, that is by n·u times a typical sum of random signs; one layer after
    another does that, against the largest value of each gradient.
    """
    adam = optim.Adam(model.parameters(), lr=LR)
    peer = torch.optim.Adam(theirs.parameters(), lr=LR)
    tolerance = 2 * LAYERS * terms * U64
    for step, x in enumerate(batches):
        ours = train_ours(model, adam, x)
        other = train_theirs(theirs, peer, x)
        assert ours.loss.item() == pytest.approx(other.loss.item(), rel=1e-9), step
        np.testing.assert_array_equal(ours.indices, other.indices.numpy())
        if step == 0:
            assert len(np.unique(ours.indices)) > 2
            pairs = zip(gradients(model).items(), theirs.parameters(), strict=True)
            for (name, mine), parameter in pairs:
                expected = parameter.grad.numpy()
                largest = np.abs(expected).max()
                assert largest > 0, name
                np.testing.assert_allclose(
                    mine, expected, rtol=0, atol=tolerance * largest, err_msg=name
                )
    # What the losses are held to, 1e-9, of the way that Adam can have gone.
    reach = 1e-9 * LR * len(batches)
    for (name, mine), parameter in zip(
        model.named_parameters(), theirs.parameters(), strict=True
    ):
        np.testing.assert_allclose(
            to_torch(mine.numpy()), parameter.detach(), 1e-9, reach, err_msg=name
        )
    for name in ("codebook", "cluster_size", "embed_sum"):
        np.testing.assert_allclose(
            getattr(model.quantizer, name).numpy(),
            getattr(theirs.quantizer, name).detach(),
            rtol=1e-9,
            atol=1e-12,
            err_msg=name,
        )


@pytest.mark.parametrize("placing", [LEFT, PLACED], ids=["left", "placed"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("learn", ["gradient", "ema"])
def test_twenty_float64_steps_are_those_of_pytorch(
    learn: str, channels: int, placing: dict[str, Any]
) -> None:
    model = models.VQVAE.preset(
        "conv",
        channels=channels,
        pixel_variance=1 / 12,
        quantizer=learn,
        **SMALL,
        **CODES,
        **placing,
    ).astype(np.float64)
    batches = [images(i, 6, (12, 16), channels) for i in range(STEPS)]
    spread(model, batches[0])
    theirs = twin(model, channels=channels, **SMALL)
    assert_steps_agree(model, theirs, batches, terms=6 * 12 * 16)
    restarts = theirs.quantizer.restarted
    assert (restarts > 0) == (placing is PLACED), restarts


def test_the_full_preset_in_float64_is_that_of_pytorch() -> None:
    model = models.VQVAE.preset("conv", pixel_variance=1 / 12).astype(np.float64)
    # 9 × 64 vectors for 512 codes.
    batches = [images(i, 9, (32, 32), 3) for i in range(STEPS)]
    spread(model, batches[0])
    theirs = twin(model)
    assert_steps_agree(model, theirs, batches, terms=9 * 16 * 16)


@pytest.mark.parametrize("learn", ["gradient", "ema"])
def test_encode_and_decode_are_those_of_pytorch(learn: str) -> None:
    model = models.VQVAE.preset("conv", quantizer=learn, **SMALL, **CODES)
    model.astype(np.float64)
    x = images(0, 4, (8, 12), 3)
    spread(model, x)
    theirs = twin(model, **SMALL)
    indices = model.encode(Tensor(x))
    with torch.no_grad():
        found = theirs(to_nchw(x)).indices
        codes = theirs.quantizer.codebook[found].permute(0, 3, 1, 2)
        pictures = theirs.decoder(codes).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(indices, found.numpy())
    np.testing.assert_allclose(
        model.decode(indices).numpy(),
        pictures,
        rtol=0,
        atol=LAYERS * 9 * 16 * U64 * np.abs(pictures).max(),
    )


def float32_errors(
    seed: int, learn: str, size: tuple[int, int], settings: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """Run step 1 in float32; measure our error and PyTorch's against float64.

    ->  for the loss, the reconstruction and each gradient: the length of the error over
        that of the float64 result
    """
    sizes = {k: v for k, v in settings.items() if k in SMALL}
    model = models.VQVAE.preset("conv", quantizer=learn, seed=seed, **settings)
    x = images(seed, 4, size, 3).astype(np.float32)
    spread(model, x)
    theirs, exact = twin(model, **sizes), twin(model, **sizes).double()

    output = model(Tensor(x))
    output.loss.backward()
    ours = {
        "loss": output.loss.numpy(),
        "reconstruction": output.reconstruction.numpy().transpose(0, 3, 1, 2),
        **gradients(model),
    }

    def run(peer: TorchVQVAE, values: Array) -> list[Array]:
        output = peer(to_nchw(values))
        output.loss.backward()
        np.testing.assert_array_equal(output.indices, indices)
        values = [output.loss.detach(), output.reconstruction.detach()]
        return [v.numpy() for v in [*values, *(p.grad for p in peer.parameters())]]

    indices = output.indices
    errors = {}
    for (name, mine), other, truth in zip(
        ours.items(), run(theirs, x), run(exact, x.astype(np.float64)), strict=True
    ):
        length = np.linalg.norm(truth)
        errors[name] = (
            float(np.linalg.norm(mine - truth) / length),
            float(np.linalg.norm(other - truth) / length),
        )
    return errors


@pytest.mark.parametrize("learn", ["gradient", "ema"])
@pytest.mark.parametrize(
    ("size", "settings"),
    [((12, 16), SMALL | CODES), ((28, 28), {})],
    ids=["small", "full"],
)
def test_float32_error_is_at_most_twice_that_of_pytorch(
    learn: str, size: tuple[int, int], settings: dict[str, Any]
) -> None:
    """The median of three runs: one ReLU that flips at a rounding outweighs the rest.

    Below √(2·16/3)·u an error is noise: so much remains where every sum is exact and
    each of 2 × 16 layers only stores its results in float32, a rounding error of
    u/√3 root mean square each.
    """
    noise = (2 * LAYERS / 3) ** 0.5 * U32
    runs = [float32_errors(seed, learn, size, settings) for seed in range(3)]
    worse = {}
    for name in runs[0]:
        ours, theirs = np.median([run[name] for run in runs], axis=0)
        if ours > max(2 * theirs, noise):
            worse[name] = f"{ours:.1e}, PyTorch's {theirs:.1e}"
    assert not worse, worse


@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    code_dim=st.integers(1, 9),
    num_codes=st.integers(1, 20),
    learn=st.sampled_from(["gradient", "ema"]),
    commitment=st.sampled_from([0.25, 0.0, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_straight_through_and_losses_are_the_detach_form(
    shape: list[int],
    code_dim: int,
    num_codes: int,
    learn: str,
    commitment: float,
    seed: int,
) -> None:
    ours = quantizers.VectorQuantizer(
        num_codes, code_dim, learn=learn, commitment=commitment, rng=Stream(seed)
    ).astype(np.float64)
    codes = Stream(seed, "codes").normal((num_codes, code_dim))
    with ours.codebook.mutate() as array:
        array[...] = codes
    values = Stream(seed, "z").normal((*shape, code_dim))
    upstream = Stream(seed, "gy").normal((*shape, code_dim))

    z = Tensor(values, requires_grad=True)
    output = ours(z)
    (output.loss + (output.quantized * upstream).sum()).backward()

    z_t = torch.tensor(values, requires_grad=True)
    codebook = torch.tensor(codes, requires_grad=True)
    distances = (z_t.detach()[..., None, :] - codebook).square().sum(-1)
    indices = distances.argmin(-1)
    e = codebook[indices]
    quantized = z_t + (e - z_t).detach()
    loss = commitment * (z_t - e.detach()).square().mean()
    if learn == "gradient":
        loss = loss + (e - z_t.detach()).square().mean()
    (loss + (quantized * torch.tensor(upstream)).sum()).backward()

    np.testing.assert_array_equal(output.indices, indices.numpy())
    # Sums of at most z.size terms, each below 64 (normal values are below 6): the
    # order of adding alone makes n·u·64.
    close = {"rtol": 0, "atol": 64 * values.size * U64}
    np.testing.assert_allclose(output.quantized.numpy(), quantized.detach(), **close)
    np.testing.assert_allclose(output.loss.item(), loss.item(), **close)
    np.testing.assert_allclose(z.grad.numpy(), z_t.grad, **close)
    if learn == "gradient":
        np.testing.assert_allclose(ours.codebook.grad.numpy(), codebook.grad, **close)
