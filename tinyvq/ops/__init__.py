"""Operations on tensors: each a Function, forward and backward side by side.

Read `_arithmetic.py` first, then `_convolutions.py` and `_quantization.py`.
"""

from tinyvq.ops import _operators
from tinyvq.ops._activations import (
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from tinyvq.ops._arithmetic import add, div, maximum, mul, neg, power, sub, where
from tinyvq.ops._convolutions import conv2d, conv_transpose2d
from tinyvq.ops._elementwise import absolute, clip, exp, log, sqrt
from tinyvq.ops._losses import huber_loss, l1_loss, mse_loss
from tinyvq.ops._products import linear, matmul
from tinyvq.ops._quantization import (
    embedding,
    straight_through,
    uniform_kl,
    vq_loss,
)
from tinyvq.ops._reductions import max, mean, sum, var
from tinyvq.ops._shapes import (
    avg_pool2d,
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
    "avg_pool2d",
    "clip",
    "concatenate",
    "conv2d",
    "conv_transpose2d",
    "div",
    "embedding",
    "exp",
    "getitem",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log",
    "matmul",
    "max",
    "maximum",
    "mean",
    "mse_loss",
    "mul",
    "neg",
    "pad",
    "power",
    "relu",
    "reshape",
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
