"""Functions of single values, and their gradients: arrays of any shape.

    relu         y = max(x, 0)
    relu_grad    gx = gy where y > 0, else 0                 from y
    silu         y = x σ(x), σ(x) = 1 / (1 + e⁻ˣ)
    silu_grad    gx = gy σ(x) (1 + x (1 - σ(x)))             from x

NaN stays NaN in the functions; a gradient takes no value from where it is blocked, not
even NaN.
"""

from functools import partial
from typing import Any

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_shape
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.pointwise import cpu, gpu, reference

OPS = ("relu", "relu_grad", "silu", "silu_grad")


def _enter(op: str, backend: str, variant: str, module: Any, what: str) -> None:
    load = partial(getattr, module, op)
    declare(Kernel(op, backend, variant, load, what, default=module is cpu))


for _op in OPS:
    _enter(_op, "cpu", "reference", reference, "array by array")
    _enter(_op, "cuda", "reference", reference, "array by array")
    _enter(_op, "cpu", "fused", cpu, "one pass over memory, all cores")
    cuda_ladder(_op, gpu.ladder(_op), default="vectorised")


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    check_floats("relu", x=x)
    return resolve("relu", x)(x)


def relu_grad(y: Array, gy: Array) -> Array:
    """Return gy where y = relu(x) is above 0, else 0."""
    check_floats("relu_grad", y=y, gy=gy)
    check_shape("relu_grad", "gy", gy, y.shape)
    return resolve("relu_grad", y)(y, gy)


def silu(x: Array) -> Array:
    """Return x σ(x)."""
    check_floats("silu", x=x)
    return resolve("silu", x)(x)


def silu_grad(x: Array, gy: Array) -> Array:
    """Return gy σ(x) (1 + x (1 - σ(x)))."""
    check_floats("silu_grad", x=x, gy=gy)
    check_shape("silu_grad", "gy", gy, x.shape)
    return resolve("silu_grad", x)(x, gy)
