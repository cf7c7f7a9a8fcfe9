"""Scatter-add: the sum and the count of the vectors that chose each code.

    code_sums  z (N,D), indices (N,)  -> sums (M,D), counts (M,) int64

This is the one-hot product of the textbooks, without the one-hot: what an EMA codebook
averages, and the gradient of a table lookup. N·D additions. The order of each sum is
fixed by the indices alone: on a CPU its vectors are added one after another by growing
n, whatever the number of threads.
"""

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_indices, check_rank, check_shape
from tinyvq_kernels._table import Kernel, backend_of, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.scatter import cpu, gpu, reference

declare(
    Kernel("code_sums", "cpu", "reference", lambda: reference.code_sums, "np.add.at"),
    Kernel("code_sums", "cuda", "reference", lambda: reference.code_sums, "np.add.at"),
    Kernel(
        "code_sums",
        "cpu",
        "sorted",
        lambda: cpu.code_sums,
        "rows listed by code first, then codes shared out to threads",
        default=True,
    ),
)
cuda_ladder("code_sums", gpu.LADDER, default="banded")


def code_sums(z: Array, indices: Array, num_codes: int) -> tuple[Array, Array]:
    """Sum and count the vectors of each code.

    z (N,D) float32 | float64, indices (N,) integers in 0 .. M-1
    -> sums (M,D) like z, counts (M,) int64

    Raises TypeError for dtypes, ValueError for shapes, IndexError for an index out of
    range.
    """
    op = "code_sums"
    check_floats(op, z=z)
    check_rank(op, "N,D", "z", z)
    check_indices(op, "indices", indices)
    check_shape(op, "indices", indices, (z.shape[0],))
    # On a device the kernels look: to read two numbers here would wait for it.
    if indices.size and backend_of(indices) == "cpu":
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= num_codes:
            raise IndexError(
                f"{op}: indices must be in 0 .. {num_codes - 1}, got {low} .. {high}"
            )
    sums, counts = resolve(op, z)(z, indices, num_codes)
    return sums, counts
