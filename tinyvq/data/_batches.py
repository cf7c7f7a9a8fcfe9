"""Which images a training step sees: a function of the seed and the step."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tinyvq.errors import ConfigError, DataError
from tinyvq.rng import Stream

Indices = npt.NDArray[np.int64]


def batch_indices(n: int, batch_size: int, step: int, seed: int) -> Indices:
    """Choose the images of a training step, counted from 1 -> (batch_size,) in 0..n-1.

    Epoch after epoch is laid end to end, each in an order of its own, and a step takes
    the next batch_size of them: every image once an epoch, none left out at its end.
    Nothing is remembered from step to step, so there is nothing to restore.
    """
    if n < 1:
        raise DataError("there are no images to draw a batch from")
    if batch_size < 1 or step < 1:
        raise ConfigError(
            f"batch_size and step must be at least 1, got {batch_size} and {step}"
        )
    at = np.arange((step - 1) * batch_size, step * batch_size)
    chosen = np.empty(batch_size, np.int64)
    for epoch in range(int(at[0]) // n, int(at[-1]) // n + 1):
        mine = at // n == epoch
        chosen[mine] = _order(n, epoch, seed)[at[mine] % n]
    return chosen


def pick(total: int, count: int) -> Indices:
    """Choose `count` of a split's images, spread over it, always the same -> (count,).

    In ascending order; all where there are no more. The first ones would be of the
    first classes alone where a split is sorted, as a folder's is.
    """
    return np.sort(Stream(0, "images to show").permutation(total)[:count])


@lru_cache(maxsize=4)
def _order(n: int, epoch: int, seed: int) -> Indices:
    order = Stream(seed, "data order", epoch).permutation(n)
    order.flags.writeable = False
    return order
