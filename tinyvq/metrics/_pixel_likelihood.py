"""How many bits an image costs, to the last byte: tokenizer, prior and pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyvq.errors import ConfigError, DataError, DTypeError, NonFiniteError, ShapeError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Array64 = NDArray[np.float64]

# A byte k stands for the interval k/255 - 0.5 ± HALF.
_HALF = 0.5 / 255
# Where `fit_scale` looks. A scale of 1/16 byte is certain of its byte to 0.1 %; one of
# 128 bytes is nearly flat.
_SCALES = (0.0625 / 255, 128 / 255)
_FLOORS = (1e-6, 0.5)
_ROUNDS = 3


@dataclass(frozen=True)
class PixelLikelihood:
    """A distribution over the 256 bytes of a pixel, centred on its reconstruction.

    With weight 1 - floor, the byte whose interval a logistic variable falls into; with
    weight floor, any byte alike. So no pixel costs more than log(256/floor) nats,
    however far off its reconstruction is: without a floor the cost of an outlier grows
    as its distance over the scale, and a few could decide the figure.

    scale  of the logistic, 1e-6 .. 1e6; pixels range over 1. Its standard deviation
           is scale·π/√3
    floor  0 .. 1
    """

    scale: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 1e-6 <= self.scale <= 1e6:
            raise ConfigError(
                f"PixelLikelihood: expected a scale in 1e-6 .. 1e6, got {self.scale}"
            )
        if not 0 <= self.floor <= 1:
            raise ConfigError(
                f"PixelLikelihood: expected a floor in 0 .. 1, got {self.floor}"
            )

    def log_probability(self, images: Bytes, reconstructions: Floats) -> Array64:
        """Natural logarithm of the probability of each byte.

        images           uint8
        reconstructions  what the decoder gives, bytes 0 .. 255 being -0.5 .. 0.5; what
                         lies outside is no error. Shapes broadcast.
        ->               float64, at most 0, and finite for any finite float32
        Raises DTypeError, NonFiniteError.
        """
        _check_pixels(images, reconstructions)
        logistic = _log_logistic(images, reconstructions, self.scale)
        return _with_floor(logistic, self.floor)

    def nats_per_image(self, images: Bytes, reconstructions: Floats) -> Array64:
        """-log p(image | reconstruction), pixels independent: (N, H, W, C) -> (N,).

        Raises ShapeError unless both are of one shape, else as `log_probability`.
        """
        if images.ndim != 4 or images.shape != reconstructions.shape:
            raise ShapeError(
                "nats_per_image: expected images and reconstructions of one shape "
                f"(N, H, W, C), got {images.shape} and {reconstructions.shape}"
            )
        log_p = self.log_probability(images, reconstructions)
        nats: Array64 = -log_p.sum(axis=(1, 2, 3))
        return nats


def fit_scale(images: Bytes, reconstructions: Floats) -> PixelLikelihood:
    """Choose the scale and the floor under which these images cost least.

    Use training images: what is fitted on the images that it is measured on is no
    likelihood. Two numbers need no more than a million pixels.

    images, reconstructions  of one shape, as `PixelLikelihood.log_probability`
    About 80 evaluations of the likelihood: some 5 s a million pixels.
    """
    if images.shape != reconstructions.shape or images.size == 0:
        raise ShapeError(
            "fit_scale: expected images and reconstructions of one shape with at least "
            f"one pixel, got {images.shape} and {reconstructions.shape}"
        )
    _check_pixels(images, reconstructions)
    low, high = (math.log(scale) for scale in _SCALES)

    def cost(logistic: Array64, log_floor: float) -> float:
        return -float(_with_floor(logistic, math.exp(log_floor)).mean())

    def cost_of_scale(log_scale: float) -> float:
        scale = math.exp(log_scale)
        return cost(_log_logistic(images, reconstructions, scale), log_floor)

    # For a given scale the cost is convex in the floor; for a given floor it could dip
    # twice in the scale, so a ladder of scales comes first. Then each in turn.
    log_floor = math.log(0.01)
    log_scale = min(np.linspace(low, high, 12).tolist(), key=cost_of_scale)
    for _ in range(_ROUNDS):
        near = (max(low, log_scale - 0.7), min(high, log_scale + 0.7))
        log_scale = _lowest(cost_of_scale, *near)
        logistic = _log_logistic(images, reconstructions, math.exp(log_scale))
        floors = (math.log(_FLOORS[0]), math.log(_FLOORS[1]))
        log_floor = _lowest(partial(cost, logistic), *floors)
    return PixelLikelihood(math.exp(log_scale), math.exp(log_floor))


def bits_per_dimension(
    code_nats_per_image: float, pixel_nats_per_image: float, values_per_image: int
) -> float:
    """Bits per pixel value of tokenizer and prior: at least -log2 p(x) / (H·W·C).

    The model draws codes c from the prior, then bytes around their reconstruction:
    p(x) = Σ_c p(c)·p(x | c) over all grids of codes. The codes that the encoder gives
    for x are one term of this sum, and the others are not negative, so

        -log p(x) ≤ -log p(c = encode(x)) - log p(x | c)

    and what is returned bounds the model's cost from above. It is also a length that a
    lossless coder attains: it sends the codes, then the bytes given the codes. It
    compares with the bits per dimension of other models of the same images only where
    those are of the same 256-valued bytes.

    code_nats_per_image   mean over images of -log p(codes), summed over positions
    pixel_nats_per_image  mean over images of `PixelLikelihood.nats_per_image`
    values_per_image      H·W·C
    Raises ConfigError for values below 1, DataError for nats that are negative, NaN or
    infinite.
    """
    if values_per_image < 1:
        raise ConfigError(
            f"bits_per_dimension: expected values_per_image ≥ 1, got {values_per_image}"
        )
    for name, nats in (("code", code_nats_per_image), ("pixel", pixel_nats_per_image)):
        if not (math.isfinite(nats) and nats >= 0):
            raise DataError(
                f"bits_per_dimension: expected finite {name}_nats_per_image ≥ 0, "
                f"got {nats}"
            )
    nats = float(code_nats_per_image) + float(pixel_nats_per_image)
    return nats / (values_per_image * math.log(2))


def _log_logistic(images: Bytes, reconstructions: Floats, scale: float) -> Array64:
    """Log-probability that a logistic variable falls into the byte's interval."""
    # With σ the logistic function and the interval's ends at a < b in units of the
    # scale from the centre, b - a = δ,
    #   σ(b) - σ(a) = (e^b - e^a) / ((1 + e^b)·(1 + e^a)) = σ(b)·σ(-a)·(1 - e^-δ)
    #   log         = log σ(b) + log σ(-a) + log(1 - e^-δ)
    # which subtracts nothing from its like, however far out. Byte 0 reaches down to
    # -∞, where it is σ(b); byte 255 up to ∞, where it is σ(-a).
    centre = reconstructions.astype(np.float64)
    off = images.astype(np.float64) / 255 - 0.5 - centre
    below = np.where(images == 255, 0.0, _log_sigmoid((off + _HALF) / scale))
    above = np.where(images == 0, 0.0, _log_sigmoid((_HALF - off) / scale))
    inside = math.log(-math.expm1(-2 * _HALF / scale))
    return below + above + np.where((images > 0) & (images < 255), inside, 0.0)


def _log_sigmoid(z: Array64) -> Array64:
    """-log(1 + e^-z), by whichever exponential does not overflow."""
    log: Array64 = np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))
    return log


def _with_floor(log_p: Array64, floor: float) -> Array64:
    """log((1 - floor)·p + floor/256)."""
    if floor == 0:
        return log_p
    if floor == 1:
        return np.full_like(log_p, -math.log(256))
    mixed: Array64 = np.logaddexp(math.log1p(-floor) + log_p, math.log(floor / 256))
    return mixed


def _lowest(cost: Callable[[float], float], low: float, high: float) -> float:
    """Find where a cost with one dip is lowest: golden-section search, 16 steps."""
    ratio = 0.5 * (math.sqrt(5) - 1)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(16):  # 0.618^16: to 1/2000 of the interval
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = cost(right)
    return left if at_left <= at_right else right


def _check_pixels(images: Bytes, reconstructions: Floats) -> None:
    if images.dtype != np.uint8:
        raise DTypeError(
            f"pixel likelihood: expected images of bytes (uint8), got {images.dtype}"
        )
    if not np.issubdtype(reconstructions.dtype, np.floating):
        raise DTypeError(
            "pixel likelihood: expected floating-point reconstructions in -0.5 .. 0.5, "
            f"got {reconstructions.dtype}"
        )
    if not np.isfinite(reconstructions).all():
        raise NonFiniteError(
            "pixel likelihood: expected finite reconstructions, got "
            f"{int(np.sum(~np.isfinite(reconstructions)))} values of NaN or infinity"
        )
