"""EfficientNet-Lite0, pretrained on ImageNet: features to judge images by.

It only judges: it has no backward, so no loss can be made of it, and what it says of a
model was never what the model was trained for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tinyvq_kernels import conv2d, matmul

from tinyvq.errors import DataError
from tinyvq.function import Array
from tinyvq.models._network_input import from_bytes, pooled, prepared
from tinyvq.models._pickles import read_torch_tensors
from tinyvq.models._weight_files import EFFICIENTNET_LITE0
from tinyvq.tensor import no_grad

# (window, blocks, channels, expanded by, stride of the first block)
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
NORM_EPS = 1e-3


@dataclass(frozen=True)
class Block:
    """Expand the channels, look around in each, put them together again."""

    window: int
    channels_in: int
    expanded: int
    channels_out: int
    stride: int

    @property
    def adds(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.channels_in == self.channels_out


def blocks() -> Iterator[Block]:
    """Yield all sixteen, in order."""
    channels = STEM
    for window, count, out, factor, stride in STAGES:
        for i in range(count):
            step = stride if i == 0 else 1
            yield Block(window, channels, channels * factor, out, step)
            channels = out


def layers() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield each convolution's name, its batch norm's, and its shape in PyTorch."""
    yield "_conv_stem", "_bn0", (STEM, 3, 3, 3)
    for i, b in enumerate(blocks()):
        at = f"_blocks.{i}."
        if b.expanded != b.channels_in:
            expand = (b.expanded, b.channels_in, 1, 1)
            yield f"{at}_expand_conv", f"{at}_bn0", expand
        depthwise = (b.expanded, 1, b.window, b.window)
        yield f"{at}_depthwise_conv", f"{at}_bn1", depthwise
        yield f"{at}_project_conv", f"{at}_bn2", (b.channels_out, b.expanded, 1, 1)
    yield "_conv_head", "_bn1", (HEAD, STAGES[-1][2], 1, 1)


class EfficientNet:
    """Images to features; inference only.

    state          PyTorch's names and axes; see `layers`
    shorter_side   images whose shorter side is below are enlarged to it

    Source: Tan and Le, arXiv:1905.11946; Lite0 has no squeeze-and-excitation, and relu6
    in place of swish.
    """

    name = EFFICIENTNET_LITE0.network
    num_features = HEAD

    def __init__(
        self,
        state: Mapping[str, Array],
        dtype: npt.DTypeLike = np.float32,
        *,
        shorter_side: int = 128,
    ) -> None:
        self.shorter_side = shorter_side
        self.dtype = np.dtype(dtype)
        self._layers = {
            conv: _folded(state, conv, norm, shape, self.dtype)
            for conv, norm, shape in layers()
        }
        scores = _checked(state, "_fc.weight", (CLASSES, HEAD)).T
        self._scores = np.ascontiguousarray(scores, self.dtype)
        self._score_bias = _checked(state, "_fc.bias", (CLASSES,)).astype(self.dtype)

    @classmethod
    def pretrained(cls, *, shorter_side: int = 128) -> "EfficientNet":
        """Load ImageNet's weights; DataError, with what to do, where there are none."""
        known = EFFICIENTNET_LITE0
        state = read_torch_tensors(known.read(), known.path)
        return cls(state, shorter_side=shorter_side)

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Average the last layer over each image: (N,H,W,1|3) -> (N,1280)."""
        return pooled(self.last_layer(images))

    def class_scores(self, images: npt.NDArray[np.uint8]) -> Array:
        """Score ImageNet's 1000 classes: (N,H,W,1|3) -> (N,1000)."""
        averaged = self.last_layer(images).mean(axis=(1, 2))  # (N, 1280)
        return matmul(averaged, self._scores) + self._score_bias

    def last_layer(self, images: npt.NDArray[np.uint8]) -> Array:
        """Features before they are averaged: (N,H,W,1|3) -> (N,P,Q,1280)."""
        with no_grad():
            x = prepared(from_bytes(images).astype(self.dtype), self.shorter_side)
        y = ((x.numpy() + 0.5) * 255 - 127) / 128
        y = _relu6(self._convolve("_conv_stem", _same(y, 3, 2), stride=2))
        for i, block in enumerate(blocks()):
            y = self._block(f"_blocks.{i}.", block, y)
        return _relu6(self._convolve("_conv_head", y))

    def _block(self, at: str, block: Block, x: Array) -> Array:
        y = x
        if block.expanded != block.channels_in:
            y = _relu6(self._convolve(f"{at}_expand_conv", y))
        y = _same(y, block.window, block.stride)
        y = _relu6(depthwise(y, *self._layers[f"{at}_depthwise_conv"], block.stride))
        y = self._convolve(f"{at}_project_conv", y)
        return y + x if block.adds else y

    def _convolve(self, layer: str, x: Array, stride: int = 1) -> Array:
        w, b = self._layers[layer]
        return conv2d(x, w, b, stride=stride, padding=0, dilation=1)


def depthwise(x: Array, w: Array, b: Array, stride: int) -> Array:
    """Convolve each channel by itself: x (N,H,W,C), w (R,S,1,C), b (C) -> (N,P,Q,C).

    y[n,p,q,c] = b[c] + Σ_rs x[n, p·stride + r, q·stride + s, c] w[r,s,0,c]
    """
    r, s = w.shape[:2]
    p, q = ((side - k) // stride + 1 for side, k in ((x.shape[1], r), (x.shape[2], s)))
    y = np.empty((len(x), p, q, x.shape[3]), x.dtype)
    y[...] = b
    term = np.empty_like(y)
    for i in range(r):
        rows = slice(i, i + (p - 1) * stride + 1, stride)
        for j in range(s):
            columns = slice(j, j + (q - 1) * stride + 1, stride)
            np.multiply(x[:, rows, columns], w[i, j, 0], out=term)
            y += term
    return y


def _same(x: Array, window: int, stride: int) -> Array:
    """Pad by zeros so that a convolution gives ⌈H / stride⌉ rows, as TensorFlow does.

    An odd zero goes to the right and the bottom.
    """
    over = [
        max((-(-side // stride) - 1) * stride + window - side, 0)
        for side in x.shape[1:3]
    ]
    return np.pad(x, [(0, 0), *[(n // 2, n - n // 2) for n in over], (0, 0)])


def _relu6(x: Array) -> Array:
    return np.clip(x, 0, 6, out=x)


def _checked(state: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    came = state[name].shape if name in state else "nothing"
    if came != shape:
        raise DataError(
            f"efficientnet-lite0: {name} needs an array {shape}, got {came}"
        )
    return state[name]


def _folded(
    state: Mapping[str, Array],
    conv: str,
    norm: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
) -> tuple[Array, Array]:
    """Give a convolution's weights (R,S,C,K) and bias (K), its batch norm within.

    γ (w x - μ) / √(σ² + ε) + β  =  (γ / √(σ² + ε)) w x  +  β - γ μ / √(σ² + ε)
    """
    gamma, beta, mean, var = (
        _checked(state, f"{norm}.{part}", shape[:1]).astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(var + NORM_EPS)
    w = _checked(state, f"{conv}.weight", shape).transpose(2, 3, 1, 0) * scale
    return np.ascontiguousarray(w, dtype), (beta - mean * scale).astype(dtype)
