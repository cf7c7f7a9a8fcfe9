"""Sums over the pixels of images, which the gradient of a bias is.

pixel_sums   x (N,L,C) -> (C,)      y[c] = Σ_nl x[n,l,c]
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
cuda_ladder("pixel_sums", gpu.LADDER, default="spread")


def pixel_sums(x: Array) -> Array:
    """Add up x (N,L,C) over all pixels of all images: (C,).

    In an order that the shape fixes. On a CPU first within each image, then over
    images, and in float64 but for short sums within an image.
    """
    check_floats("pixel_sums", x=x)
    check_rank("pixel_sums", "N,L,C", "x", x)
    return resolve("pixel_sums", x)(x)
