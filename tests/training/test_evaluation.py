"""The figures of an evaluation are what their names say."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import metrics
from tinyvq.data import to_unit
from tinyvq.errors import NonFiniteError
from tinyvq.models import VQVAE
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.evaluation import BATCH, evaluate, reconstruct

VARIANCE = 0.07


def noise(count: int, size: int = 12, channels: int = 1) -> npt.NDArray[np.uint8]:
    shape = (count, size, size, channels)
    return Stream(0, "evaluation").integers(256, shape).astype(np.uint8)


def small_model(channels: int = 1, **settings: Any) -> VQVAE:
    return VQVAE.preset(
        "conv",
        channels=channels,
        hidden=4,
        code_dim=2,
        num_codes=6,
        pixel_variance=VARIANCE,
        **settings,
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, BATCH + 3])
def test_each_figure_by_another_way(channels: int, count: int) -> None:
    """All images in one forward, and each figure from its definition."""
    images = noise(count, channels=channels)
    model = small_model(channels)
    with model.parameters()[-1].mutate() as bias:
        bias[...] = 0.5  # so that some pixels overshoot white
    found = evaluate(model, images)

    x = images.astype(np.float64) / 255
    output = model(Tensor((images / 255 - 0.5).astype(np.float32)))
    y = output.reconstruction.numpy().astype(np.float64) + 0.5
    error = ((x - y) ** 2).mean(axis=(1, 2, 3))  # (N,)
    shown = np.clip(y, 0, 1)
    assert (shown != y).any()
    shown_error = ((x - shown) ** 2).mean(axis=(1, 2, 3))
    share = np.unique(output.indices, return_counts=True)[1] / output.indices.size

    # Pixels are floats of float32 here and of float64 there: they lie within 2⁻²⁴ of
    # each other, relative to values up to 1, and an error e within 2·√e·2⁻²⁴ < 1e-6.
    close = {"rel": 1e-5}
    assert found.mse == pytest.approx(error.mean(), **close)
    assert found.nmse == pytest.approx(error.mean() / VARIANCE, **close)
    assert found.psnr_db == pytest.approx(np.mean(-10 * np.log10(shown_error)), **close)
    assert found.perplexity == pytest.approx(
        np.exp(-(share * np.log(share)).sum()), rel=1e-12
    )
    assert (found.codes_used, found.codes_total) == (len(share), 6)
    assert found.bits_per_image == pytest.approx(9 * math.log2(6), rel=1e-12)
    assert found.images == count
    assert found.ssim is not None
    assert found.ssim == pytest.approx(metrics.ssim(x, shown), **close)


def test_the_figures_by_name_are_json() -> None:
    figures = evaluate(small_model(), noise(3)).as_dict()
    assert list(figures) == [
        *["mse", "nmse", "psnr_db", "ssim", "perplexity", "corrected_perplexity"],
        *["codes_used", "codes_total", "positions", "bits_per_image", "images"],
    ]
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_images_below_the_window_have_no_ssim() -> None:
    found = evaluate(small_model(), noise(3, size=8))
    assert found.ssim is None
    assert found.psnr_db > 0


def test_the_perplexity_is_that_of_the_whole_split() -> None:
    """Not a mean over batches: 101 images are a full batch and one more."""
    images = noise(BATCH + 1)
    model = small_model(seed=1)
    vectors = model.encoder(Tensor(to_unit(images[:1]))).numpy().reshape(-1, 2)
    with model.quantizer.codebook.mutate() as codes:
        codes[...] = vectors[:6]  # so that several are in use
    usage = metrics.CodebookUsage(6)
    for _, _, indices in reconstruct(model, images):
        usage.add(indices)
    assert usage.total == (BATCH + 1) * 9
    found = evaluate(model, images)
    assert found.perplexity == usage.perplexity
    assert found.corrected_perplexity == usage.corrected_perplexity
    assert found.corrected_perplexity > found.perplexity > 2


def test_batches_come_in_order_and_cover_all() -> None:
    images = noise(2 * BATCH + 5)
    batches = list(reconstruct(small_model(), images))
    assert [len(batch) for batch, _, _ in batches] == [BATCH, BATCH, 5]
    together = np.concatenate([batch for batch, _, _ in batches])
    np.testing.assert_array_equal(together, images)
    for batch, made, indices in batches:
        assert made.shape == batch.shape
        assert made.dtype == np.float32
        assert indices.shape == (len(batch), 3, 3)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_put_back(training: bool) -> None:
    model = small_model(quantizer="soft").train(training)
    seen = []
    for _ in reconstruct(model, noise(3)):
        seen.append(model.quantizer.training)  # type: ignore[attr-defined]
    assert seen == [False]
    assert all(m.training == training for _, m in model.named_modules())


def test_nothing_of_the_model_changes() -> None:
    model = small_model()
    before = model.fingerprint()
    evaluate(model, noise(3))
    assert model.fingerprint() == before


def test_a_spoilt_model_is_an_error_of_ours() -> None:
    model = small_model()
    with model.parameters()[0].mutate() as array:
        array[...] = np.inf
    with pytest.raises(NonFiniteError, match="the model is spoilt: nearest_code: "):
        evaluate(model, noise(3))


def test_a_decoder_that_makes_nan_is_an_error_of_ours(tmp_path: Path) -> None:
    model = small_model()
    with model.parameters()[-1].mutate() as array:
        array[...] = np.nan
    with pytest.raises(NonFiniteError, match="expected finite pixels"):
        evaluate(model, noise(3))
