"""Images for the metrics."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.rng import Stream

Array = npt.NDArray[Any]


def noise(seed: int, *shape: int, dtype: str = "float64") -> Array:
    """Pixels in [0, 1)."""
    return Stream(seed, "noise").uniform(shape, 0, 1, dtype)


def pair(seed: int, *shape: int, dtype: str = "float64") -> tuple[Array, Array]:
    """Images of waves and noise, and others that resemble them; all in [0, 1]."""
    _, height, width, channels = shape
    rows = np.arange(height)[:, None, None] / 5
    columns = np.arange(width)[:, None] / 3
    waves = np.sin(rows + np.arange(channels)) * np.cos(columns)  # (H, W, C)
    x = 0.5 + 0.3 * waves + 0.2 * noise(seed, *shape)
    y = 0.8 * x + 0.2 * noise(seed + 1, *shape)
    return np.clip(x, 0, 1).astype(dtype), np.clip(y, 0, 1).astype(dtype)
