"""What makes images of noise: a GAN is a noise-driven VQ-GAN without its codebook."""

from typing import Any

import numpy as np
import pytest
from models.vae_examples import noise, vae

from tinyvq import Tensor
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.models import GAN, Generator, NoiseVQGAN
from tinyvq.rng import Stream

SMALL: dict[str, Any] = {
    "image_size": (8, 12),
    "noise_dim": 5,
    "hidden": 4,
    "code_dim": 3,
    "seed": 2,
}


def gan(**settings: Any) -> GAN:
    return GAN(**SMALL | settings)


def noise_vqgan(**settings: Any) -> NoiseVQGAN:
    return NoiseVQGAN(**SMALL | {"num_codes": 6} | settings)


MAKERS = {"gan": gan, "noise-vqgan": noise_vqgan, "vae": lambda: vae(dtype="float32")}
each_generator = pytest.mark.parametrize("name", MAKERS)


@each_generator
def test_an_image_of_each_row_of_noise(name: str) -> None:
    model: Generator = MAKERS[name]().eval()
    drawn = model.noise(7, Stream(0))
    assert (drawn.shape, drawn.dtype) == ((7, model.noise_dim), np.float32)
    made = model.generate(drawn)
    assert made.shape == (7, 8, 12, 1)
    # In evaluation an image is its own row's alone.
    alone = model.generate(Tensor(drawn.numpy()[3:4]))
    np.testing.assert_allclose(alone, made.numpy()[3:4], rtol=0, atol=1e-6)
    again = model.noise(7, Stream(0)).numpy()
    np.testing.assert_array_equal(drawn, again)


@each_generator
def test_noise_of_another_shape_is_refused(name: str) -> None:
    model: Generator = MAKERS[name]()
    message = rf"{type(model).__name__}: needs noise \(N,5\), got "
    for shape in ((2, 4), (5,), (1, 2, 5)):
        with pytest.raises(ShapeError, match=message):
            model.generate(Tensor(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gan_is_a_noise_driven_vqgan_without_the_codebook(channels: int) -> None:
    plain, coded = gan(channels=channels), noise_vqgan(channels=channels)
    theirs = coded.state_dict()
    mine = plain.state_dict()
    assert {n for n in theirs if not n.startswith("quantizer.")} == mine.keys()
    for path, array in mine.items():
        np.testing.assert_array_equal(array, theirs[path], err_msg=path)
    assert plain.num_parameters() == coded.num_parameters()  # codes are running means


def test_the_weights_of_a_gan() -> None:
    """Dense with its norm, 3×3 with its norm, 4×4 with its norm, 4×4."""
    grid = 2 * 3 * 3
    dense = 5 * grid + grid + 2 * 3
    decoder = 9 * 3 * 8 + 2 * 8 + 16 * 8 * 4 + 2 * 4 + 16 * 4 * 1 + 1
    assert gan().num_parameters() == dense + decoder


def test_the_first_weights_of_a_decoder_are_dcgans() -> None:
    model = gan(hidden=32)
    for path, parameter in model.decoder.named_parameters():
        values = parameter.numpy()
        if values.ndim == 4:
            assert abs(values.mean()) < 0.02 * 5 / values.size**0.5, path
            spread = values.std() / 0.02  # of n values, within a few of 1/√2n of 1
            assert abs(spread - 1) < 5 / (2 * values.size) ** 0.5, path
        else:
            assert abs(values.mean() - path.endswith("weight")) < 0.02, path


def test_images_are_within_black_and_white() -> None:
    model = gan()
    with model.decoder.layers[-1].weight.mutate() as array:  # type: ignore[attr-defined]
        array *= 1000
    made = model.generate(Tensor(noise(50, dtype="float32"))).numpy()
    assert made.min() == -0.5
    assert made.max() == 0.5


def test_every_weight_has_a_gradient() -> None:
    model = gan()
    (model.generate(Tensor(noise(6, dtype="float32"))) ** 2).sum().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.numpy().any(), path


def test_a_size_that_does_not_divide_by_4_is_refused() -> None:
    with pytest.raises(ConfigError, match="are 10×8 pixels"):
        gan(image_size=(10, 8))
