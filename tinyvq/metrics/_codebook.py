"""How many codes are in use, and how evenly.

Two numbers go by the name of perplexity, and they differ. A batch cannot use more codes
than it has positions, and entropy is concave, so the average over batches lies below
the perplexity of their split and moves with the batch size. Here `batch_perplexity` is
that of one batch, and `CodebookUsage.perplexity` that of all that was added, usually a
whole split. `CodebookUsage.corrected_perplexity` estimates, from whatever was added,
what the perplexity would be with images without end.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyvq.entropy import check_counts, entropy_bits, perplexity
from tinyvq.errors import ConfigError, DataError, DTypeError
from tinyvq.metrics._entropy_estimate import chao_wang_jost_entropy_bits


def codes_used(counts: NDArray[Any]) -> int:
    """Count the codes that were chosen at least once.

    counts  (M,) as for `entropy_bits`, but all of them may be zero
    """
    check_counts(counts, may_be_empty=True)
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
    def corrected_perplexity(self) -> float:
        """Estimate of the perplexity that no sample's size holds down.

        From `chao_wang_jost_entropy_bits`, at most M. Raises DataError where nothing
        was added.
        """
        bits = chao_wang_jost_entropy_bits(self.counts)
        return min(float(2.0**bits), float(len(self.counts)))

    @property
    def used(self) -> int:
        """Number of codes chosen at least once."""
        return codes_used(self.counts)

    @property
    def dead(self) -> int:
        """Number of codes never chosen."""
        return len(self.counts) - self.used
