"""What matrix products, convolutions and attention are."""

import math

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _attention as att
from tinyvq.ops import _convolutions as con
from tinyvq.ops import _products as pro
from tinyvq.testing import Case, Draw, OpSpec


def _matmul_case(draw: Draw) -> Case:
    batch = draw.shape(dims=(0, 2), sides=(0, 3))
    i, l, j = (draw.integer(0, 9) for _ in range(3))
    shared = draw.choice((False, True))
    b = draw.array((l, j) if shared else (*batch, l, j))
    return Case((draw.array((*batch, i, l)), b))


def _linear_case(draw: Draw) -> Case:
    c, k = draw.integer(0, 9), draw.integer(0, 9)
    x = draw.array((*draw.shape(dims=(0, 2), sides=(0, 3)), c))
    b = draw.array((k,)) if draw.choice((True, False)) else None
    return Case((x, draw.array((c, k)), b))


def _conv_case(draw: Draw) -> Case:
    g = draw.conv()
    b = draw.array((g.k,)) if draw.choice((True, False)) else None
    return Case((draw.array(g.image), draw.array(g.kernel), b), g.settings)


def _transposed_case(draw: Draw) -> Case:
    g = draw.conv()
    y = draw.array((g.n, draw.integer(1, 4), draw.integer(1, 4), g.k))
    # Large enough that padding leaves a pixel.
    settings = {**g.settings, "padding": min(g.padding, (min(g.r, g.s) - 1) // 2)}
    settings["output_padding"] = draw.integer(0, g.stride - 1)
    b = draw.array((g.c,)) if draw.choice((True, False)) else None
    return Case((y, draw.array(g.kernel), b), settings)


def _conv_reference(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Sum tap by tap, pixel by pixel, as the definition reads."""
    (n, h, wide, _), (rows, cols, _, k) = x.shape, w.shape
    p, q = (
        (side + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for side, taps in ((h, rows), (wide, cols))
    )
    y = np.zeros((n, p, q, k)) + (0 if b is None else b)
    for u, v, r, s in np.ndindex(p, q, rows, cols):
        i = u * stride + r * dilation - padding
        j = v * stride + s * dilation - padding
        if 0 <= i < h and 0 <= j < wide:
            y[:, u, v] += x[:, i, j] @ w[r, s]
    return y


def _transposed_reference(
    y: Array,
    w: Array,
    b: Array | None,
    stride: int,
    padding: int,
    dilation: int,
    output_padding: int,
) -> Array:
    """Paint each input pixel's patch into the output, tap by tap."""
    (n, p, q, _), (rows, cols, c, _) = y.shape, w.shape
    h, wide = (
        (side - 1) * stride - 2 * padding + dilation * (taps - 1) + 1 + output_padding
        for side, taps in ((p, rows), (q, cols))
    )
    x = np.zeros((n, h, wide, c)) + (0 if b is None else b)
    for u, v, r, s in np.ndindex(p, q, rows, cols):
        i = u * stride + r * dilation - padding
        j = v * stride + s * dilation - padding
        if 0 <= i < h and 0 <= j < wide:
            x[:, i, j] += y[:, u, v] @ w[r, s].T
    return x


def _attention_case(draw: Draw) -> Case:
    causal = draw.choice((False, True))
    n, heads = draw.integer(0, 2), draw.integer(1, 2)
    e, f = draw.integer(1, 4), draw.integer(0, 4)
    t = draw.integer(0, 4)
    s = t + draw.integer(0 if t else 1, 3) if causal else draw.integer(1, 5)
    q = draw.choice((1.0, 8.0)) * draw.array((n, heads, t, e))  # mixed, or nearly sure
    k, v = draw.array((n, heads, s, e)), draw.array((n, heads, s, f))
    return Case((q, k, v), {"causal": causal})


def _attention_reference(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """Query by query, from the keys that it sees."""
    t, s = q.shape[2], k.shape[2]
    y = np.empty((*q.shape[:3], v.shape[3]))
    for n, a, i in np.ndindex(q.shape[:3]):
        seen = s - t + i + 1 if causal else s
        scores = (k[n, a, :seen] * q[n, a, i]).sum(axis=1) / math.sqrt(q.shape[3])
        weights = np.exp(scores - scores.max())
        y[n, a, i] = (weights[:, None] * v[n, a, :seen]).sum(axis=0) / weights.sum()
    return y


PRODUCTS = (
    OpSpec(
        "matmul",
        ops.matmul,
        _matmul_case,
        lambda a, b: (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2),
        (pro.MatMul,),
        linear_in=((0,), (1,)),
    ),
    OpSpec(
        "linear",
        ops.linear,
        _linear_case,
        lambda x, w, b: (x[..., None] * w).sum(axis=-2) + (0 if b is None else b),
        (pro.Linear,),
        linear_in=((0, 2), (1, 2)),
    ),
    OpSpec(
        "conv2d",
        ops.conv2d,
        _conv_case,
        _conv_reference,
        (con.Conv2d,),
        linear_in=((0, 2), (1, 2)),
    ),
    OpSpec(
        "conv_transpose2d",
        ops.conv_transpose2d,
        _transposed_case,
        _transposed_reference,
        (con.ConvTranspose2d,),
        linear_in=((0, 2), (1, 2)),
    ),
    OpSpec(
        "attention",
        ops.attention,
        _attention_case,
        _attention_reference,
        (att.Attention,),
        linear_in=((2,),),
    ),
)
