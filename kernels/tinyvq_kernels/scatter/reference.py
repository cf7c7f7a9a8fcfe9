"""Scatter-add in plain NumPy: the specification."""

import numpy as np

from tinyvq_kernels._types import Array


def code_sums(z: Array, indices: Array, num_codes: int) -> tuple[Array, Array]:
    """sums[m] = Σ over n with indices[n] = m of z[n]; counts[m] = how many."""
    sums = np.zeros_like(z, shape=(num_codes, z.shape[1]))
    np.add.at(sums, indices, z)
    return sums, np.bincount(indices, minlength=num_codes).astype(np.int64)
