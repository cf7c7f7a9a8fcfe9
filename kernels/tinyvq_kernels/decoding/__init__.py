"""A transformer that is asked for one position after another, with cached keys.

    decoder(weights, heads, count, positions) -> an object with
        step(x (N,W), position) -> logits (N,M)

    q, k, v = norm1(h) w_qkv + b_qkv;  k and v join those of the positions before
    h = h + softmax(q kᵀ / √E) v w_project + b_project        E = W / heads
    h = h + gelu(norm2(h) w_widen + b_widen) w_narrow + b_narrow
    logits = norm(h) w_head + b_head                          after the last layer

gelu(x) = x σ(2 √(2/π) (x + 0.044715 x³)). N is `count`. Positions come in order, from
0. A grid's logits depend on its own codes alone, bit for bit, whatever else is in the
batch. Memory: 2·layers·N·T·W values, T being `positions`.
"""

from dataclasses import fields

from tinyvq_kernels._door import check_floats, check_shape
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels.decoding import cpu, reference
from tinyvq_kernels.decoding.weights import DecoderWeights

declare(
    Kernel("decoder", "cpu", "reference", lambda: reference.Decoder, "array by array"),
    Kernel("decoder", "cuda", "reference", lambda: reference.Decoder, "array by array"),
    Kernel(
        "decoder",
        "cpu",
        "fused",
        lambda: cpu.Decoder,
        "weights packed once; six grids go through all layers in one call",
        default=True,
    ),
)


def decoder(
    weights: DecoderWeights, heads: int, count: int, positions: int
) -> "reference.Decoder | cpu.Decoder":
    """Begin `count` sequences of up to `positions`; see the package.

    Raises TypeError for dtypes, ValueError for shapes and counts.
    """
    op = "decoder"
    arrays = {
        f.name: getattr(weights, f.name) for f in fields(weights) if f.name != "eps"
    }
    check_floats(op, **arrays)
    layers, width, codes = (
        len(weights.qkv),
        weights.norm.shape[-1],
        len(weights.head_bias),
    )
    shapes = {
        "norm1": (layers, 2, width),
        "qkv": (layers, width, 3 * width),
        "qkv_bias": (layers, 3 * width),
        "project": (layers, width, width),
        "project_bias": (layers, width),
        "norm2": (layers, 2, width),
        "widen": (layers, width, 4 * width),
        "widen_bias": (layers, 4 * width),
        "narrow": (layers, 4 * width, width),
        "narrow_bias": (layers, width),
        "norm": (2, width),
        "head": (width, codes),
        "head_bias": (codes,),
    }
    for name, shape in shapes.items():
        check_shape(op, name, arrays[name], shape)
    if heads < 1 or width % heads or count < 1 or positions < 1:
        raise ValueError(
            f"{op}: needs count and positions of at least 1 and heads that divide the "
            f"width {width}, got count={count}, positions={positions}, heads={heads}"
        )
    make: type[cpu.Decoder] = resolve(op, weights.qkv)  # type: ignore[assignment]
    return make(weights, heads, count, positions)
