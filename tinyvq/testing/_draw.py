"""What a specification draws its cases from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tinyvq.errors import ConfigError
from tinyvq.rng import Stream
from tinyvq.testing._subject import Float64

T = TypeVar("T")
Shape = tuple[int, ...]
REDRAWS = 100  # of values that came too near to a kink

# Nothing, one, primes, and both sides of the edges of tiles and blocks.
EDGES = (0, 1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)


class Draw(ABC):
    """Draws integers, choices, shapes and arrays.

    `SeededDraw` draws from a seed; `tinyvq.testing.strategies` from Hypothesis, which
    then looks for the smallest case that fails.
    """

    @abstractmethod
    def integer(self, low: int, high: int) -> int:
        """Draw an integer from low .. high, both included, fond of edges."""

    @abstractmethod
    def seed(self) -> int:
        """Draw a seed."""

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of the options; the first is the simplest."""
        return options[self.integer(0, len(options) - 1)]

    def shape(
        self, dims: tuple[int, int] = (0, 4), sides: tuple[int, int] = (0, 5)
    ) -> Shape:
        """Draw a shape, the number of axes and their lengths within bounds."""
        return tuple(self.integer(*sides) for _ in range(self.integer(*dims)))

    def broadcastable(self, shape: Shape) -> Shape:
        """Draw a shape that broadcasts to `shape`: fewer axes, or some of length 1."""
        kept = shape[self.integer(0, len(shape)) :]
        return tuple(self.choice((n, 1)) for n in kept)

    def array(
        self,
        shape: Shape,
        *,
        positive: bool = False,
        distinct: bool = False,
        away_from: float | Sequence[float] = (),
        gap: float = 0.1,
    ) -> Float64:
        """Draw standard normal values.

        positive   their magnitudes, plus the gap
        distinct   instead: evenly spread, in random order, no two nearer than the gap
        away_from  no value nearer to one of these than the gap: they are kinks

        Raises ConfigError for distinct values that are to be one of the others as well,
        and where normal values do not keep away.
        """
        stream = Stream(self.seed(), "array")
        kinks = np.atleast_1d(np.asarray(away_from, dtype=np.float64))
        if distinct:
            if positive or kinks.size:
                raise ConfigError("distinct values are neither positive nor away_from")
            size = int(np.prod(shape))
            ranks = stream.permutation(size) - (size - 1) / 2
            jitter = stream.uniform(size, -0.5, 0.5)
            return np.asarray(gap * (2 * ranks + jitter)).reshape(shape)

        def drawn() -> Float64:
            values = stream.normal(shape)
            return np.abs(values) + gap if positive else values

        values = drawn()
        for _ in range(REDRAWS):
            near = _near(values, kinks, gap)
            if not near.any():
                return values
            values = np.where(near, drawn(), values)
        raise ConfigError(f"no normal values keep {gap} away from {away_from}")

    def indices(self, high: int, shape: Shape) -> npt.NDArray[np.int64]:
        """Draw integers from 0 .. high-1."""
        return Stream(self.seed(), "indices").integers(high, shape)

    def conv(self) -> "ConvGeometry":
        """Draw the sizes of a small 2-D convolution that fits."""
        stride, dilation = self.integer(1, 3), self.integer(1, 2)
        r, s = self.integer(1, 4), self.integer(1, 4)
        padding = self.integer(0, 2)
        h, w = (
            # p-1 steps of the kernel, and what is left of a step; at least one pixel
            max(1, steps * stride + left + dilation * (taps - 1) + 1 - 2 * padding)
            for taps in (r, s)
            for steps, left in [(self.integer(0, 3), self.integer(0, stride - 1))]
        )
        n, c, k = self.integer(0, 3), self.integer(1, 3), self.integer(1, 3)
        return ConvGeometry(n, h, w, c, k, r, s, stride, padding, dilation)


@dataclass(frozen=True)
class ConvGeometry:
    """The sizes of a 2-D convolution: x (N,H,W,C), w (R,S,C,K) -> y (N,P,Q,K)."""

    n: int
    h: int
    w: int
    c: int
    k: int
    r: int
    s: int
    stride: int
    padding: int
    dilation: int

    @property
    def settings(self) -> dict[str, int]:
        """Stride, padding and dilation by name."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
        }

    @property
    def image(self) -> Shape:
        """(N,H,W,C)."""
        return (self.n, self.h, self.w, self.c)

    @property
    def kernel(self) -> Shape:
        """(R,S,C,K)."""
        return (self.r, self.s, self.c, self.k)

    @property
    def output(self) -> Shape:
        """(N,P,Q,K)."""
        p, q = (
            (n + 2 * self.padding - self.dilation * (taps - 1) - 1) // self.stride + 1
            for n, taps in ((self.h, self.r), (self.w, self.s))
        )
        return (self.n, p, q, self.k)


class SeededDraw(Draw):
    """Draws from a seed: the same one, the same draws."""

    def __init__(self, seed: int) -> None:
        self._stream = Stream(seed, "SeededDraw")

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from low .. high; one time in two an edge."""
        edges = edges_within(low, high)
        if edges and self._below(2):
            return edges[self._below(len(edges))]
        return low + self._below(high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of the options, each as likely."""
        return options[self._below(len(options))]

    def seed(self) -> int:
        """Draw a seed."""
        return self._below(2**32)

    def _below(self, high: int) -> int:
        return int(self._stream.integers(high, 1)[0])


def edges_within(low: int, high: int) -> list[int]:
    """List the edges from low .. high, and these two."""
    return sorted({low, high, *(edge for edge in EDGES if low <= edge <= high)})


def _near(values: Float64, kinks: Float64, gap: float) -> npt.NDArray[np.bool_]:
    return np.asarray((np.abs(values[..., None] - kinks) < gap).any(axis=-1))
