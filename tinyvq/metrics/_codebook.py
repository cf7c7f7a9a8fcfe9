"""How many codes are in use, and how evenly.

Two numbers go by the name of perplexity, and they differ. A batch cannot use more codes
than it has positions, and entropy is concave, so the average over batches lies below
the perplexity of their split and moves with the batch size. Here `batch_perplexity` is
that of one batch, and `CodebookUsage.perplexity` that of all that was added, usually a
whole split.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyvq.errors import ConfigError, DataError, DTypeError, ShapeError


def entropy_bits(counts: NDArray[Any]) -> float:
    """Entropy, in bits, of the code that a random position holds.

    counts  (M,) how often each code was chosen; integer, or the float averages of EMA
    Raises ShapeError unless counts is (M,) with M ≥ 1, and DataError where a count is
    negative, NaN or infinite, or where all are zero.
    """
    _check_counts(counts)
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


def codes_used(counts: NDArray[Any]) -> int:
    """Count the codes that were chosen at least once.

    counts  (M,) as for `entropy_bits`, but all of them may be zero
    """
    _check_counts(counts, may_be_empty=True)
    return int(np.count_nonzero(counts))


def batch_perplexity(indices: NDArray[np.integer[Any]], num_codes: int) -> float:
    """Perplexity of the codes of a single batch; see `CodebookUsage` for a split.

    indices    any shape, integer, 0 .. num_codes - 1
    num_codes  M
    Raises as `CodebookUsage.add`, and DataError where there are no indices.
    """
    usage = CodebookUsage(num_codes)
    usage.add(indices)
    return usage.perplexity


class CodebookUsage:
    """How often each code was chosen, over everything added: usually a whole split.

    The counts are integers, so the result does not depend, in any bit, on how the
    split was cut into batches.
    """

    def __init__(self, num_codes: int) -> None:
        if num_codes < 1:
            raise ConfigError(f"CodebookUsage: expected num_codes ≥ 1, got {num_codes}")
        self.counts = np.zeros(num_codes, dtype=np.int64)

    def add(self, indices: NDArray[np.integer[Any]]) -> None:
        """Count the codes of one more batch.

        indices  any shape, integer, 0 .. M - 1
        Raises DTypeError for indices that are not integers and DataError for indices
        outside the codebook; nothing is counted then.
        """
        if not np.issubdtype(indices.dtype, np.integer):
            raise DTypeError(
                f"CodebookUsage.add: expected integer indices, got {indices.dtype}"
            )
        if indices.size == 0:
            return
        low, high = int(indices.min()), int(indices.max())
        num_codes = len(self.counts)
        if low < 0 or high >= num_codes:
            raise DataError(
                f"CodebookUsage.add: expected indices in 0 .. {num_codes - 1}, "
                f"got {low} .. {high}"
            )
        # uint64 does not cast safely to what bincount takes; the range is known here.
        flat = indices.reshape(-1).astype(np.int64)  # (positions,)
        self.counts += np.bincount(flat, minlength=num_codes)

    @property
    def total(self) -> int:
        """Number of indices added."""
        return int(self.counts.sum())

    @property
    def entropy_bits(self) -> float:
        """Entropy over all that was added, in bits; DataError where nothing was."""
        return entropy_bits(self.counts)

    @property
    def perplexity(self) -> float:
        """Perplexity over all that was added, not a mean over batches.

        Raises DataError where nothing was added.
        """
        return perplexity(self.counts)

    @property
    def used(self) -> int:
        """Number of codes chosen at least once."""
        return codes_used(self.counts)

    @property
    def dead(self) -> int:
        """Number of codes never chosen."""
        return len(self.counts) - self.used


def _check_counts(counts: NDArray[Any], may_be_empty: bool = False) -> None:
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
