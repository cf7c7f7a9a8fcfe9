"""Other quantizers and the dense VQ-VAE, by tinyvq and by PyTorch."""

from typing import Any

import numpy as np
import pytest
from parity.steps import assert_at_most_twice, give_weights, images
from parity.vqvae_steps import (
    AVERAGES,
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

from tinyvq.models import VQVAE
from tinyvq.quantizers import SoftQuantizer
from tinyvq.rng import Stream

torch = require("torch")

from parity.torch_variants import (  # noqa: E402
    SoftTorchQuantizer,
    TorchDense,
    VariedQuantizer,
)

from benchmarks.peers.torch_vqvae import TorchVQVAE, quantizer_twin  # noqa: E402

pytestmark = pytest.mark.torch

SIZE, CHANNELS = (12, 16), 3
ROTATED, NORMALIZED = {"estimator": "rotation"}, {"normalize": True}
# How the codes learn, what else is set, and what is to be compared at the end.
QUANTIZERS: dict[str, dict[str, Any]] = {
    "rotation ema": {"quantizer": "ema", **ROTATED},
    "rotation gradient": {"quantizer": "gradient", **ROTATED},
    "normalized ema": {"quantizer": "ema", **NORMALIZED},
    "normalized gradient": {"quantizer": "gradient", **NORMALIZED},
    "both ema": {"quantizer": "ema", **NORMALIZED, **ROTATED},
    "soft": {"quantizer": "soft", "temperature": 0.05, "kl_weight": 0.3},
}
each_quantizer = pytest.mark.parametrize("name", QUANTIZERS)
each_place = pytest.mark.parametrize("placing", [LEFT, PLACED], ids=["left", "placed"])


def model_of(name: str, placing: dict[str, Any], seed: int = 0) -> VQVAE:
    settings = {**SMALL, **CODES, **placing, **QUANTIZERS[name], "seed": seed}
    if name == "soft":  # has no running means, and so no dead codes
        del settings["decay"], settings["restart_below"]
    return VQVAE.preset("conv", channels=CHANNELS, pixel_variance=1 / 12, **settings)


def quantizer_of(ours: Any) -> Any:
    """Build the PyTorch quantizer with the settings, codebook and dtype of tinyvq's."""
    rng = Stream(0, "quantizer")
    if isinstance(ours, SoftQuantizer):
        return SoftTorchQuantizer(
            torch.tensor(ours.codebook.numpy()),
            temperature=ours.temperature,
            kl_weight=ours.kl_weight,
            kmeans_start=ours.kmeans_start,
            rng=rng,
        )
    plain = quantizer_twin(ours)
    theirs = VariedQuantizer(
        normalize=ours.normalize,
        rotate=ours.estimator == "rotation",
        num_codes=ours.num_codes,
        code_dim=ours.code_dim,
        learn=ours.learn,
        commitment=ours.commitment,
        decay=ours.decay,
        kmeans_start=ours.kmeans_start,
        restart_below=ours.restart_below,
        rng=rng,
    ).to(plain.codebook.dtype)
    theirs.load_state_dict(plain.state_dict())
    return theirs


def twin_of(model: VQVAE, kind: Any = TorchVQVAE, **sizes: Any) -> Any:
    theirs = kind(
        quantizer_of(model.quantizer),
        channels=CHANNELS,
        code_dim=model.quantizer.code_dim,
        pixel_variance=model.pixel_variance,
        **sizes,
    )
    give_weights(model, theirs)
    return theirs


@each_place
@each_quantizer
def test_twenty_float64_steps_are_those_of_pytorch(
    name: str, placing: dict[str, Any]
) -> None:
    model = model_of(name, placing).astype(np.float64)
    batches = [images(i, 6, SIZE, CHANNELS) for i in range(STEPS)]
    spread(model, batches[0])
    theirs = twin_of(model, **SMALL)
    state = ("codebook",) if name == "soft" else AVERAGES
    assert_steps_agree(model, theirs, batches, terms=6 * 12 * 16, state=state)
    if name != "soft":
        restarts = theirs.quantizer.restarted
        assert (restarts > 0) == (placing is PLACED), restarts


@each_quantizer
def test_float32_error_is_at_most_twice_that_of_pytorch(name: str) -> None:
    runs = []
    for seed in range(3):
        model = model_of(name, LEFT, seed)
        x = images(seed, 4, SIZE, CHANNELS).astype(np.float32)
        spread(model, x)
        theirs, exact = twin_of(model, **SMALL), twin_of(model, **SMALL).double()
        runs.append(float32_errors(model, theirs, exact, x))
    assert_at_most_twice(runs, LAYERS)


# The preset `dense`.

# 24 images, a vector each, for 8 codes: of 3 the average, as of 72 for 24 above.
IMAGES, DENSE_LAYERS = 24, 6
DENSE = {"hidden": 6}
FEW = {**CODES, "num_codes": 8, "code_dim": 5}


def dense_of(learn: str, placing: dict[str, Any], seed: int = 0) -> VQVAE:
    settings = {**DENSE, **FEW, **placing, "quantizer": learn, "seed": seed}
    return VQVAE.preset(
        "dense",
        channels=CHANNELS,
        image_size=SIZE,
        pixel_variance=1 / 12,
        **settings,
    )


@each_place
@pytest.mark.parametrize("learn", ["gradient", "ema"])
def test_the_dense_preset_in_float64_is_that_of_pytorch(
    learn: str, placing: dict[str, Any]
) -> None:
    model = dense_of(learn, placing).astype(np.float64)
    batches = [images(i, IMAGES, SIZE, CHANNELS) for i in range(STEPS)]
    spread(model, batches[0])
    theirs = twin_of(model, TorchDense, size=SIZE, **DENSE)
    assert_steps_agree(model, theirs, batches, terms=IMAGES * 12 * 16)


@pytest.mark.parametrize("learn", ["gradient", "ema"])
def test_the_dense_presets_error_is_at_most_twice_that_of_pytorch(learn: str) -> None:
    runs = []
    for seed in range(3):
        model = dense_of(learn, LEFT, seed)
        x = images(seed, IMAGES, SIZE, CHANNELS).astype(np.float32)
        spread(model, x)
        theirs, exact = (twin_of(model, TorchDense, size=SIZE, **DENSE) for _ in "ab")
        runs.append(float32_errors(model, theirs, exact.double(), x))
    assert_at_most_twice(runs, DENSE_LAYERS)
