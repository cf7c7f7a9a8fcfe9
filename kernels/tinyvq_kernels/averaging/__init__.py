"""Running means of a codebook: what an update by a batch makes of counts and sums.

running_means   for each code m of M, with a weight w = 1 - decay of the new batch:

    size[m]    ← decay · size[m]  + w · counts[m]
    total[m]   ← decay · total[m] + w · sums[m]
    average    ← decay · average  + w · N / M            N = Σ counts
    codes[m]   ← total[m] / size[m]     where counts[m] > 0

Why the mean: Σ_n |z_n - e|² over the vectors z_n that chose a code e is least where e
is their mean, so that this jumps to where the codebook loss would lead by small steps.
Why of many batches, of older ones less: one batch is noisy, and the encoder moves on.

A code that nobody chose stays put: its mean is as before, and its sums fade to nothing
in the end. Source: van den Oord et al., arXiv:1711.00937, appendix A.1.
"""

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_rank, check_shape, check_writable
from tinyvq_kernels._table import Kernel, backend_of, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.averaging import gpu, reference

NAME, WHAT = "running_means", "array by array"
declare(
    Kernel(NAME, "cpu", "reference", lambda: reference.running_means, WHAT),
    Kernel(NAME, "cuda", "reference", lambda: reference.running_means, WHAT),
)
cuda_ladder(NAME, gpu.LADDER, default="fused")


def running_means(
    sums: Array,
    counts: Array,
    size: Array,
    total: Array,
    average: Array,
    codes: Array | None,
    *,
    rows: int,
    decay: float,
) -> None:
    """Update size, total, average and codes in place from a batch of `rows` vectors.

    sums (M,D) float32 | float64, counts (M,) int64, as `code_sums` gives them;
    size (M,), total (M,D), average () of one float dtype, which need not be that of
    the sums; codes (M,D) like sums, or None, which leaves the codebook alone.

    w · sums is rounded to the sums' dtype, all else to that of the means. All backends
    give the same bits.

    Raises TypeError for dtypes, ValueError for shapes, or an array that cannot be
    written in place: not contiguous, or read-only.
    """
    check_rank(NAME, "M,D", "sums", sums)
    moved = {} if codes is None else {"codes": codes}
    check_floats(NAME, sums=sums, **moved)
    check_floats(NAME, size=size, total=total, average=average)
    if counts.dtype != "int64":
        raise TypeError(f"{NAME}: counts must be int64, got {counts.dtype}")
    for name, array in {"counts": counts, "size": size}.items():
        if backend_of(array) != backend_of(sums):
            raise TypeError(f"{NAME}: {name} and sums are not on one backend")
        check_shape(NAME, name, array, (sums.shape[0],))
    for name, array in {"total": total, **moved}.items():
        check_shape(NAME, name, array, tuple(sums.shape))
    check_shape(NAME, "average", average, ())
    written = {"size": size, "total": total, "average": average, **moved}
    for name, array in written.items():
        check_writable(NAME, name, array)
    mean = rows / max(1, sums.shape[0])
    resolve(NAME, sums)(sums, counts, size, total, average, codes, mean, decay)
