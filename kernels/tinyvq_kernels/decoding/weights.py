"""The weights of a pre-norm transformer, all layers stacked."""

from dataclasses import dataclass

from tinyvq_kernels._types import Array


@dataclass(frozen=True)
class DecoderWeights:
    """Arrays of one float dtype; L layers, width W, M codes.

    norm1, norm2       (L,2,W) scale and shift of the layer norms
    qkv, qkv_bias      (L,W,3W), (L,3W)
    project, project_bias   (L,W,W), (L,W)
    widen, widen_bias       (L,W,4W), (L,4W)
    narrow, narrow_bias     (L,4W,W), (L,W)
    norm, head, head_bias   (2,W), (W,M), (M)
    eps                of the layer norms
    """

    norm1: Array
    qkv: Array
    qkv_bias: Array
    project: Array
    project_bias: Array
    norm2: Array
    widen: Array
    widen_bias: Array
    narrow: Array
    narrow_bias: Array
    norm: Array
    head: Array
    head_bias: Array
    eps: float
