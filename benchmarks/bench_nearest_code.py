"""Nearest-code search against NumPy, PyTorch, scikit-learn and faiss."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import tinyvq_kernels

from benchmarks.harness import Case, Work

SHAPES = (  # N, D, M
    (32768, 64, 512),
    (8192, 256, 1024),
    (32768, 8, 16384),
    (8192, 256, 16384),
    (65536, 4, 512),
)


def build(shape: tuple[int, int, int], toy: bool) -> Work:
    """Make the search of one shape."""
    import faiss
    import torch
    from sklearn.metrics import pairwise_distances_argmin

    n, d, m = (101, shape[1], 37) if toy else shape
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, d), np.float32)
    codes = rng.standard_normal((m, d), np.float32)
    tz, tcodes = torch.from_numpy(z), torch.from_numpy(codes)
    index = faiss.IndexFlatL2(d)
    index.add(codes)

    def numpy() -> np.ndarray:
        out = np.empty(n, np.int64)
        half = (codes * codes).sum(1) / 2
        for first in range(0, n, 2048):  # in blocks: the whole table is slower
            scores = z[first : first + 2048] @ codes.T - half
            out[first : first + 2048] = scores.argmax(1)
        return out

    contenders = {
        "tinyvq": lambda: tinyvq_kernels.nearest_code(z, codes),
        "NumPy": numpy,
        "PyTorch cdist": lambda: torch.cdist(tz, tcodes).argmin(1).numpy(),
        "PyTorch matmul": lambda: (
            torch.addmm((tcodes * tcodes).sum(1), tz, tcodes.T, alpha=-2)
            .argmin(1)
            .numpy()
        ),
        "faiss": lambda: index.search(z, 1)[1][:, 0],
        "scikit-learn": lambda: pairwise_distances_argmin(z, codes),
    }

    def check(found: Mapping[str, np.ndarray]) -> None:
        # The expanded form cancels: it is off by about u·|z|² per rounding.
        codes64 = codes.astype(np.float64)
        largest = np.square(codes64).sum(1).max()
        slack = 64 * 2.0**-24 * (np.square(z, dtype=np.float64).sum(1) + largest)
        best = np.square(z - codes64[found["tinyvq"]]).sum(1)
        for name, indices in found.items():
            distance = np.square(z - codes64[indices]).sum(1)
            assert (distance <= best + slack).all(), f"{name} finds farther codes"
            assert (best <= distance + slack).all(), f"{name} finds nearer codes"

    return Work(contenders, check, flops=2.0 * n * d * m)


CASES = [
    Case(
        f"nearest_code/{n}x{d}x{m}",
        f"nearest of {m} codes for {n} vectors of width {d}",
        partial(build, (n, d, m)),
    )
    for n, d, m in SHAPES
]
