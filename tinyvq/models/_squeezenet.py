"""SqueezeNet 1.1, pretrained on ImageNet: features that a loss can be made of."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tinyvq import ops
from tinyvq.backends import Backend, module_of
from tinyvq.errors import DataError
from tinyvq.function import Array
from tinyvq.models._network_input import from_bytes, pooled, prepared
from tinyvq.models._pickles import read_numpy_pickle
from tinyvq.models._weight_files import SQUEEZENET
from tinyvq.tensor import Operand, Tensor, no_grad

# Blue, green, red: the mean of ImageNet's pixels, in 0 .. 255, as Caffe has them.
MEAN_PIXEL = (103.939, 116.779, 123.68)

# The fire modules: channels squeezed to, and expanded to twice.
FIRE = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
HALVED_BEFORE = (2, 4, 6)
TAKEN_AFTER = (3, 5, 6, 7, 8, 9)  # and after the first convolution
CLASSES = 1000


def layers() -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Yield each convolution's name and the shape (R,S,C,K) of its weights."""
    yield "conv1", (3, 3, 3, 64)
    channels = 64
    for i, (squeezed, expanded) in FIRE.items():
        yield f"fire{i}/squeeze1x1", (1, 1, channels, squeezed)
        yield f"fire{i}/expand1x1", (1, 1, squeezed, expanded)
        yield f"fire{i}/expand3x3", (3, 3, squeezed, expanded)
        channels = 2 * expanded
    yield "conv10", (1, 1, channels, CLASSES)


class SqueezeNet:
    """Images to features; its weights are constants, and never move.

    weights        by layer: (R,S,C,K) and (K), all of one dtype; see `layers`
    shorter_side   images whose shorter side is below are enlarged to it

    A plain object, not a Module: a model that is trained with it does not hold it.
    Gradients flow to the images alone.
    Source: Iandola et al., arXiv:1602.07360, version 1.1 of their repository.
    """

    name = SQUEEZENET.network
    num_features = 2 * FIRE[9][1]

    def __init__(
        self, weights: Mapping[str, Sequence[Array]], *, shorter_side: int = 64
    ) -> None:
        self.shorter_side = shorter_side
        self._layers: dict[str, tuple[Tensor, Tensor]] = {}
        for layer, shape in layers():
            came = [array.shape for array in weights.get(layer, ())]
            if came != [shape, shape[3:]]:
                raise DataError(
                    f"{self.name}: {layer} needs arrays {shape} and {shape[3:]}, "
                    f"got {came}"
                )
            w, b = weights[layer]
            self._layers[layer] = Tensor(w), Tensor(b)

    @classmethod
    def pretrained(
        cls, dtype: npt.DTypeLike = np.float32, *, shorter_side: int = 64
    ) -> "SqueezeNet":
        """Load ImageNet's weights; DataError, with what to do, where there are none."""
        found = read_numpy_pickle(SQUEEZENET.read(), SQUEEZENET.path)
        weights = {k: [a.astype(dtype) for a in found[k]] for k in found}
        return cls(weights, shorter_side=shorter_side)

    def __call__(self, x: Operand) -> list[Tensor]:
        """Return seven layers' features (N,P,Q,K), from edges to parts of things.

        x  (N,H,W,1|3) around [-0.5, 0.5], of the weights' dtype
        Those of the first convolution and of the fire modules 3, 5, 6, 7, 8 and 9, as
        arXiv:1801.03924 takes them.
        """
        x = prepared(x, self.shorter_side)
        mean = module_of(x.array).asarray(MEAN_PIXEL, x.dtype)
        x = (x[..., ::-1] + 0.5) * 255.0 - mean
        x = ops.relu(self._convolve("conv1", x, stride=2))
        taken = [x]
        for i in FIRE:
            if i in HALVED_BEFORE:
                x = _halved(x)
            x = self._fire(i, x)
            if i in TAKEN_AFTER:
                taken.append(x)
        return taken

    def to(self, backend: Backend) -> "SqueezeNet":
        """Copy the weights to a backend; what it judges must live there."""
        for layer, (w, b) in self._layers.items():
            self._layers[layer] = w.to(backend), b.to(backend)
        return self

    def class_scores(self, x: Operand) -> Tensor:
        """Score ImageNet's 1000 classes: (N,H,W,1|3) -> (N,1000)."""
        scores = ops.relu(self._convolve("conv10", self(x)[-1]))
        return scores.mean(axis=(1, 2))

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Average the last layer over each image: (N,H,W,1|3) -> (N,512)."""
        x = from_bytes(images).astype(self._layers["conv1"][0].dtype)
        with no_grad():
            last = self(x)[-1]
        return pooled(last.numpy())

    def _convolve(
        self, layer: str, x: Tensor, *, stride: int = 1, padding: int = 0
    ) -> Tensor:
        w, b = self._layers[layer]
        return ops.conv2d(x, w, b, stride=stride, padding=padding)

    def _fire(self, i: int, x: Tensor) -> Tensor:
        """Squeeze to few channels, then expand by 1×1 and by 3×3, side by side."""
        x = ops.relu(self._convolve(f"fire{i}/squeeze1x1", x))
        points = ops.relu(self._convolve(f"fire{i}/expand1x1", x))
        around = ops.relu(self._convolve(f"fire{i}/expand3x3", x, padding=1))
        return ops.concatenate([points, around], axis=3)


def _halved(x: Tensor) -> Tensor:
    """Take the largest of each 3×3 window, every second pixel, at the edge too.

    Where the last window hangs over the edge, zeros stand there: x is a relu's, so they
    are no larger than its pixels.
    """
    over = [(0, (side - 3) % 2) for side in x.shape[1:3]]
    if over != [(0, 0), (0, 0)]:
        x = ops.pad(x, [(0, 0), *over, (0, 0)])
    return ops.max_pool2d(x, 3, 2)
