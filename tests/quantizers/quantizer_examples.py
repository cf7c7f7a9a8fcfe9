"""Quantizers by name, and vectors for them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.quantizers import SoftQuantizer, VectorQuantizer
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
AnyQuantizer = VectorQuantizer | SoftQuantizer

HARD = ("ema", "gradient")
ALL = (*HARD, "soft")


def make(name: str, num_codes: int, code_dim: int, **settings: Any) -> AnyQuantizer:
    """Make a quantizer that is the same every time."""
    settings = {"rng": Stream(0), **settings}
    if name == "soft":
        return SoftQuantizer(num_codes, code_dim, **settings)
    return VectorQuantizer(num_codes, code_dim, learn=name, **settings)


def still(name: str, codes: Array, **settings: Any) -> AnyQuantizer:
    """Make a quantizer with these codes, which neither start nor restart moves."""
    settings = {"kmeans_start": False, **settings}
    if name != "soft":
        settings = {"restart_below": 0.0, **settings}
    quantizer = make(name, *codes.shape, **settings).astype(codes.dtype)
    with quantizer.codebook.mutate() as codebook:
        codebook[...] = codes
    return quantizer


def normal(seed: int, *shape: int, dtype: str = "float32") -> Array:
    return Stream(seed, "normal").normal(shape, dtype)


def whole(seed: int, *shape: int, high: int = 4, dtype: str = "float32") -> Array:
    """Draw whole numbers from -high .. high, whose sums of products are exact."""
    drawn = Stream(seed, "whole").integers(2 * high + 1, shape) - high
    return drawn.astype(dtype)


def bits(quantizer: AnyQuantizer) -> dict[str, bytes]:
    """All that a quantizer holds, to the bit."""
    return {name: array.tobytes() for name, array in quantizer.state_dict().items()}


def told_apart(codes: Array) -> bool:
    """Whether the search cannot take one code for another.

    At z = e_m, the scores of m and k differ by |e_m - e_k|² / 2, and the search is
    right where that exceeds 2 B, its bound of the error of a score.
    """
    exact = codes.astype(np.float64)
    unit = np.finfo(codes.dtype).eps / 2
    gamma = codes.shape[1] * unit / (1 - codes.shape[1] * unit)
    longest = (exact**2).sum(axis=1).max()
    bound = 2 * gamma * longest * (1 + gamma)
    gaps = ((exact[:, None] - exact) ** 2).sum(axis=-1) / 2  # (M, M)
    np.fill_diagonal(gaps, np.inf)
    return bool(gaps.min() > 2.01 * bound)
