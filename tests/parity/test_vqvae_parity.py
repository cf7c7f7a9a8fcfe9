"""A VQ-VAE trained by tinyvq and by PyTorch: same weights, same batches."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity.steps import U64, Errors, assert_at_most_twice, images, to_nchw
from parity.vqvae_steps import (
    CODES,
    LAYERS,
    LEFT,
    PLACED,
    SMALL,
    STEPS,
    assert_steps_agree,
    float32_errors,
    spread,
)
from peers import require

from tinyvq import models, quantizers
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

torch = require("torch")

from benchmarks.peers.torch_vqvae import twin  # noqa: E402

pytestmark = pytest.mark.torch


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


def errors_of_a_run(
    seed: int, learn: str, size: tuple[int, int], settings: dict[str, Any]
) -> Errors:
    sizes = {k: v for k, v in settings.items() if k in SMALL}
    model = models.VQVAE.preset("conv", quantizer=learn, seed=seed, **settings)
    x = images(seed, 4, size, 3).astype(np.float32)
    spread(model, x)
    return float32_errors(model, twin(model, **sizes), twin(model, **sizes).double(), x)


@pytest.mark.parametrize("learn", ["gradient", "ema"])
@pytest.mark.parametrize(
    ("size", "settings"),
    [((12, 16), SMALL | CODES), ((28, 28), {})],
    ids=["small", "full"],
)
def test_float32_error_is_at_most_twice_that_of_pytorch(
    learn: str, size: tuple[int, int], settings: dict[str, Any]
) -> None:
    runs = [errors_of_a_run(seed, learn, size, settings) for seed in range(3)]
    assert_at_most_twice(runs, LAYERS)


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
