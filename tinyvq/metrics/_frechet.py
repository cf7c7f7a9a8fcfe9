"""Fréchet distance between two sets of features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyvq.errors import ConfigError, DataError, DTypeError, NonFiniteError, ShapeError

Features = NDArray[np.floating[Any]]
Array64 = NDArray[np.float64]


class FeatureStatistics:
    """Mean and covariance of named features, from batches of any sizes.

    features  what they are, such as "pixels" or "the classifier's last layer"; two
              sets are compared only where they bear the same name
    width     F

    How the set is cut into batches changes the result by rounding only. Memory is
    O(F²), whatever the number of samples; an `add` of n samples costs 2·n·F² flops.
    """

    def __init__(self, features: str, width: int) -> None:
        if width < 1:
            raise ConfigError(f"FeatureStatistics: expected width ≥ 1, got {width}")
        self.features = features
        self.count = 0
        self._mean = np.zeros(width)
        self._scatter = np.zeros((width, width))  # Σ (x - mean)·(x - mean)ᵀ

    def add(self, batch: Features) -> None:
        """Take in the features of one more batch.

        batch  (n, F) float16 | float32 | float64
        Raises ShapeError, DTypeError, NonFiniteError; nothing is taken in then.
        """
        self._check(batch)
        if len(batch) == 0:
            return
        x = batch.astype(np.float64)
        mean = x.mean(axis=0)  # (F,)
        x -= mean
        self._merge(len(x), mean, x.T @ x)

    def merge(self, other: "FeatureStatistics") -> None:
        """Take in all that the other has seen, as if it had been added here."""
        _check_alike(self, other)
        if other.count > 0:
            self._merge(other.count, other._mean, other._scatter)

    def _merge(self, count: int, mean: Array64, scatter: Array64) -> None:
        # Chan, Golub and LeVeque 1979, with d = mean_b - mean_a:
        #   mean = mean_a + d·n_b/n     S = S_a + S_b + d·dᵀ·n_a·n_b/n
        # Nothing is ever a difference of large sums, as in E[xxᵀ] - E[x]·E[x]ᵀ.
        total = self.count + count
        d = mean - self._mean
        self._mean = self._mean + d * (count / total)
        between = np.outer(d, d) * (self.count * count / total)
        self._scatter = self._scatter + scatter + between
        self.count = total

    @property
    def mean(self) -> Array64:
        """The mean (F,); DataError where nothing was added."""
        if self.count == 0:
            raise DataError(f"{self.features}: no samples were added, so no mean")
        return self._mean.copy()

    @property
    def covariance(self) -> Array64:
        """The unbiased covariance (F, F): over n - 1; DataError below 2 samples."""
        if self.count < 2:
            raise DataError(
                f"{self.features}: a covariance needs at least 2 samples, "
                f"got {self.count}"
            )
        covariance: Array64 = self._scatter / (self.count - 1)
        return covariance

    def _check(self, batch: Features) -> None:
        width = len(self._mean)
        if batch.ndim != 2 or batch.shape[1] != width:
            raise ShapeError(
                f"FeatureStatistics.add: expected {self.features} (n, {width}), "
                f"got shape {batch.shape}"
            )
        if not np.issubdtype(batch.dtype, np.floating):
            raise DTypeError(
                "FeatureStatistics.add: expected floating-point features, "
                f"got {batch.dtype}"
            )
        finite = np.isfinite(batch)
        if not finite.all():
            n, f = np.argwhere(~finite)[0]
            raise NonFiniteError(
                f"FeatureStatistics.add: expected finite {self.features}, "
                f"got batch[{n}, {f}] = {batch[n, f]}"
            )


def frechet_distance(x: FeatureStatistics, y: FeatureStatistics) -> float:
    """Fréchet distance, squared, between Gaussians that fit the two sets.

    d² = |μ1 - μ2|² + tr(Σ1 + Σ2 - 2·(Σ1·Σ2)^½), in squared units of the features; 0 for
    equal sets. A score is comparable only with scores on the same features, and at the
    same number of samples: a small sample scores worse, by about its share of noise in
    Σ. Known as FID where the features are those of one Inception network, which these
    are not.

    Raises DataError below 2 samples or for features of two names, ShapeError for two
    widths. O(F³). Rounding is about F·2⁻⁵² of tr(Σ1 + Σ2) times the square root of the
    condition number of Σ1 or Σ2, and never beyond F·2⁻²⁶ of it.
    Source: Dowson and Landau, "The Fréchet distance between multivariate normal
    distributions", Journal of Multivariate Analysis 12 (1982).
    """
    _check_alike(x, y)
    cov_x, cov_y = x.covariance, y.covariance
    d = x.mean - y.mean
    # With any factors Σ1 = A·Aᵀ and Σ2 = B·Bᵀ, the eigenvalues of Σ1·Σ2 = A·Aᵀ·B·Bᵀ,
    # but for zeros, are those of (AᵀB)·(AᵀB)ᵀ, so
    #   tr (Σ1·Σ2)^½ = the sum of the singular values of AᵀB.
    # No root of a rounded zero is taken, as there would be in the eigenvalues of Σ1·Σ2.
    overlap = np.linalg.svd(_factor(cov_x).T @ _factor(cov_y), compute_uv=False).sum()
    squared = d @ d + np.trace(cov_x) + np.trace(cov_y) - 2 * overlap
    return max(0.0, float(squared))


def _factor(covariance: Array64) -> Array64:
    """(F, F), symmetric -> (F, rank) with factor·factorᵀ = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    # What is below the rounding of the largest eigenvalue stands for 0; its root would
    # make 1e-8 of 1e-16.
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    factor: Array64 = vectors[:, kept] * np.sqrt(values[kept])
    return factor


def _check_alike(x: FeatureStatistics, y: FeatureStatistics) -> None:
    if x.features != y.features:
        raise DataError(
            "features of two kinds cannot be compared: "
            f"got {x.features!r} and {y.features!r}"
        )
    if len(x._mean) != len(y._mean):
        raise ShapeError(
            f"{x.features}: expected sets of one width, "
            f"got {len(x._mean)} and {len(y._mean)}"
        )
