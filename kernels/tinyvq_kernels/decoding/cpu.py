"""The decoder on CPU cores: one call per position, for all layers.

A position costs a few hundred thousand products a grid, done in less time than the
dozens of calls, arrays and graph nodes that an op at a time would take. So weights are
packed once, into the panels that a register tile reads, and a task takes some grids
through all layers. All weights pass through a core's cache once a task, so there are as
few tasks as threads; what is computed for a grid does not depend on it.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._exponential import exponential
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import pack_columns
from tinyvq_kernels._simd import copy, fma, lanes_in, load, splat, store
from tinyvq_kernels._tile import multiply_panels, tile_width
from tinyvq_kernels._types import Array, Flat
from tinyvq_kernels.decoding.reference import CUBIC, LINEAR
from tinyvq_kernels.decoding.weights import DecoderWeights

MOST = 96  # grids a task: what is computed of them stays in a near cache


class Packed(NamedTuple):
    """Weights as the kernel reads them, flat: layer after layer.

    Matrices are in panels, biases padded to whole panels.
    """

    norm1: Flat
    qkv: Flat
    qkv_bias: Flat
    project: Flat
    project_bias: Flat
    norm2: Flat
    widen: Flat
    widen_bias: Flat
    narrow: Flat
    narrow_bias: Flat
    norm: Flat
    head: Flat
    head_bias: Flat


class Sizes(NamedTuple):
    """Layers, grids N, width W, heads A, codes M.

    wide_t, wide_e  positions T and the width of a head, filled up to whole vectors
    """

    layers: int
    grids: int
    width: int
    heads: int
    codes: int
    wide_t: int
    wide_e: int
    eps: float


class Decoder:
    """Sequences that grow by a position a step; see the package."""

    def __init__(
        self, weights: DecoderWeights, heads: int, count: int, positions: int
    ) -> None:
        w, dtype = weights, weights.qkv.dtype
        layers, width, _ = w.qkv.shape
        codes = w.head.shape[1]
        lanes = tile_width(dtype) // 2
        wide_t, wide_e = (-(-n // lanes) * lanes for n in (positions, width // heads))
        self.sizes = Sizes(
            *(layers, count, width, heads, codes, wide_t, wide_e), eps=w.eps
        )
        self.packed = Packed(
            flat(w.norm1),
            *_pack(w.qkv, w.qkv_bias),
            *_pack(w.project, w.project_bias),
            flat(w.norm2),
            *_pack(w.widen, w.widen_bias),
            *_pack(w.narrow, w.narrow_bias),
            flat(w.norm),
            *_pack(w.head[None], w.head_bias[None]),
        )
        self.positions = positions
        caches = layers * count * heads
        # Keys (layers,N,A,E,T), so that a vector holds positions; values (..,T,E).
        self.keys = np.zeros(caches * (width // heads) * wide_t, dtype)
        self.values = np.zeros(caches * wide_t * wide_e, dtype)

    def step(self, x: Array, position: int) -> Array:
        """Return the logits (N,M) after vectors x (N,W) at a position.

        Raises ValueError for another shape, or a position that has no place.
        """
        wanted = self.sizes.grids, self.sizes.width
        if x.shape != wanted or not 0 <= position < self.positions:
            raise ValueError(
                f"a step takes x {wanted} and a position in 0 .. {self.positions - 1}, "
                f"got {x.shape} and {position}"
            )
        tiles = -(-self.sizes.grids // (6 * numba.get_num_threads()))
        a_task = min(6 * tiles, MOST)
        logits = np.empty((self.sizes.grids, self.sizes.codes), x.dtype)
        caches = self.keys, self.values
        _step(
            *(flat(x), self.packed, self.sizes, a_task, position),
            *(*caches, logits.reshape(-1)),
        )
        return logits


def _pack(matrices: Array, biases: Array) -> tuple[Flat, Flat]:
    """Pack matrices (L,I,J) into panels, and pad biases (L,J) to whole ones."""
    layers, length, columns = matrices.shape
    wide = tile_width(matrices.dtype)
    padded = -(-columns // wide) * wide
    packed = np.empty((layers, padded * length), matrices.dtype)
    bias = np.zeros((layers, padded), matrices.dtype)
    bias[:, :columns] = biases
    for layer in range(layers):
        pack_columns(flat(matrices[layer]), length, columns, wide, packed[layer])
    return packed.reshape(-1), bias.reshape(-1)


def _step_tasks(
    x: Flat,
    w: Packed,
    sizes: Sizes,
    a_task: int,
    position: int,
    keys: Flat,
    values: Flat,
    logits: Flat,
) -> None:
    width = sizes.width
    for task in prange((sizes.grids + a_task - 1) // a_task):
        first = task * a_task
        rows = min(a_task, sizes.grids - first)
        h = x[first * width : (first + rows) * width].copy()
        y, mixed = np.empty(rows * width, x.dtype), np.empty(rows * width, x.dtype)
        qkv = np.empty(rows * 3 * width, x.dtype)
        wide = np.empty(rows * 4 * width, x.dtype)
        scores, sums = np.empty(sizes.wide_t, x.dtype), np.empty(sizes.wide_e, x.dtype)
        for layer in range(sizes.layers):
            normalize(h, rows, w.norm1, layer, sizes.eps, y)
            multiply(y, rows, w.qkv, w.qkv_bias, layer, qkv)
            attend(
                *(qkv, rows, first, layer, sizes, position, keys, values, mixed),
                *(scores, sums),
            )
            multiply(mixed, rows, w.project, w.project_bias, layer, y)
            h += y
            normalize(h, rows, w.norm2, layer, sizes.eps, y)
            multiply(y, rows, w.widen, w.widen_bias, layer, wide)
            gelu(wide)
            multiply(wide, rows, w.narrow, w.narrow_bias, layer, y)
            h += y
        normalize(h, rows, w.norm, 0, sizes.eps, y)
        out = logits[first * sizes.codes : (first + rows) * sizes.codes]
        multiply(y, rows, w.head, w.head_bias, 0, out)


def _normalize(
    x: Flat, rows: int, scale_shift: Flat, layer: int, eps: float, y: Flat
) -> None:
    """Layer norm, its mean and variance in float64."""
    width = x.size // rows
    scale = scale_shift[2 * layer * width : (2 * layer + 1) * width]
    shift = scale_shift[(2 * layer + 1) * width : (2 * layer + 2) * width]
    for row in range(rows):
        here, to = (
            x[row * width : (row + 1) * width],
            y[row * width : (row + 1) * width],
        )
        mean = 0.0
        for i in range(width):
            mean += here[i]
        mean /= width
        square = 0.0
        for i in range(width):
            square += (here[i] - mean) ** 2
        rstd = x.dtype.type(1 / math.sqrt(square / width + eps))
        centre = x.dtype.type(mean)
        for i in range(width):
            to[i] = (here[i] - centre) * rstd * scale[i] + shift[i]


def _multiply(
    x: Flat, rows: int, packed: Flat, bias: Flat, layer: int, y: Flat
) -> None:
    """y = x w + b of one layer: x (rows, length), y (rows, columns)."""
    length, columns = x.size // rows, y.size // rows
    tile = 2 * lanes_in(x)
    padded = (columns + tile - 1) // tile * tile
    places, dest = np.empty(rows + 5, np.int64), np.empty(rows, np.int64)
    for i in range(rows + 5):
        places[i] = min(i, rows - 1) * length
    for i in range(rows):
        dest[i] = i * columns
    start = bias[layer * padded : (layer + 1) * padded]
    spare = np.empty(6 * tile, x.dtype)
    panel = layer * padded * length
    tap = np.zeros(1, np.int64)
    multiply_panels(
        *(x, places, rows, tap, length, packed, panel, start),
        *(y, dest, 0, columns, spare),
    )


def _attend(
    qkv: Flat,
    rows: int,
    first: int,
    layer: int,
    sizes: Sizes,
    position: int,
    keys: Flat,
    values: Flat,
    mixed: Flat,
    scores: Flat,
    sums: Flat,
) -> None:
    """Cache the keys and values of a position; mix values for its queries.

    scores, sums  memory for one head's
    """
    width, size = sizes.width, sizes.width // sizes.heads
    lanes = lanes_in(qkv)
    scale, nothing = qkv.dtype.type(1 / math.sqrt(size)), qkv.dtype.type(0)
    for row in range(rows):
        for head in range(sizes.heads):
            at = row * 3 * width + head * size
            q, k = qkv[at : at + size], qkv[at + width : at + width + size]
            v = qkv[at + 2 * width : at + 2 * width + size]
            cache = (layer * sizes.grids + first + row) * sizes.heads + head
            key, value = (
                cache * size * sizes.wide_t,
                cache * sizes.wide_t * sizes.wide_e,
            )
            for e in range(size):
                keys[key + e * sizes.wide_t + position] = k[e]
                values[value + position * sizes.wide_e + e] = v[e]
            for s in range(0, position + 1, lanes):
                score = splat(nothing)
                for e in range(size):
                    row_of_e = load(keys, key + e * sizes.wide_t + s)
                    score = fma(splat(q[e] * scale), row_of_e, score)
                store(scores, s, score)
            share = soften(scores[: position + 1])
            for e in range(0, size, lanes):
                total = splat(nothing)
                for s in range(position + 1):
                    here = load(values, value + s * sizes.wide_e + e)
                    total = fma(splat(scores[s] * share), here, total)
                store(sums, e, total)
            copy(mixed, row * width + head * size, sums, 0, size)


def _soften(scores: Flat) -> Any:
    """Turn scores into e^(score - largest); return 1 over their sum."""
    top = scores[0]
    for s in range(scores.size):
        top = scores[s] if scores[s] > top else top
    for s in range(scores.size):
        scores[s] = exponential(scores[s] - top)
    total = scores.dtype.type(0)
    for s in range(scores.size):
        total += scores[s]
    return scores.dtype.type(1) / total


def _gelu(x: Flat) -> None:
    one = x.dtype.type(1)
    linear, cubic = x.dtype.type(LINEAR), x.dtype.type(CUBIC)
    for i in range(x.size):
        u = (linear + cubic * x[i] * x[i]) * x[i]
        x[i] = x[i] / (one + exponential(-u))


normalize = jit(_normalize)
multiply = jit(_multiply, allocates=True)
soften = jit(_soften)
attend = jit(_attend)
gelu = jit(_gelu)
_step = jit(_step_tasks, parallel=True)
