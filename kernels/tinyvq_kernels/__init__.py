"""Kernels for vector-quantised image models: arrays in, arrays out.

Nothing here knows of tensors, graphs or models. Each folder holds all implementations
of its operations side by side, the reference first.
"""

from tinyvq_kernels._cuda import (
    Checks,
    CudaUnavailable,
    address_of,
    deferred_checks,
    module_of,
    require_cuda,
    use_source,
)
from tinyvq_kernels._graph import Captured
from tinyvq_kernels._memory import keep_freed_memory
from tinyvq_kernels._roofs import peak_bandwidth, peak_flops
from tinyvq_kernels._table import (
    Kernel,
    KernelUnavailable,
    backend_of,
    kernels,
    resolve,
    use_kernels,
    watch_kernels,
)
from tinyvq_kernels._warmup import is_warm, warm_up
from tinyvq_kernels.averaging import running_means
from tinyvq_kernels.convolution import conv2d, conv2d_input_grad, conv2d_weight_grad
from tinyvq_kernels.decoding import decoder
from tinyvq_kernels.decoding.weights import DecoderWeights
from tinyvq_kernels.gemm import matmul
from tinyvq_kernels.normalization import group_norm, group_norm_grad
from tinyvq_kernels.optimizer import adam, adam_numbers, square_sum
from tinyvq_kernels.pointwise import relu, relu_grad, silu, silu_grad
from tinyvq_kernels.reduction import pixel_sums
from tinyvq_kernels.scatter import code_sums
from tinyvq_kernels.search import nearest_code
from tinyvq_kernels.softmax_attention import attention, attention_grad

__all__ = [
    "Captured",
    "Checks",
    "CudaUnavailable",
    "DecoderWeights",
    "Kernel",
    "KernelUnavailable",
    "adam",
    "adam_numbers",
    "address_of",
    "attention",
    "attention_grad",
    "backend_of",
    "code_sums",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "decoder",
    "deferred_checks",
    "group_norm",
    "group_norm_grad",
    "is_warm",
    "keep_freed_memory",
    "kernels",
    "matmul",
    "module_of",
    "nearest_code",
    "peak_bandwidth",
    "peak_flops",
    "pixel_sums",
    "relu",
    "relu_grad",
    "require_cuda",
    "resolve",
    "running_means",
    "silu",
    "silu_grad",
    "square_sum",
    "use_kernels",
    "use_source",
    "warm_up",
    "watch_kernels",
]
