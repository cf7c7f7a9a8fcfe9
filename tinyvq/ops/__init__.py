"""Operations on tensors: each a Function, forward and backward side by side.

Read `_arithmetic.py` first, then `_quantization.py` and `_convolutions.py`.

Where an op calls a kernel, what that computes is written in plain NumPy in
`kernels/tinyvq_kernels/<folder>/reference.py`, and runs by
`with tinyvq_kernels.use_kernels(conv2d="reference"):`.
"""

from tinyvq.ops import _operators
from tinyvq.ops._activations import (
    gelu,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from tinyvq.ops._arithmetic import add, div, maximum, mul, neg, power, sub, where
from tinyvq.ops._attention import attention
from tinyvq.ops._convolutions import conv2d, conv_transpose2d
from tinyvq.ops._elementwise import absolute, clip, dropout, exp, log, sqrt
from tinyvq.ops._gaussian import gaussian_kl, reparameterize
from tinyvq.ops._likelihoods import bce_with_logits, cross_entropy, log_softmax
from tinyvq.ops._losses import huber_loss, l1_loss, mse_loss
from tinyvq.ops._normalization import (
    batch_norm,
    group_norm,
    l2_normalize,
    layer_norm,
)
from tinyvq.ops._pooling import avg_pool2d, max_pool2d
from tinyvq.ops._products import linear, matmul
from tinyvq.ops._quantization import (
    embedding,
    rotation_trick,
    straight_through,
    uniform_kl,
    vq_loss,
)
from tinyvq.ops._reductions import max, mean, sum, var
from tinyvq.ops._shapes import (
    concatenate,
    getitem,
    pad,
    reshape,
    transpose,
    upsample_nearest,
)

_operators.attach()

__all__ = [
    "absolute",
    "add",
    "attention",
    "avg_pool2d",
    "batch_norm",
    "bce_with_logits",
    "clip",
    "concatenate",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "div",
    "dropout",
    "embedding",
    "exp",
    "gaussian_kl",
    "gelu",
    "getitem",
    "group_norm",
    "huber_loss",
    "l1_loss",
    "l2_normalize",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log",
    "log_softmax",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "mse_loss",
    "mul",
    "neg",
    "pad",
    "power",
    "relu",
    "reparameterize",
    "reshape",
    "rotation_trick",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "sqrt",
    "straight_through",
    "sub",
    "sum",
    "tanh",
    "transpose",
    "uniform_kl",
    "upsample_nearest",
    "var",
    "vq_loss",
    "where",
]
