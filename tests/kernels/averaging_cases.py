"""Calls of running_means, which updates a codebook's statistics in place."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import tinyvq_kernels
from kernel_case import Array, Arrays, KernelCase, draw


def running_means_cases() -> Iterator[KernelCase]:
    """Codes around blocks of 8, values around warps; codes that nobody chose.

    terms = 8: a product, a sum, the division and the result in the inputs' dtype, and
    so for the size. The means are in float64, or in the inputs' dtype.
    """
    sizes = [(m, depth) for m in (1, 7, 8, 9) for depth in (0, 1, 31, 33)] + [(300, 64)]
    for (m, depth), means, moves in product(sizes, ("float64", None), (True, False)):
        counts = np.random.default_rng(m + depth).integers(0, 3, m)

        def call(
            sums: Array,
            counts: Array,
            size: Array,
            total: Array,
            average: Array,
            codes: Array,
            means: str | None = means,
            moves: bool = moves,
        ) -> Arrays:
            to, dtype = means or sums.dtype, sums.dtype
            kept = [a.astype(to, order="C") for a in (size, total, average)]
            kept[2] = kept[2].reshape(())  # a layout needs an axis
            codes = codes.copy(order="C")
            tinyvq_kernels.running_means(
                *(sums, counts, *kept, codes if moves else None), rows=37, decay=0.9
            )
            return (*(a.astype(dtype) for a in kept), codes)

        yield KernelCase(
            "running_means",
            f"{m}x{depth}-{means}-{moves}",
            (
                *(draw("sums", m, depth), counts, np.abs(draw("size", m))),
                *(draw("total", m, depth), np.abs(draw("average", 1))),
                draw("codes", m, depth),
            ),
            call,
            terms=8,
        )
