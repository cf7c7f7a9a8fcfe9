"""What the perceptual loss is, over a network of two layers; see `OpSpec`."""

import numpy as np

from tinyvq import ops
from tinyvq.backends import beside
from tinyvq.function import Array
from tinyvq.losses._perceptual import PerceptualLoss
from tinyvq.ops import _arithmetic as ari
from tinyvq.ops import _losses as los
from tinyvq.ops import _normalization as nor
from tinyvq.ops import _products as pro
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.testing import Case, Draw, OpSpec

WIDTHS = (4, 3)


def _weights(channels: int) -> list[tuple[Array, Array]]:
    """Draw each layer's matrix (C,K) and bias (K); they are the same every time."""
    stream, layers = Stream(0, "perceptual spec"), []
    for width in WIDTHS:
        matrix = stream.normal((channels, width), "float64")
        layers.append((matrix, stream.normal(width, "float64")))
        channels = width
    return layers


class _TwoLayers:
    """A network without kinks: one linear map of each pixel after another."""

    name = "two layers"

    def __call__(self, x: Tensor) -> list[Tensor]:
        features = []
        for w, b in _weights(x.shape[3]):
            w, b = (beside(a.astype(x.dtype), x.array) for a in (w, b))
            x = ops.linear(x, w, b)
            features.append(x)
        return features


def _case(draw: Draw) -> Case:
    shape = tuple(draw.integer(1, n) for n in (3, 4, 4, 3))
    return Case((draw.array(shape), draw.array(shape)))


def _unit(z: Array) -> Array:
    return z / np.sqrt((z * z).sum(axis=3, keepdims=True) + 1e-12)


def _reference(x: Array, y: Array) -> Array:
    """Sum over layers the mean of |â - b̂|²."""
    total = np.zeros(())
    for w, b in _weights(x.shape[3]):
        x, y = x @ w + b, y @ w + b
        total = total + ((_unit(x) - _unit(y)) ** 2).sum(axis=3).mean()
    return total


PERCEPTUAL_LOSS = OpSpec(
    "PerceptualLoss",
    PerceptualLoss(_TwoLayers()),
    _case,
    _reference,
    (pro.Linear, nor.L2Normalize, los.MSELoss, ari.Mul, ari.Add),
)
