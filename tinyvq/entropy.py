"""Entropy and perplexity of counts of codes: one formula for quantizers and metrics."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyvq.errors import ConfigError, DataError, ShapeError


def entropy_bits(counts: NDArray[Any]) -> float:
    """Entropy, in bits, of the code that a random position holds.

    counts  (M,) how often each code was chosen; integer, or the float averages of EMA
    Raises ShapeError unless counts is (M,) with M ≥ 1, and DataError where a count is
    negative, NaN or infinite, or where all are zero.
    """
    check_counts(counts)
    # H = -Σ_m p_m·log2(p_m), with 0·log(0) = 0; an average that has faded can be above
    # 0 and its share not.
    p = counts / counts.sum(dtype=np.float64)
    p = p[p > 0]
    # The maximum turns the -0.0 of a single code in use into 0.0.
    return max(0.0, float(-np.sum(p * np.log2(p))))


def perplexity(counts: NDArray[Any]) -> float:
    """Number of evenly used codes that would have the same entropy: from 1 to M.

    counts  (M,), and errors, as for `entropy_bits`
    """
    # exp(H in nats) = 2^(H in bits)
    return float(2.0 ** entropy_bits(counts))


def uniform_bits(num_codes: int) -> float:
    """Entropy, in bits, of codes that are all used alike: log2 M.

    It is what an index costs at equal lengths, and the KL divergence of a single code
    from the uniform prior. Raises ConfigError for a num_codes below 1.
    """
    if num_codes < 1:
        raise ConfigError(f"uniform_bits: expected num_codes ≥ 1, got {num_codes}")
    return math.log2(num_codes)


def check_counts(counts: NDArray[Any], may_be_empty: bool = False) -> None:
    """Raise unless counts is (M,), finite, not negative, and not all zero."""
    if counts.ndim != 1 or counts.size == 0:
        raise ShapeError(
            f"code counts: expected shape (M,) with M ≥ 1, got {counts.shape}"
        )
    bad = ~(np.isfinite(counts) & (counts >= 0))
    if bad.any():
        m = int(np.argmax(bad))
        raise DataError(
            f"code counts: expected finite counts ≥ 0, got {counts[m]} for code {m}"
        )
    if not may_be_empty and not counts.any():
        raise DataError(
            f"code counts: all {counts.size} are zero, so there is no distribution "
            "of codes to measure"
        )
