"""The distance between two images as a pretrained network sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tinyvq import ops
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.function import Array
from tinyvq.tensor import Operand, Tensor, as_tensor, no_grad


class FeatureNetwork(Protocol):
    """A network that gives several layers' features, each (N,P,Q,K)."""

    @property
    def name(self) -> str:
        """What it is called; see `tinyvq.models.check_judge`."""
        ...

    def __call__(self, x: Tensor, /) -> Sequence[Tensor]:
        """Map images (N,H,W,C) to features."""
        ...


@dataclass(frozen=True)
class PerceptualLoss:
    """Mean over images of a perceptual distance over the network's features.

    network  say `models.SqueezeNet.pretrained()`; its weights are constants

    At every place of every layer, both images' features are made vectors of length 1;
    the distance is their squared difference, averaged over places, summed over layers.
    Each layer gives 0 to 2 where features are not negative. This is the form of Zhang
    et al., arXiv:1801.03924, eq. 1, with all weights 1: the weights that they learned
    from people's judgements, which make it LPIPS, are not here.
    """

    network: FeatureNetwork

    def __call__(self, x: Operand, y: Operand) -> Tensor:
        """Compare images x and y (N,H,W,C) around [-0.5, 0.5] -> one value.

        Gradients flow to x and to y, as far as they are asked for. Over SqueezeNet,
        32 images of up to 64×64 take about 0.15 s on one core, backward included.
        """
        x, y = _pair(x, y)
        terms = [
            ops.mse_loss(a, b) * float(a.shape[-1])  # a sum over K, a mean over N, P, Q
            for a, b in _layers(self.network, x, y)
        ]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


def perceptual_distance(network: FeatureNetwork, x: Array, y: Array) -> Array:
    """Measure each image's perceptual distance: (N,H,W,C) twice -> (N,) float64, NumPy.

    Their mean is the PerceptualLoss. A model that was trained on the same network is
    not to be judged by it; see `tinyvq.models.check_judge`.
    """
    with no_grad():
        layers = _layers(network, *_pair(x, y))
        total = np.zeros(len(x))
        for a, b in layers:
            difference = np.subtract(a.numpy(), b.numpy(), dtype=np.float64)
            total += (difference**2).sum(axis=3).mean(axis=(1, 2))
    return total


def _pair(x: Operand, y: Operand) -> tuple[Tensor, Tensor]:
    x, y = as_tensor(x), as_tensor(y)
    if x.ndim != 4 or x.shape != y.shape or x.size == 0:
        raise ShapeError(
            "perceptual distance: needs two batches of images (N,H,W,C) of one shape, "
            f"not empty, got {x.shape} and {y.shape}"
        )
    return x, y


def _layers(
    network: FeatureNetwork, x: Tensor, y: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Give both images' vectors of length 1, layer by layer."""
    pairs = [
        (ops.l2_normalize(a), ops.l2_normalize(b))
        for a, b in zip(network(x), network(y), strict=True)
    ]
    if not pairs:
        raise ConfigError(f"perceptual distance: {network.name} gives no features")
    return pairs
