"""Running means on CUDA: the host side of `running_means.cu`."""

from itertools import product

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array

CODES = 8  # a block, a warp each
NAMES = {"f": "float", "d": "double"}
SOURCES = {
    (real, mean): Source(
        "averaging/running_means.cu", {"REAL": NAMES[real], "MEAN": NAMES[mean]}
    )
    for real, mean in product(NAMES, NAMES)
}


def fused(
    sums: Array,
    counts: Array,
    size: Array,
    total: Array,
    average: Array,
    codes: Array | None,
    mean: float,
    decay: float,
) -> None:
    """Update in one launch; arguments as in the reference."""
    m, depth = sums.shape
    launch(
        SOURCES[sums.dtype.char, size.dtype.char],
        "running_means_fused",
        grid=(-(-max(1, m) // CODES), 1, 1),
        block=(32, CODES, 1),
        arguments=(
            *(contiguous(sums), contiguous(counts), size, total, average),
            empty(0, sums.dtype, like=sums) if codes is None else codes,
            *map(np.float64, (mean, decay)),
            *map(np.int32, (codes is not None, m, depth)),
        ),
    )


LADDER = {"fused": Rung(fused, "one launch, a code per warp")}
