"""The decoder in plain NumPy: the specification."""

import math

import numpy as np

from tinyvq_kernels._types import Array
from tinyvq_kernels.decoding.weights import DecoderWeights

LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR


class Decoder:
    """Sequences that grow by a position a step."""

    def __init__(
        self, weights: DecoderWeights, heads: int, count: int, positions: int
    ) -> None:
        self.weights, self.heads = weights, heads
        self.keys: list[list[Array]] = [[] for _ in weights.qkv]  # of (N,A,E), a step
        self.values: list[list[Array]] = [[] for _ in weights.qkv]

    def step(self, x: Array, position: int) -> Array:
        """Return the logits (N,M) after vectors x (N,W) at a position."""
        w = self.weights
        h = x
        for layer in range(len(w.qkv)):
            y = _norm(h, w.norm1[layer], w.eps)
            mixed = self._attend(layer, y @ w.qkv[layer] + w.qkv_bias[layer])
            h = h + mixed @ w.project[layer] + w.project_bias[layer]
            y = _norm(h, w.norm2[layer], w.eps) @ w.widen[layer] + w.widen_bias[layer]
            h = h + _gelu(y) @ w.narrow[layer] + w.narrow_bias[layer]
        return _norm(h, w.norm, w.eps) @ w.head + w.head_bias

    def _attend(self, layer: int, qkv: Array) -> Array:
        n, width = qkv.shape[0], qkv.shape[1] // 3
        q, k, v = (a.reshape(n, self.heads, -1) for a in np.split(qkv, 3, axis=1))
        self.keys[layer].append(k)
        self.values[layer].append(v)
        keys = np.stack(self.keys[layer], axis=2)  # (N,A,S,E)
        values = np.stack(self.values[layer], axis=2)
        scores = (keys * q[:, :, None]).sum(axis=-1) / math.sqrt(q.shape[-1])
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))  # (N,A,S)
        p /= p.sum(axis=-1, keepdims=True)
        return (values * p[..., None]).sum(axis=2).reshape(n, width)


def _norm(x: Array, scale_shift: Array, eps: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return centred * rstd * scale_shift[0] + scale_shift[1]


def _gelu(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-(LINEAR * x + CUBIC * x**3)))
