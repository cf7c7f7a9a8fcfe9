"""Matrix product in plain NumPy: the specification."""

from tinyvq_kernels._types import Array


def matmul(a: Array, b: Array) -> Array:
    """c[..., i, j] = Σ_l a[..., i, l] b[..., l, j]."""
    return a @ b
