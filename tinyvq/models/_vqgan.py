"""The VQ-GAN's encoder and decoder: residual blocks, level by level.

The model is `VQVAE` with these two; what makes it a VQ-GAN is how it is trained,
against a discriminator (`tinyvq/training/vqgan.py`).

    images -> conv -> [blocks, halve] × levels-1 -> blocks -> block, attention, block
           -> norm, silu, conv to the codes' width, 1×1 conv
    and back: the same in reverse, doubling instead of halving.

Source: Esser, Rombach and Ommer, arXiv:2012.09841, table 7.
"""

from collections.abc import Sequence

from tinyvq.models._blocks import (
    AttentionBlock,
    ResidualBlock,
    Upsample,
    downsample,
    norm,
)
from tinyvq.nn import Conv2d, Layer, Sequential, SiLU
from tinyvq.rng import Stream


def encoder(
    channels: int,
    code_dim: int,
    *,
    hidden: int,
    multipliers: Sequence[int],
    blocks: int,
    attention_at: Sequence[int],
    rng: Stream,
) -> Sequential:
    """Build (N,H,W,channels) -> (N,P,Q,code_dim).

    hidden        channels at full size; a level has hidden · its multiplier
    multipliers   one a level; each level but the last halves height and width
    blocks        residual blocks per level
    attention_at  levels whose blocks are followed by attention
    """
    layers: list[Layer] = [Conv2d(channels, hidden, 3, padding=1, rng=rng)]
    width = hidden
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            layers.append(ResidualBlock(width, hidden * multiplier, rng=rng))
            width = hidden * multiplier
            if level in attention_at:
                layers.append(AttentionBlock(width, rng=rng))
        if level < len(multipliers) - 1:
            layers.append(downsample(width, rng=rng))
    return Sequential(
        *layers,
        *_middle(width, rng),
        norm(width),
        SiLU(),
        Conv2d(width, code_dim, 3, padding=1, rng=rng),
        Conv2d(code_dim, code_dim, 1, rng=rng),
    )


def decoder(
    channels: int,
    code_dim: int,
    *,
    hidden: int,
    multipliers: Sequence[int],
    blocks: int,
    attention_at: Sequence[int],
    rng: Stream,
) -> Sequential:
    """Build (N,P,Q,code_dim) -> (N,H,W,channels); arguments as of `encoder`."""
    width = hidden * multipliers[-1]
    layers: list[Layer] = [
        Conv2d(code_dim, code_dim, 1, rng=rng),
        Conv2d(code_dim, width, 3, padding=1, rng=rng),
        *_middle(width, rng),
    ]
    for level in reversed(range(len(multipliers))):
        for _ in range(blocks):
            layers.append(ResidualBlock(width, hidden * multipliers[level], rng=rng))
            width = hidden * multipliers[level]
            if level in attention_at:
                layers.append(AttentionBlock(width, rng=rng))
        if level > 0:
            layers.append(Upsample(width, rng=rng))
    return Sequential(
        *layers, norm(width), SiLU(), Conv2d(width, channels, 3, padding=1, rng=rng)
    )


def _middle(width: int, rng: Stream) -> list[Layer]:
    return [
        ResidualBlock(width, width, rng=rng),
        AttentionBlock(width, rng=rng),
        ResidualBlock(width, width, rng=rng),
    ]
