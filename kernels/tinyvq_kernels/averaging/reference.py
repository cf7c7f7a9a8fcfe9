"""Running means in plain NumPy: the specification."""

import numpy as np

from tinyvq_kernels._types import Array


def running_means(
    sums: Array,
    counts: Array,
    size: Array,
    total: Array,
    average: Array,
    codes: Array | None,
    mean: float,
    decay: float,
) -> None:
    """Update in place; mean is N/M, the count of the average code."""
    take = 1 - decay
    size[...] = decay * size + take * counts
    total[...] = decay * total + take * sums
    average[...] = decay * average + take * mean
    if codes is not None:
        chosen = counts > 0  # (M,)
        means = total / np.where(chosen, size, 1)[:, None]
        np.copyto(codes, means, where=chosen[:, None])
