"""The presets: their sizes, their shapes, what they take and refuse."""

from typing import Any

import numpy as np
import pytest

from tinyvq import Tensor
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.models import PRESETS, VQVAE
from tinyvq.quantizers import SoftQuantizer, VectorQuantizer
from tinyvq.rng import Stream

SMALL: dict[str, Any] = {
    "hidden": 8,
    "residual_hidden": 4,
    "code_dim": 5,
    "num_codes": 7,
}


# The paper's network at a sixteenth of its width, so that a test can run it.
NARROW: dict[str, dict[str, Any]] = {"f16": {"hidden": 8, "code_dim": 16}}
SHRINKS = {"conv": 4, "dense": 4, "small": 4, "f16": 16}


def preset(name: str, **settings: Any) -> VQVAE:
    """Build a preset for grey images of 32×32, narrow enough to run."""
    given: dict[str, Any] = {"channels": 1, "image_size": (32, 32)}
    return VQVAE.preset(name, **given | NARROW.get(name, {}) | settings)


def images(*shape: int) -> Tensor:
    return Tensor(Stream(0, "images").uniform(shape, -0.5, 0.5, "float32"))


def conv_weights(
    channels: int = 3, h: int = 128, r: int = 32, blocks: int = 2, d: int = 64
) -> int:
    """Count the weights and biases of DeepMind's network: taps · in · out + out."""

    def layer(taps: int, inputs: int, outputs: int) -> int:
        return taps * inputs * outputs + outputs

    residual = blocks * (layer(9, h, r) + layer(1, r, h))
    encoder = layer(16, channels, h // 2) + layer(16, h // 2, h) + layer(9, h, h)
    decoder = layer(9, d, h) + layer(16, h, h // 2) + layer(16, h // 2, channels)
    return encoder + residual + layer(1, h, d) + decoder + residual


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width"), [(4, 4), (4, 12), (28, 28), (32, 32), (20, 36)]
)
def test_conv_takes_any_size_that_divides_by_4(
    height: int, width: int, channels: int
) -> None:
    model = VQVAE.preset("conv", channels=channels, image_size=(height, width), **SMALL)
    output = model(images(2, height, width, channels))
    assert output.reconstruction.shape == (2, height, width, channels)
    assert output.indices.shape == (2, height // 4, width // 4)
    assert model.encoder(images(1, height, width, channels)).shape[-1] == 5


def test_conv_is_deepminds_network() -> None:
    assert VQVAE.preset("conv").num_parameters() == conv_weights() == 662_723
    model = VQVAE.preset("conv")
    assert (model.quantizer.num_codes, model.quantizer.code_dim) == (512, 64)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_conv_has_the_weights_of_its_settings(channels: int, blocks: int) -> None:
    model = VQVAE.preset("conv", channels=channels, residual_blocks=blocks, **SMALL)
    weights = conv_weights(channels, h=8, r=4, blocks=blocks, d=5)
    assert model.num_parameters() == weights
    for quantizer in ("gradient", "soft"):  # whose codes are parameters, 7 · 5
        model = VQVAE.preset(
            "conv",
            channels=channels,
            residual_blocks=blocks,
            quantizer=quantizer,
            **SMALL,
        )
        assert model.num_parameters() == weights + 35


def test_dense_has_one_code_an_image() -> None:
    model = VQVAE.preset("dense")
    output = model(images(4, 28, 28, 1))
    assert output.reconstruction.shape == (4, 28, 28, 1)
    assert output.indices.shape == (4, 1, 1)
    assert (model.quantizer.num_codes, model.quantizer.code_dim) == (10, 20)
    # 784 -> 20; 20 -> 7·7·32; two transposed convolutions 32 -> 16 -> 1.
    encoder = 784 * 20 + 20
    decoder = 20 * 1568 + 1568 + 16 * 32 * 16 + 16 + 16 * 16 * 1 + 1
    assert model.num_parameters() == encoder + decoder


@pytest.mark.parametrize("channels", [1, 3])
def test_dense_takes_the_size_that_it_is_made_for(channels: int) -> None:
    model = VQVAE.preset("dense", channels=channels, image_size=(8, 12), hidden=4)
    output = model(images(3, 8, 12, channels))
    assert output.reconstruction.shape == (3, 8, 12, channels)
    assert VQVAE.preset("dense", image_size=None).encode(images(1, 28, 28, 1)).size == 1


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("quantizer", "kind", "settings"),
    [
        ("ema", VectorQuantizer, {"decay": 0.5, "restart_below": 0.25}),
        ("gradient", VectorQuantizer, {"commitment": 0.5, "kmeans_start": False}),
        ("soft", SoftQuantizer, {"temperature": 0.5, "kl_weight": 0.25}),
    ],
)
def test_each_preset_takes_each_quantizer_and_its_settings(
    name: str, quantizer: str, kind: type, settings: dict[str, Any]
) -> None:
    model = preset(name, quantizer=quantizer, **settings)
    assert type(model.quantizer) is kind
    if kind is VectorQuantizer:
        assert model.quantizer.learn == quantizer
    for setting, value in settings.items():
        assert getattr(model.quantizer, setting) == value
    output = model(images(1, 32, 32, 1))
    side = 1 if name == "dense" else 32 // SHRINKS[name]
    assert output.indices.shape == (1, side, side)
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_the_seed_fixes_all_weights_and_the_codebook(name: str) -> None:
    first, again, other = (preset(name, seed=seed).state_dict() for seed in (4, 4, 5))
    for path, array in first.items():
        np.testing.assert_array_equal(array, again[path], err_msg=path)
        if np.ptp(array) > 0:  # not the ones and zeros of a norm, or an empty mean
            assert (array != other[path]).any(), path


@pytest.mark.parametrize("name", PRESETS)
def test_no_two_layers_have_equal_weights(name: str) -> None:
    """Neither one object twice nor the same numbers drawn twice."""
    parameters = preset(name, quantizer="gradient").parameters()
    assert len({id(p) for p in parameters}) == len(parameters)
    drawn = [p.numpy().reshape(-1) for p in parameters]
    # The weights and biases of a norm start as ones and zeros.
    starts = [float(values[0]) for values in drawn if values[0] not in (0, 1)]
    assert len(starts) >= 8
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("name", PRESETS)
def test_state_goes_from_one_model_to_another(name: str) -> None:
    model, other = (preset(name, seed=seed) for seed in (0, 1))
    x = images(2, 32, 32, 1)
    output = model(x)
    model.quantizer.update(output.stats)
    other.load_state_dict(model.state_dict())
    assert other.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(
        other(x).reconstruction, model(x).reconstruction, strict=True
    )


# What is refused.


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no preset 'cnov'; there is: conv, dense"):
        VQVAE.preset("cnov")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("height", "width"), [(30, 28), (28, 30), (27, 27), (0, 4), (2, 2)]
)
def test_a_size_that_the_strides_do_not_divide_is_refused(
    name: str, height: int, width: int
) -> None:
    message = f"are {height}×{width} pixels, .* sizes that divide by {SHRINKS[name]};"
    with pytest.raises(ConfigError, match=message):
        VQVAE.preset(name, image_size=(height, width))


def vqgan_weights(
    channels: int, h: int, multipliers: tuple[int, ...], blocks: tuple[int, int], d: int
) -> int:
    """Count those of a VQ-GAN with attention at its smallest size alone."""

    def conv(taps: int, inputs: int, outputs: int) -> int:
        return taps * inputs * outputs + outputs

    def norm(width: int) -> int:
        return 2 * width

    def block(inputs: int, outputs: int) -> int:
        body = norm(inputs) + conv(9, inputs, outputs)
        body += norm(outputs) + conv(9, outputs, outputs)
        return body + (conv(1, inputs, outputs) if inputs != outputs else 0)

    def attention(width: int) -> int:
        return norm(width) + 4 * conv(1, width, width)

    def levels(widths: list[int], width: int, blocks: int) -> int:
        total = 0
        for i, wide in enumerate(widths):
            for _ in range(blocks):
                total += block(width, wide)
                total += attention(wide) if wide == widest else 0
                width = wide
            total += conv(9, wide, wide) if i < len(widths) - 1 else 0
        return total

    widths = [h * m for m in multipliers]
    widest = widths[-1]
    middle = 2 * block(widest, widest) + attention(widest)
    down = conv(9, channels, h) + levels(widths, h, blocks[0]) + middle
    down += norm(widest) + conv(9, widest, d) + conv(1, d, d)
    up = conv(1, d, d) + conv(9, d, widest) + middle
    up += levels(widths[::-1], widest, blocks[1]) + norm(h) + conv(9, h, channels)
    return down + up


def test_f16_is_the_papers_network() -> None:
    expected = vqgan_weights(3, 128, (1, 1, 2, 2, 4), (2, 3), 256)
    model = VQVAE.preset("f16")
    assert model.num_parameters() == expected
    assert (model.quantizer.num_codes, model.quantizer.code_dim) == (1024, 256)
    assert model.divides_by == 16


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [28, 32, 64])
def test_small_takes_the_usual_small_images(side: int, channels: int) -> None:
    model = VQVAE.preset("small", channels=channels, image_size=(side, side), hidden=8)
    output = model(images(1, side, side, channels))
    assert output.reconstruction.shape == (1, side, side, channels)
    assert output.indices.shape == (1, side // 4, side // 4)


def test_images_that_do_not_divide_by_4_are_refused_when_they_come() -> None:
    model = VQVAE.preset("conv", channels=1, **SMALL)
    message = r"H and W multiples of 4, got \(1, 30, 30, 1\)"
    for call in (model, model.encode):
        with pytest.raises(ShapeError, match=message):
            call(images(1, 30, 30, 1))


def test_settings_of_another_quantizer_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'temperature'"):
        VQVAE.preset("conv", temperature=0.5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'decay'"):
        VQVAE.preset("conv", quantizer="soft", decay=0.5)
