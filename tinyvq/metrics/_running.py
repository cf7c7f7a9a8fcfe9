"""A mean over a split that is measured batch by batch."""

import math

from tinyvq.errors import ConfigError, DataError, NonFiniteError


class RunningMean:
    """The mean over all items, from the means of batches of any sizes.

    Each batch weighs as much as it has items, so the smaller last batch does not bias
    the result, and cutting the split into other batches changes it by rounding only.
    The sum is kept in float64.

        psnr = RunningMean()
        for x in batches:
            psnr.add(psnr_db(x, reconstruct(x)), count=len(x))
        psnr.mean
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0

    def add(self, batch_mean: float, count: int) -> None:
        """Add a batch of `count` items, given by its mean.

        Raises NonFiniteError for a mean that is NaN or infinite, and ConfigError for
        a count below 1.
        """
        if count < 1:
            raise ConfigError(f"RunningMean.add: expected a count ≥ 1, got {count}")
        if not math.isfinite(batch_mean):
            raise NonFiniteError(
                f"RunningMean.add: expected a finite mean, got {batch_mean} "
                f"after {self.count} items"
            )
        self.count += int(count)
        self._sum += float(batch_mean) * int(count)

    @property
    def mean(self) -> float:
        """The mean over all items so far; raises DataError where there are none."""
        if self.count == 0:
            raise DataError("RunningMean.mean: nothing was added, so there is no mean")
        return self._sum / self.count
