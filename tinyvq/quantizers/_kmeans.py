"""k-means: where a codebook starts."""

import numpy as np
from tinyvq_kernels import code_sums, nearest_code

from tinyvq.backends import beside
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.function import Array
from tinyvq.rng import Stream


def kmeans(
    vectors: Array, num_codes: int, rng: Stream, iterations: int = 10
) -> tuple[Array, Array]:
    """Cluster vectors (N,D) -> codes (M,D) and how many vectors each has (M,) int64.

    Lloyd's algorithm from M random vectors, distinct as positions where N >= M, drawn
    with repetition otherwise. A cluster that empties keeps its place.
    Source: Lloyd, "Least squares quantization in PCM", 1982.
    """
    if vectors.ndim != 2 or vectors.size == 0:
        raise ShapeError(f"kmeans: needs vectors (N,D), got {vectors.shape}")
    if num_codes < 1 or iterations < 1:
        raise ConfigError(
            "kmeans: needs at least one code and one iteration, "
            f"got {num_codes} and {iterations}"
        )
    n = len(vectors)
    if n >= num_codes:
        chosen = rng.permutation(n)[:num_codes]
    else:
        chosen = rng.integers(n, num_codes)
    codes = vectors[beside(chosen, vectors)]
    for _ in range(iterations):
        sums, counts = code_sums(vectors, nearest_code(vectors, codes), num_codes)
        means = sums / np.maximum(counts, 1)[:, None].astype(vectors.dtype)
        np.copyto(codes, means, where=counts[:, None] > 0)
    return codes, counts
