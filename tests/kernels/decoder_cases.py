"""Calls of the decoder: several positions of a few grids."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tinyvq_kernels
from kernel_case import Array, Arrays, KernelCase, draw, unit_roundoff
from tinyvq_kernels import DecoderWeights, use_kernels

NAMES = [
    *["norm1", "qkv", "qkv_bias", "project", "project_bias", "norm2", "widen"],
    *["widen_bias", "narrow", "narrow_bias", "norm", "head", "head_bias"],
]


def shapes(layers: int, width: int, codes: int) -> list[tuple[int, ...]]:
    """The shapes of DecoderWeights, in the order of its fields."""
    w = width
    return [
        *[(layers, 2, w), (layers, w, 3 * w), (layers, 3 * w), (layers, w, w)],
        *[(layers, w), (layers, 2, w), (layers, w, 4 * w), (layers, 4 * w)],
        *[(layers, 4 * w, w), (layers, w), (2, w), (w, codes), (codes,)],
    ]


def run(heads: int, xs: Array, weights: Arrays) -> Array:
    """Decode xs (T,N,W); return the logits (T,N,M)."""
    kept = DecoderWeights(**dict(zip(NAMES, weights, strict=True)), eps=1e-5)
    t, n, _ = xs.shape
    decoder = tinyvq_kernels.decoder(kept, heads, n, t)
    return np.stack([decoder.step(xs[i], i) for i in range(t)])


def decoder_cases() -> Iterator[KernelCase]:
    """Grids around tasks of six, widths and codes around panels, one head and many."""
    for n, t, layers, width, heads, codes in [
        *[(1, 1, 1, 2, 1, 3), (5, 4, 2, 8, 2, 31), (6, 3, 1, 12, 3, 33)],
        *[(7, 5, 2, 16, 4, 32), (13, 2, 3, 8, 1, 5), (2, 50, 1, 32, 4, 40)],
    ]:
        label = f"{n}x{t}x{layers}x{width}x{heads}x{codes}"
        weights = [
            draw(f"{name} {label}", *shape) / (1 if len(shape) < 3 else width**0.5)
            for name, shape in zip(NAMES, shapes(layers, width, codes), strict=True)
        ]

        def call(xs: Array, *weights: Array, heads: int = heads) -> Arrays:
            return (run(heads, xs, weights),)

        def bounds(
            dtype: Any,
            *arrays: Array,
            n: int = 24 * layers * 4 * width,
            call: Any = call,
        ) -> Arrays:
            """Twelve sums a layer of at most 4·width terms, against the largest."""
            with use_kernels(decoder="reference"):
                (exact,) = call(*arrays)
            size = n * (unit_roundoff(dtype) + unit_roundoff(np.float64))
            return (np.full_like(exact, size * np.abs(exact).max()),)

        xs = draw(f"x {label}", t, n, width)
        yield KernelCase(
            "decoder", label, (xs, *weights), call, terms=4 * width, bounds=bounds
        )
