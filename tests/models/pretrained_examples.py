"""Weights that are random where a pretrained network's are not at hand."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from peers import require
from required import absent, library

from tinyvq.errors import DataError
from tinyvq.models import EfficientNet, SqueezeNet, _efficientnet, _squeezenet
from tinyvq.models._weight_files import WeightFile
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
Network = TypeVar("Network")


def draw(name: str, *shape: int, dtype: str = "float64") -> Array:
    return Stream(0, name).normal(shape, dtype)


def squeezenet_weights(dtype: str = "float64") -> dict[str, list[Array]]:
    """Weights that keep the size of what they are given (He et al.)."""
    return {
        name: [
            draw(name, *shape, dtype=dtype) * np.sqrt(2 / np.prod(shape[:3])).item(),
            draw(f"{name} bias", shape[3], dtype=dtype) * 0.1,
        ]
        for name, shape in _squeezenet.layers()
    }


def squeezenet(dtype: str = "float64", shorter_side: int = 32) -> SqueezeNet:
    return SqueezeNet(squeezenet_weights(dtype), shorter_side=shorter_side)


def efficientnet_state() -> dict[str, Array]:
    """A state in PyTorch's axes; no variance is 1 and no mean 0."""
    state = {}
    for conv, norm, shape in _efficientnet.layers():
        fan_in = np.prod(shape[1:])
        state[f"{conv}.weight"] = draw(conv, *shape) * np.sqrt(2 / fan_in)
        for part in ("weight", "running_var"):
            state[f"{norm}.{part}"] = 0.5 + np.abs(draw(f"{norm}{part}", shape[0]))
        for part in ("bias", "running_mean"):
            state[f"{norm}.{part}"] = 0.1 * draw(f"{norm}{part}", shape[0])
    classes, width = _efficientnet.CLASSES, _efficientnet.HEAD
    state["_fc.weight"] = draw("fc", classes, width) / np.sqrt(width)
    state["_fc.bias"] = draw("fc bias", classes)
    return state


def efficientnet(shorter_side: int = 32) -> EfficientNet:
    return EfficientNet(efficientnet_state(), "float64", shorter_side=shorter_side)


def images(n: int, height: int, width: int, channels: int, seed: int = 0) -> Array:
    """Bytes of smooth blots and some noise."""
    rows, columns = np.arange(height)[:, None, None] / 7, np.arange(width)[:, None] / 5
    phase = Stream(seed, "phase").uniform((n, 1, 1, channels), 0, 6, "float64")
    waves = np.sin(rows + phase) * np.cos(columns - phase)  # (N, H, W, C)
    noise = Stream(seed, "noise").uniform(waves.shape, -20, 20, "float64")
    return np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8)


def unit(images: Array, dtype: str = "float64") -> Array:
    return images.astype(dtype) / 255 - 0.5


def blurred(images: Array, times: int) -> Array:
    """Average each pixel with its neighbours, so many times; of the same dtype."""
    x = images.astype(np.float64)
    for axis in (1, 2) * times:
        ends = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        x = np.moveaxis(np.pad(x, ends, mode="edge"), axis, 0)
        x = np.moveaxis((x[:-2] + 2 * x[1:-1] + x[2:]) / 4, 0, axis)
    return np.rint(x).astype(images.dtype) if images.dtype == np.uint8 else x


def need_weights(file: WeightFile) -> None:
    """Need the weights of a pretrained network; see `required.absent`."""
    if file.locate() is None:
        absent("WEIGHTS", f"no weights of {file.network}: {file.remedy}")


def pretrained(load: Callable[[], Network], file: WeightFile) -> Network:
    """Load a pretrained network, where its weights are installed."""
    need_weights(file)
    return load()


def photographs() -> Array:
    """A cat's face and a cup of espresso: (2,224,224,3) uint8, from scikit-image."""
    require("skimage")
    Image, ImageOps = library("PIL.Image"), library("PIL.ImageOps")
    from skimage import data

    whole = [Image.fromarray(picture) for picture in (data.chelsea(), data.coffee())]
    return np.stack([np.asarray(ImageOps.fit(p, (224, 224))) for p in whole])


def problem(call: Callable[[], object]) -> str:
    """The text of the DataError that a call must raise: one line."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message
