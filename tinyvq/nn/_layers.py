"""Layers: parameters, and a call to an op."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tinyvq import ops
from tinyvq.backends import beside
from tinyvq.errors import ConfigError
from tinyvq.nn._module import Buffer, Module, Parameter
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

Layer: TypeAlias = Callable[[Tensor], Tensor]


def _uniform(rng: Stream, fan_in: int, shape: tuple[int, ...]) -> Parameter:
    """Draw from ±1/√fan_in, PyTorch's default for convolutions and linear layers."""
    if min(shape) < 1:
        raise ConfigError(f"a layer's weights need sizes of at least 1, got {shape}")
    bound = 1.0 / math.sqrt(fan_in)
    return Parameter(rng.uniform(shape, -bound, bound, "float32"))


class Conv2d(Module):
    """Convolution: (N,H,W,in_channels) -> (N,P,Q,out_channels).

    weight (R,S,C,K), bias (K); rng draws the weights (default: a fresh stream)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
        rng: Stream | None = None,
    ) -> None:
        rng = rng or Stream.fresh()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        fan_in = in_channels * kernel_size**2
        shape = (kernel_size, kernel_size, in_channels, out_channels)
        self.weight = _uniform(rng, fan_in, shape)
        self.bias = _uniform(rng, fan_in, (out_channels,)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return ops.conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )


class ConvTranspose2d(Module):
    """Transposed convolution: (N,P,Q,in_channels) -> (N,H,W,out_channels).

    weight (R,S,C,K) with K = in_channels and C = out_channels, bias (C)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        output_padding: int = 0,
        bias: bool = True,
        rng: Stream | None = None,
    ) -> None:
        rng = rng or Stream.fresh()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.output_padding = output_padding
        fan_in = out_channels * kernel_size**2  # as PyTorch counts it
        shape = (kernel_size, kernel_size, out_channels, in_channels)
        self.weight = _uniform(rng, fan_in, shape)
        self.bias = _uniform(rng, fan_in, (out_channels,)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            output_padding=self.output_padding,
        )


class Linear(Module):
    """Linear map of the last axis: weight (C,K), bias (K)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        rng: Stream | None = None,
    ) -> None:
        rng = rng or Stream.fresh()
        self.weight = _uniform(rng, in_features, (in_features, out_features))
        self.bias = _uniform(rng, in_features, (out_features,)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)


class Embedding(Module):
    """Table of vectors, looked up by index: weight (M,D), standard normal."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, rng: Stream | None = None
    ) -> None:
        rng = rng or Stream.fresh()
        self.weight = Parameter(rng.normal((num_embeddings, embedding_dim), "float32"))

    def __call__(self, indices: Tensor) -> Tensor:
        return ops.embedding(self.weight, indices)


class ReLU(Module):
    """max(x, 0)."""

    def __call__(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class LeakyReLU(Module):
    """x where x > 0, else slope · x."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def __call__(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, self.slope)


class SiLU(Module):
    """x times its logistic function."""

    def __call__(self, x: Tensor) -> Tensor:
        return ops.silu(x)


class GELU(Module):
    """Gaussian error linear unit, tanh form."""

    def __call__(self, x: Tensor) -> Tensor:
        return ops.gelu(x)


class Dropout(Module):
    """Drop values with probability p in training; hand them on in evaluation.

    What is dropped is a function of the stream and of how often this layer was called
    in training, which its state holds: a resumed run drops what it would have. Layers
    that are given one stream take a number each from it, and drop independently.
    """

    def __init__(self, p: float = 0.1, *, rng: Stream | None = None) -> None:
        if not 0 <= p < 1:
            raise ConfigError(f"Dropout: needs p in [0, 1), got {p}")
        self.p = p
        self._seed = int((rng or Stream.fresh()).bits(1)[0])
        self.calls = Buffer(np.zeros((), np.int64))

    def __call__(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        with self.calls.mutate() as calls:
            calls += 1
        drawn = Stream(self._seed, "dropout", int(self.calls.item())).uniform(x.shape)
        return ops.dropout(x, beside(drawn >= self.p, x.array), self.p)


class Sigmoid(Module):
    """Logistic function."""

    def __call__(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def __call__(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


class Reshape(Module):
    """Give each item of the batch a shape: (N, ...) -> (N, *shape)."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __call__(self, x: Tensor) -> Tensor:
        shape: tuple[int, ...] = self.shape
        if x.shape[0] == 0:  # what a -1 stands for, an item tells
            shape = ops.reshape(np.empty(x.shape[1:], np.bool_), *shape).shape
        return ops.reshape(x, x.shape[0], *shape)


class Sequential(Module):
    """Call modules one after another."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = list(layers)

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Residual(Module):
    """x + f(x), f being the modules one after another."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = list(layers)

    def __call__(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(y)
        return ops.add(x, y)
