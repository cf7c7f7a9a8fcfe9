"""A VAE small enough to look at every weight of it."""

from typing import Any

import numpy.typing as npt

from tinyvq.models import VAE
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
SIZE = (8, 12)
SMALL: dict[str, dict[str, Any]] = {
    "conv": {"hidden": 8, "residual_hidden": 4},
    "small": {"hidden": 4},
}
VARIANCE = 1 / 12  # of pixels that are uniform


def vae(name: str = "conv", dtype: str = "float64", **settings: Any) -> VAE:
    given: dict[str, Any] = {"image_size": SIZE, "channels": 1, "grid_dim": 3}
    given |= {"latent_dim": 5, "beta": 0.25, "pixel_variance": VARIANCE, "seed": 1}
    return VAE.preset(name, **given | SMALL[name] | settings).astype(dtype)


def images(
    count: int, channels: int = 1, dtype: str = "float64", seed: int = 0
) -> Array:
    shape = (count, *SIZE, channels)
    return Stream(seed, "images").uniform(shape, -0.5, 0.5, dtype)


def noise(count: int, width: int = 5, dtype: str = "float64", seed: int = 0) -> Array:
    return Stream(seed, "noise").normal((count, width), dtype)
