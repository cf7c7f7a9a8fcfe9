"""Entropy of a source of codes, estimated from a sample of what it sends."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyvq.entropy import check_counts
from tinyvq.errors import DTypeError


def chao_wang_jost_entropy_bits(counts: NDArray[Any]) -> float:
    """Estimate the entropy, in bits, of the source that these counts are a sample of.

    The entropy of the counts themselves lies low by about (used - 1)/2N nats for N
    indices of which `used` are distinct, and by far more while N is below the number
    of codes. This estimate removes nearly all of that; for a large N the two agree.
    It can exceed log2 M by its own error.

    It holds for independent draws. The positions of one image resemble each other, so
    indices from a few images say less than as many from far more images, and the
    estimate then still lies low, though less than the entropy of the counts.

    counts  (M,) integer, how often each code was chosen; no averages, since those
            chosen once and twice tell how much was not seen
    Raises DTypeError for counts that are not integers, else as `entropy_bits`.
    O(M + N) time and memory.
    Source: Chao, Wang and Jost, "Entropy and the species accumulation curve: a novel
    entropy estimator via discovery rates of new species", Methods in Ecology and
    Evolution 4 (2013). Chosen over the corrections of Miller and Madow and of
    Grassberger, which leave more bias while N is below M, and of Chao and Shen, which
    leaves more in large samples.
    """
    if not np.issubdtype(counts.dtype, np.integer):
        raise DTypeError(
            f"chao_wang_jost_entropy_bits: expected integer counts, got {counts.dtype}"
        )
    check_counts(counts)
    seen = counts[counts > 0].astype(np.int64)
    n = int(seen.sum())
    # H = Σ_k Δ_k/k over k = 1, 2, ...: Δ_k is the chance that draw k + 1 is of a code
    # that k draws did not show. For k < n the sample gives it without bias, and
    #   Σ_{k<n} Δ_k/k = Σ_m (c_m/n)·(1/c_m + 1/(c_m + 1) + ... + 1/(n - 1))
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n))])  # (n,)
    nats = float(np.sum(seen / n * (harmonic[n - 1] - harmonic[seen - 1])))
    once, twice = int(np.sum(seen == 1)), int(np.sum(seen == 2))
    return max(0.0, (nats + _unseen_nats(n, once, twice)) / math.log(2))


def _unseen_nats(n: int, once: int, twice: int) -> float:
    """Σ_{k≥n} Δ_k/k, from how many codes were seen once and twice."""
    if once == 0:
        return 0.0
    # a: the mean share of a code that was seen once, by Good and Turing. From it,
    #   Δ_k = (f1/n)·(1-a)^(k-n+1)
    if twice > 0:
        a = 2 * twice / ((n - 1) * once + 2 * twice)
    else:
        a = 2 / ((n - 1) * (once - 1) + 2)
    if a == 1:
        return 0.0
    step = math.log1p(-a)
    if (1 - n) * step <= 8:
        # Σ_{k≥1} (1-a)^k/k = -log a, less its first n - 1 terms. The factor behind it
        # makes e^8 of the rounding of this difference: 1e-12 at most.
        k = np.arange(1, n)
        rest = -math.log(a) - float(np.sum(np.exp(k * step) / k))
        return once / n * rest * math.exp((1 - n) * step)
    # Otherwise the terms themselves, until they are below exp(-40) of the first.
    k = np.arange(n, n + math.ceil(40 / a))
    return once / n * float(np.sum(np.exp((k - n + 1) * step) / k))
