"""VQVAE: any encoder, any quantizer, any decoder."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from tinyvq import Tensor, nn, ops
from tinyvq.errors import DTypeError, ModuleError, ShapeError
from tinyvq.models import VQVAE
from tinyvq.nn import Layer, Module
from tinyvq.quantizers import Quantizer, SoftQuantizer, VectorQuantizer
from tinyvq.rng import Stream

QUANTIZERS: dict[str, Callable[[], Quantizer]] = {
    "ema": lambda: VectorQuantizer(6, 3, rng=Stream(3)),
    "gradient": lambda: VectorQuantizer(6, 3, learn="gradient", rng=Stream(3)),
    "soft": lambda: SoftQuantizer(6, 3, kl_weight=0.1, rng=Stream(3)),
}
each_quantizer = pytest.mark.parametrize("name", QUANTIZERS)


class Mixed(Module):
    """A decoder of the user's own: a module, a parameter and plain functions."""

    def __init__(self, channels: int) -> None:
        self.up = nn.ConvTranspose2d(3, channels, 2, stride=2, rng=Stream(1))
        self.gain = nn.Parameter(np.float32(2))

    def __call__(self, z: Tensor) -> Tensor:
        return ops.tanh(self.up(z)) * self.gain


def small(name: str = "ema", channels: int = 1, *, variance: float = 1.0) -> VQVAE:
    encoder = nn.Conv2d(channels, 3, 2, stride=2, rng=Stream(2))
    return VQVAE(encoder, QUANTIZERS[name](), Mixed(channels), pixel_variance=variance)


def images(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(Stream(seed, "images").uniform(shape, -0.5, 0.5, "float32"))


@each_quantizer
@pytest.mark.parametrize("channels", [1, 3])
def test_any_modules_make_a_model(name: str, channels: int) -> None:
    model = small(name, channels)
    x = images(2, 6, 8, channels)
    output = model(x)
    assert output.reconstruction.shape == (2, 6, 8, channels)
    assert output.indices.shape == (2, 3, 4)
    assert output.indices.dtype == np.int64
    assert output.stats.counts.sum() == 24
    output.loss.backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert np.abs(parameter.grad.numpy()).max() > 0, path


@each_quantizer
def test_the_loss_is_the_reconstruction_over_the_variance_and_the_quantizers(
    name: str,
) -> None:
    model, x = small(name, variance=0.25), images(2, 6, 8, 1)
    output = model(x)
    inner = model.quantizer(model.encoder(x))
    difference = output.reconstruction.numpy().astype(np.float64) - x.numpy()
    mse = (difference**2).mean()
    # 96 squares in float32, whose sum rounds 96 times at most, and a few products.
    close = {"rel": 100 * 2.0**-24}
    assert output.reconstruction_mse == pytest.approx(mse, **close)
    assert inner.loss.item() > 0
    expected = mse / 0.25 + inner.loss.item()
    assert output.loss.item() == pytest.approx(expected, **close)


def test_layers_may_be_plain_functions() -> None:
    identity: Layer = lambda x: x  # noqa: E731
    model = VQVAE(identity, QUANTIZERS["gradient"](), identity)
    x = images(2, 4, 5, 3)
    output = model(x)
    np.testing.assert_array_equal(
        output.reconstruction, model.quantizer.lookup(output.indices)
    )
    assert model.num_parameters() == 18


@each_quantizer
@pytest.mark.parametrize("training", [True, False])
def test_decoding_what_was_encoded_gives_the_reconstruction(
    name: str, training: bool
) -> None:
    model, x = small(name).train(training), images(3, 6, 8, 1)
    output = model(x)
    indices = model.encode(x)
    np.testing.assert_array_equal(indices, output.indices, strict=True)
    decoded = model.decode(indices)
    same = decoded.numpy().tobytes() == output.reconstruction.numpy().tobytes()
    # Only a mixture of codes, in training, is more than its indices can carry.
    assert same == (name != "soft" or not training)
    assert not decoded.requires_grad


def test_encoding_and_decoding_change_nothing_and_record_nothing() -> None:
    model, x = small(), images(3, 6, 8, 1)
    before = model.fingerprint()
    decoded = model.decode(model.encode(x))
    assert model.fingerprint() == before
    assert decoded.is_leaf


@each_quantizer
def test_the_fingerprint_names_the_weights_and_the_codebook(name: str) -> None:
    model, twin = small(name), small(name)
    first = model.fingerprint()
    assert twin.fingerprint() == first
    with model.quantizer.codebook.mutate() as codebook:
        codebook[0, 0] = np.nextafter(codebook[0, 0], 9)
    second = model.fingerprint()
    assert second != first
    twin.load_state_dict(model.state_dict())
    assert twin.fingerprint() == second


def test_a_training_step_moves_what_it_should() -> None:
    model, x = small("ema"), images(3, 6, 8, 1)
    before = model.state_dict()
    output = model(x)
    output.loss.backward()
    update = model.quantizer.update(output.stats)
    assert update.started
    changed = {
        name for name, a in model.state_dict().items() if (a != before[name]).any()
    }
    names = ("codebook", "cluster_size", "embed_sum", "average_size", "updates")
    assert changed == {f"quantizer.{name}" for name in names}


# What is refused.


def test_a_decoder_that_makes_another_size_is_refused() -> None:
    message = "the decoder makes (2, 4, 6, 1) of images (2, 5, 7, 1); their size must"
    with pytest.raises(ShapeError, match=re.escape(message)):
        small()(images(2, 5, 7, 1))


def test_an_encoder_of_another_width_than_the_codes_is_refused() -> None:
    model = VQVAE(
        nn.Conv2d(1, 4, 2, stride=2, rng=Stream(0)), QUANTIZERS["ema"](), Mixed(1)
    )
    message = "VectorQuantizer: needs z (..., 3), the width of its codes, with at least"
    with pytest.raises(ShapeError, match=re.escape(message)):
        model(images(2, 6, 8, 1))


def test_other_channels_than_the_models_are_refused() -> None:
    message = re.escape("x (2, 6, 8, 3) has 3 channels, w (2, 2, 1, 3) takes 1")
    for call in (small(), small().encode):
        with pytest.raises(ValueError, match=message):
            call(images(2, 6, 8, 3))


@pytest.mark.parametrize("shape", [(6, 8, 1), (6, 8), ()])
def test_what_is_no_batch_of_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must be \(N,H,W,C\), got shape"):
        small()(images(*shape))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"at least one vector, got \(0, 3, 4, 3\)"):
        small()(images(0, 6, 8, 1))


def test_images_of_another_dtype_are_refused() -> None:
    with pytest.raises(DTypeError, match="dtypes differ, float64 and float32"):
        small()(Tensor(np.zeros((2, 6, 8, 1))))
    with pytest.raises(TypeError, match="x must be float32 or float64, got uint8"):
        small()(Tensor(np.zeros((2, 6, 8, 1), np.uint8)))


def test_an_image_that_is_not_finite_is_refused() -> None:
    x = images(2, 6, 8, 1).numpy().copy()
    x[1, 3, 2, 0] = np.nan
    # The second image's second row and column of a 3×4 grid: 12 + 4 + 1.
    with pytest.raises(ValueError, match="row 17 of z has NaN or inf"):
        small()(Tensor(x))


@pytest.mark.parametrize("indices", [[[[6]]], [[[-1]]]])
def test_indices_outside_the_codebook_are_refused(indices: list[object]) -> None:
    with pytest.raises(ShapeError, match=r"indices must be in 0 \.\. 5, got"):
        small().decode(np.array(indices))


def test_one_module_as_both_encoder_and_decoder_is_refused() -> None:
    layer = nn.Conv2d(3, 3, 1, rng=Stream(0))
    model = VQVAE(layer, QUANTIZERS["ema"](), layer)
    with pytest.raises(ModuleError, match="decoder is the same object as encoder"):
        model.parameters()
