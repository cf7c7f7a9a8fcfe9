"""Features that need no download: three convolutions with random weights.

They are weak. Nothing was learned, so they know edges and textures at three scales and
nothing of what a picture shows; between two models that both make fair pictures, trust
a pretrained network. But they are there on every machine, take images of any size, and
tell real images from blurred, noisy or monotonous ones.
"""

import numpy as np
import numpy.typing as npt
from tinyvq_kernels import conv2d

from tinyvq.function import Array
from tinyvq.models._network_input import from_bytes, pooled
from tinyvq.rng import Stream

CHANNELS = (32, 64, 64)
WINDOW = 3
SCALE = np.float32(16)  # so that distances between sets are numbers that one can read
SEED = 0  # another one would make other features: what was measured would not compare


class RandomConvolutions:
    """Images to features; the same weights always."""

    name = "random-conv"
    num_features = sum(CHANNELS)

    def __init__(self) -> None:
        self._weights = []
        channels = 3
        for i, k in enumerate(CHANNELS):
            drawn = Stream(SEED, self.name, i).normal(
                (WINDOW, WINDOW, channels, k), "float32"
            )
            # Each filter has mean 0, so that even grey says nothing, and length √2,
            # so that relu leaves the variance as it was (He et al., arXiv:1502.01852).
            drawn -= drawn.mean(axis=(0, 1, 2))
            drawn *= np.sqrt(2 / (drawn * drawn).sum(axis=(0, 1, 2)))
            self._weights.append(drawn)
            channels = k

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Average each layer over each image: (N,H,W,1|3) -> (N,160)."""
        x = SCALE * from_bytes(images)
        x = x if x.shape[3] == 3 else x.repeat(3, axis=3)
        means = []
        for i, w in enumerate(self._weights):
            x = conv2d(x if i == 0 else _halved(x), w, None, padding=1)
            np.maximum(x, 0, out=x)
            means.append(pooled(x))
        return np.concatenate(means, axis=1)


def _halved(x: Array) -> Array:
    """Average 2×2 pixels; an odd row or column at the edge is repeated."""
    odd = [(0, side % 2) for side in x.shape[1:3]]
    x = np.pad(x, [(0, 0), *odd, (0, 0)], mode="edge")
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
