"""Random numbers as a function of a key, not the state of a generator.

Whatever is random in tinyvq (initial weights, data order, dropout, restarts, sampling)
is drawn from a `Stream` named by what it is for:

    Stream(seed, "data order", epoch).permutation(len(images))

The same key gives the same numbers, so nothing has to be saved for a resume and nothing
can drift. The raw bits come from Philox4x64-10 (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011), a counter run through a keyed bijection; the
algorithm fixes them for good. NumPy promises no such thing for the distributions of its
`Generator`, so the few that are needed stand here.
"""

import hashlib
import math
import operator
import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = int | tuple[int, ...]


class Stream:
    """A stream of random numbers, named by a seed and any ints and strings."""

    def __init__(self, seed: int, *key: int | str) -> None:
        # NumPy's integers become Python's: a name is the same however it was counted.
        self.seed = operator.index(seed)
        self.key = tuple(
            str(k) if isinstance(k, str) else operator.index(k) for k in key
        )
        name = repr((self.seed, *self.key)).encode()
        digest = hashlib.blake2b(name, digest_size=16).digest()
        words = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
        self._philox = np.random.Philox(key=words, counter=0)

    @classmethod
    def fresh(cls) -> "Stream":
        """Seed a stream from the operating system."""
        return cls(secrets.randbits(63))

    def child(self, *key: int | str) -> "Stream":
        """Name a stream below this one; it does not depend on what was drawn here."""
        return Stream(self.seed, *self.key, *key)

    def bits(self, n: int) -> npt.NDArray[np.uint64]:
        """Draw n times 64 random bits."""
        return np.atleast_1d(self._philox.random_raw(n)).astype(np.uint64, copy=False)

    def uniform(
        self,
        shape: Shape,
        low: float = 0.0,
        high: float = 1.0,
        dtype: npt.DTypeLike = np.float64,
    ) -> Array:
        """Draw uniformly from [low, high): 53 random bits each, then cast."""
        unit = (self.bits(_size(shape)) >> np.uint64(11)) * 2.0**-53
        drawn: Array = (low + (high - low) * unit).astype(dtype)
        # Rounding could make the largest `high` itself.
        below = np.nextafter(drawn.dtype.type(high), drawn.dtype.type(low))
        np.minimum(drawn, below, out=drawn)
        return drawn.reshape(shape)

    def normal(self, shape: Shape, dtype: npt.DTypeLike = np.float64) -> Array:
        """Draw from the standard normal distribution (Box and Muller, 1958)."""
        n = _size(shape)
        half = (n + 1) // 2
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(half)))  # 1 - u is never 0
        angle = self.uniform(half, 0.0, 2.0 * math.pi)
        pair = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return pair[:n].astype(dtype).reshape(shape)

    def integers(self, high: int, shape: Shape) -> npt.NDArray[np.int64]:
        """Draw integers uniformly from 0 .. high-1, for high up to 2**32.

        The high half of a 32×32-bit product (Lemire, arXiv:1805.10941); the bias left
        is below high / 2**32.
        """
        if not 0 < high <= 2**32:
            raise ValueError(f"integers: high must be in 1 .. 2**32, got {high}")
        top = self.bits(_size(shape)) >> np.uint64(32)
        return (
            ((top * np.uint64(high)) >> np.uint64(32)).astype(np.int64).reshape(shape)
        )

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """Permute 0 .. n-1: the order of n random keys, ties by position."""
        return np.argsort(self.bits(n), kind="stable").astype(np.int64, copy=False)


def _size(shape: Shape) -> int:
    if hasattr(shape, "__index__"):  # NumPy's integers too
        return operator.index(shape)
    return math.prod(shape)
