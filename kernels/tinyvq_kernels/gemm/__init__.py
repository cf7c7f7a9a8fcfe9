"""Matrix product, also over a batch.

    matmul  a (...,I,L), b (...,L,J)  -> (...,I,J)      leading axes equal, or b (L,J)

float32 or float64; 2·I·L·J flops a product; extra memory is a packed copy of b. Any
strides: pass `a.swapaxes(-1, -2)` for a transpose. Each result is a sum of chains of
fused multiply-adds over 64 l each (on CUDA: one chain), in order, so it depends neither
on the number of threads nor on where its row stands in the batch.
"""

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.gemm import cpu, gpu, reference

declare(
    Kernel("matmul", "cpu", "reference", lambda: reference.matmul, "a @ b"),
    Kernel("matmul", "cuda", "reference", lambda: reference.matmul, "a @ b"),
    Kernel(
        "matmul",
        "cpu",
        "tiled",
        lambda: cpu.matmul,
        "6×2-vector register tiles, b packed",
        default=True,
    ),
)
cuda_ladder("matmul", gpu.LADDER, default="registers")


def matmul(a: Array, b: Array) -> Array:
    """Multiply matrices: a (...,I,L) by b (...,L,J) or (L,J) -> (...,I,J).

    Raises TypeError for dtypes, ValueError for shapes.
    """
    check_floats("matmul", a=a, b=b)
    fits = (
        a.ndim >= 2
        and b.ndim >= 2
        and a.shape[-1] == b.shape[-2]
        and (b.ndim == 2 or a.shape[:-2] == b.shape[:-2])
    )
    if not fits:
        raise ValueError(
            "matmul: needs a (...,I,L) and b (...,L,J) or (L,J), "
            f"got {a.shape} and {b.shape}"
        )
    return resolve("matmul", a)(a, b)
