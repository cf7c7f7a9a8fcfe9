"""Sums over the pixels of an image, which the gradient of a bias is made of.

pixel_sums   x (N,L,C) -> (N,C)      y[n,c] = Σ_l x[n,l,c]
"""

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_rank
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.reduction import cpu, gpu, reference

declare(
    Kernel("pixel_sums", "cpu", "reference", lambda: reference.pixel_sums, "NumPy"),
    Kernel("pixel_sums", "cuda", "reference", lambda: reference.pixel_sums, "CuPy"),
    Kernel(
        "pixel_sums",
        "cpu",
        "parallel",
        lambda: cpu.pixel_sums,
        "an image a task",
        default=True,
    ),
)
cuda_ladder("pixel_sums", gpu.LADDER, default="tree")


def pixel_sums(x: Array) -> Array:
    """Add up x (N,L,C) over L, in an order that the shape fixes: (N,C)."""
    check_floats("pixel_sums", x=x)
    check_rank("pixel_sums", "N,L,C", "x", x)
    return resolve("pixel_sums", x)(x)
