"""What every quantizer takes and returns.

output = quantizer(z)                    forward: looks up, never changes the codebook
update = quantizer.update(output.stats)  once a step, after the optimiser's

Training calls the two halves of `update` one by one: `average`, which a GPU can record
and repeat, and `settle`, which decides in Python which codes to place anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tinyvq.backends import on_host
from tinyvq.entropy import perplexity
from tinyvq.errors import ShapeError
from tinyvq.function import Array
from tinyvq.nn import Parameter
from tinyvq.tensor import Tensor

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class QuantizerStats:
    """What a batch did to the codebook.

    num_codes   M
    vectors     (N, D), the vectors that chose
    indices     (N,), what they chose

    Figures are made of them whenever they are asked for, on the CPU: a captured step
    overwrites the arrays, not the object.
    """

    num_codes: int
    vectors: Array
    indices: Array

    @property
    def counts(self) -> Indices:
        """How often each code was chosen, (M,) int64."""
        return np.bincount(on_host(self.indices), minlength=self.num_codes)

    @property
    def batch_perplexity(self) -> float:
        """exp of the entropy of the codes in this batch: 1 (one code) .. M (all alike).

        It depends on the batch size; the perplexity of a split is another figure.
        """
        return perplexity(self.counts)

    @property
    def codes_used(self) -> int:
        """How many codes this batch chose at least once."""
        return int(np.count_nonzero(self.counts))


@dataclass(frozen=True)
class QuantizerOutput:
    """The result of a quantizer's forward.

    quantized   (..., D) what the decoder gets; its gradient reaches z (a soft
                quantizer's in training alone)
    codes       (..., D) the codes before the straight-through
    indices     (...) int64, where z lives
    loss        what the quantizer adds to the model's loss
    stats       for `update`, and for the log
    """

    quantized: Tensor
    codes: Tensor
    indices: Array
    loss: Tensor
    stats: QuantizerStats


@dataclass(frozen=True)
class CodebookUpdate:
    """What an update changed beyond averages.

    started     whether this update placed the codebook by k-means
    restarted   the rows of codes that had died and were placed anew, where they live
    """

    started: bool
    restarted: Array

    @property
    def moved(self) -> Array | slice:
        """The rows whose optimiser state no longer means anything."""
        return slice(None) if self.started else self.restarted


class Quantizer(Protocol):
    """The interface of a quantizer; they are also Modules."""

    num_codes: int
    code_dim: int

    def __call__(self, z: Tensor) -> QuantizerOutput:
        """Quantize z (..., D)."""

    def lookup(self, indices: Array) -> Tensor:
        """Return the codes of indices (...), NumPy or not: (..., D), constant."""

    def update(self, stats: QuantizerStats) -> CodebookUpdate:
        """Take in what a training batch did, after the optimiser's step."""

    def average(self, stats: QuantizerStats) -> Array | None:
        """Do what of `update` is the arrays' alone, which can be captured."""

    def settle(self, stats: QuantizerStats, dead: Array | None) -> CodebookUpdate:
        """Do the rest of it, with what `average` returned."""

    def trained_codebook(self) -> Sequence[Parameter]:
        """List the parameters whose rows are codes: none for an EMA codebook."""


def check_vectors(name: str, z: Tensor, code_dim: int) -> None:
    """Raise ShapeError unless z is (..., D) and holds at least one vector."""
    if z.ndim < 1 or z.shape[-1] != code_dim or z.size == 0:
        raise ShapeError(
            f"{name}: needs z (..., {code_dim}), the width of its codes, with at least "
            f"one vector, got {z.shape}"
        )


def check_stats(name: str, stats: QuantizerStats, shape: tuple[int, int]) -> None:
    """Raise ShapeError unless the stats are of a codebook of this shape (M, D)."""
    came = (stats.num_codes, stats.vectors.shape[-1])
    if came != shape:
        raise ShapeError(
            f"{name}.update: needs the stats of a {shape[0]}×{shape[1]} codebook, "
            f"got those of {came[0]}×{came[1]}"
        )
