"""How much of a set of images another covers, and how densely, by their features."""

import numpy as np
from numpy.typing import NDArray

from tinyvq.errors import ConfigError, DataError, ShapeError

Array64 = NDArray[np.float64]
ROWS = 256  # whose distances are held at once


def coverage_and_density(
    real: NDArray[np.floating], made: NDArray[np.floating], neighbours: int = 5
) -> tuple[float, float]:
    """Measure diversity and fidelity of what was made, each against what is real.

    real        (N,F) features
    made        (M,F) features of the same kind
    neighbours  k: the ball around a real one reaches to its k-th nearest real one
    ->          coverage, the share of real ones in whose balls something made lies, in
                0 .. 1: a generator that repeats itself leaves most balls empty
                density, in how many balls something made lies, over k: about 1 where
                both sets are alike, less where what is made lies far from what is real

    Unlike a Fréchet distance, which mixes both, and unlike recall, which one outlier
    among the made ones can raise. Both depend on N, M and k: compare them only at the
    same. O(N (N + M) F) time, O(ROWS (N + M)) memory. Raises ShapeError for shapes,
    ConfigError for k < 1, DataError where there are no more than k real ones, or none
    made, or a feature is not finite.
    Source: Naeem, Oh, Uh, Choi and Yoo, "Reliable fidelity and diversity metrics for
    generative models", ICML 2020, arXiv:2002.09797, eq. 3 and 4.
    """
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1]:
        raise ShapeError(
            f"coverage: needs real (N,F) and made (M,F), got {real.shape}, {made.shape}"
        )
    if neighbours < 1:
        raise ConfigError(f"coverage: neighbours must be at least 1, got {neighbours}")
    if len(real) <= neighbours or len(made) == 0:
        raise DataError(
            f"coverage: {neighbours} neighbours need more real samples than that, and "
            f"some made; got {len(real)} and {len(made)}"
        )
    if not (np.isfinite(real).all() and np.isfinite(made).all()):
        raise DataError("coverage: a feature is not finite")
    # Of the middle, or the squares below would cancel; no outlier moves a median.
    middle: Array64 = np.median(real.astype(np.float64), axis=0)
    x: Array64 = real - middle
    y: Array64 = made - middle
    covered = balls = 0
    for first in range(0, len(x), ROWS):
        rows = x[first : first + ROWS]
        own = _squared_distances(rows, x)  # (n,N)
        here = np.arange(len(rows))
        own[here, first + here] = 0.0  # to itself, whatever the rounding
        radius = np.partition(own, neighbours, axis=1)[:, neighbours, None]
        inside = _squared_distances(rows, y) < radius  # (n,M)
        covered += int(inside.any(axis=1).sum())
        balls += int(inside.sum())
    return covered / len(real), balls / (neighbours * len(made))


def _squared_distances(x: Array64, y: Array64) -> Array64:
    """|x_i - y_j|², (n,F) and (M,F) -> (n,M)."""
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)
    distances: Array64 = np.maximum(squares - 2.0 * (x @ y.T), 0.0)
    return distances
