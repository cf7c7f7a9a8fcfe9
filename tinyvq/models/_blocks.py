"""Blocks of a VQ-GAN: residual blocks with group norm, attention, down and up.

Source: Esser, Rombach and Ommer, "Taming transformers for high-resolution image
synthesis", arXiv:2012.09841, table 7.
"""

from tinyvq import ops
from tinyvq.nn import Conv2d, GroupNorm, Module, Sequential, SiLU
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor


def norm(channels: int) -> GroupNorm:
    """Normalise in 32 groups, or in fewer of at least 4 channels."""
    groups = max(1, min(32, channels // 4))
    while channels % groups:
        groups -= 1
    return GroupNorm(groups, channels)


class ResidualBlock(Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))).

    Where the width changes, x comes through a 1×1 convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, rng: Stream) -> None:
        self.body = Sequential(
            norm(in_channels),
            SiLU(),
            Conv2d(in_channels, out_channels, 3, padding=1, rng=rng),
            norm(out_channels),
            SiLU(),
            Conv2d(out_channels, out_channels, 3, padding=1, rng=rng),
        )
        self.skip = (
            None
            if in_channels == out_channels
            else Conv2d(in_channels, out_channels, 1, rng=rng)
        )

    def __call__(self, x: Tensor) -> Tensor:
        return ops.add(x if self.skip is None else self.skip(x), self.body(x))


class AttentionBlock(Module):
    """x + attention over all positions of an image, one head."""

    def __init__(self, channels: int, *, rng: Stream) -> None:
        self.norm = norm(channels)
        self.query = Conv2d(channels, channels, 1, rng=rng)
        self.key = Conv2d(channels, channels, 1, rng=rng)
        self.value = Conv2d(channels, channels, 1, rng=rng)
        self.out = Conv2d(channels, channels, 1, rng=rng)

    def __call__(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        y = self.norm(x)
        q, k, v = (
            ops.reshape(layer(y), n, 1, h * w, c)  # (N, 1, H·W, C)
            for layer in (self.query, self.key, self.value)
        )
        mixed = ops.reshape(ops.attention(q, k, v), n, h, w, c)
        return ops.add(x, self.out(mixed))


def downsample(channels: int, *, rng: Stream) -> Conv2d:
    """Halve height and width."""
    return Conv2d(channels, channels, 3, stride=2, padding=1, rng=rng)


class Upsample(Module):
    """Double height and width by repeating pixels, then a convolution."""

    def __init__(self, channels: int, *, rng: Stream) -> None:
        self.conv = Conv2d(channels, channels, 3, padding=1, rng=rng)

    def __call__(self, x: Tensor) -> Tensor:
        return self.conv(ops.upsample_nearest(x, 2))
