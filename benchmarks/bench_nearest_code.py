"""Nearest-code search against NumPy, PyTorch, scikit-learn and faiss.

Each library is imported where its search is made: `bench_memory` wants one alone.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import tinyvq_kernels

from benchmarks.harness import OURS, Case, Work
from benchmarks.record import blas

SHAPES = (  # N, D, M
    (32768, 64, 512),
    (8192, 256, 1024),
    (32768, 8, 16384),
    (8192, 256, 16384),
    (65536, 4, 512),
)

Search = Callable[[], np.ndarray]
CORE = "OPENBLAS_CORETYPE"
BLOCK = 2048  # vectors at once, of peers that write a table: a larger one is slower


def drawn(n: int, d: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw z (N,D) and codes (M,D)."""
    rng = np.random.default_rng(0)
    z, codes = (rng.standard_normal((rows, d), np.float32) for rows in (n, m))
    return z, codes


def ours(z: np.ndarray, codes: np.ndarray) -> Search:
    """Make tinyvq's search."""
    return lambda: tinyvq_kernels.nearest_code(z, codes)


def by_numpy(z: np.ndarray, codes: np.ndarray) -> Search:
    """Make NumPy's: the largest score, in blocks."""

    def search() -> np.ndarray:
        out = np.empty(len(z), np.int64)
        half = (codes * codes).sum(1) / 2
        for first in range(0, len(z), BLOCK):
            scores = z[first : first + BLOCK] @ codes.T - half
            out[first : first + BLOCK] = scores.argmax(1)
        return out

    return search


def by_cdist(z: np.ndarray, codes: np.ndarray) -> Search:
    """Make PyTorch's, by a table of distances, in blocks."""
    import torch

    tz, tcodes = torch.from_numpy(z), torch.from_numpy(codes)

    def search() -> np.ndarray:
        found = [torch.cdist(part, tcodes).argmin(1) for part in tz.split(BLOCK)]
        return torch.cat(found).numpy()

    return search


def by_matmul(z: np.ndarray, codes: np.ndarray) -> Search:
    """Make PyTorch's, by a product of matrices, in blocks."""
    import torch

    tz, tcodes = torch.from_numpy(z), torch.from_numpy(codes)

    def search() -> np.ndarray:
        squares = (tcodes * tcodes).sum(1)
        found = [
            torch.addmm(squares, part, tcodes.T, alpha=-2).argmin(1)
            for part in tz.split(BLOCK)
        ]
        return torch.cat(found).numpy()

    return search


def by_faiss(z: np.ndarray, codes: np.ndarray) -> Search:
    """Make faiss's, whose index holds the codes already."""
    with told_core():
        import faiss

    index = faiss.IndexFlatL2(codes.shape[1])
    index.add(codes)
    return lambda: index.search(z, 1)[1][:, 0]


@contextmanager
def told_core() -> Iterator[None]:
    """Tell an OpenBLAS that is loaded here what NumPy's has found the processor to be.

    The one that faiss brings along is of 2021, and takes processors that are newer for
    old ones: on an EPYC with AVX-512 it takes twice to five times as long by itself.
    """
    before = os.environ.get(CORE)
    _, _, core = blas().get("openblas", "").rpartition(" for ")
    if core and before is None:
        os.environ[CORE] = core
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(CORE, None)


def by_sklearn(z: np.ndarray, codes: np.ndarray) -> Search:
    """Make scikit-learn's."""
    from sklearn.metrics import pairwise_distances_argmin

    return lambda: pairwise_distances_argmin(z, codes)


SEARCHES: dict[str, Callable[[np.ndarray, np.ndarray], Search]] = {
    OURS: ours,
    "NumPy": by_numpy,
    "PyTorch cdist": by_cdist,
    "PyTorch matmul": by_matmul,
    "faiss": by_faiss,
    "scikit-learn": by_sklearn,
}


def build(shape: tuple[int, int, int], toy: bool) -> Work:
    """Make the search of one shape."""
    n, d, m = (101, shape[1], 37) if toy else shape
    z, codes = drawn(n, d, m)
    contenders = {name: make(z, codes) for name, make in SEARCHES.items()}
    return Work(contenders, partial(check, z, codes), flops=2.0 * n * d * m)


def check(z: np.ndarray, codes: np.ndarray, found: Mapping[str, np.ndarray]) -> None:
    """Raise AssertionError unless all find codes as near as ours, but for rounding.

    The expanded form of a distance cancels: it is off by about u·|z|² per rounding.
    """
    codes64 = codes.astype(np.float64)
    largest = np.square(codes64).sum(1).max()
    slack = 64 * 2.0**-24 * (np.square(z, dtype=np.float64).sum(1) + largest)
    best = np.square(z - codes64[found[OURS]]).sum(1)
    for name, indices in found.items():
        distance = np.square(z - codes64[indices]).sum(1)
        assert (distance <= best + slack).all(), f"{name} finds farther codes"
        assert (best <= distance + slack).all(), f"{name} finds nearer codes"


CASES = [
    Case(
        f"nearest_code/{n}x{d}x{m}",
        f"nearest of {m} codes for {n} vectors of width {d}",
        partial(build, (n, d, m)),
    )
    for n, d, m in SHAPES
]
