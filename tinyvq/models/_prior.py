"""What every prior over grids of codes takes and returns.

    logits = prior(indices, labels)            all positions at once: to train, to judge
    decoder = prior.decoder(labels, count)     one position after another: to sample
    logits = decoder.next_logits(previous)

A prior is a distribution over the grids (P,Q) that a tokenizer makes of images: the
product, in raster order, of the distribution of each code given those before it.
"""

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.errors import ConfigError, DTypeError, GraphError, ShapeError
from tinyvq.nn import Module, held
from tinyvq.tensor import Tensor, no_grad

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[Any]


class Prior(Module):
    """The base of all priors: what they are over, and what may come in.

    num_codes    M, the codes of the tokenizer
    grid         (P, Q); T = P·Q positions
    num_classes  0 for a prior that takes no labels

    Subclasses define `__call__` and `decoder`.
    """

    def __init__(self, num_codes: int, grid: tuple[int, int], num_classes: int) -> None:
        name = type(self).__name__
        if len(grid) != 2:
            raise ConfigError(f"{name}: needs a grid (P, Q), got {grid}")
        check_sizes(name, num_codes=num_codes, rows=grid[0], columns=grid[1])
        if not hasattr(num_classes, "__index__") or num_classes < 0:
            raise ConfigError(
                f"{name}: num_classes must be a whole number, 0 for none, "
                f"got {num_classes!r}"
            )
        self.num_codes, self.num_classes = num_codes, num_classes
        self.grid = (grid[0], grid[1])

    def __call__(self, indices: Indices, labels: Indices | None = None) -> Tensor:
        """Return logits (N,T,M); those at t depend on codes before t and the label.

        indices (N,P,Q) or (N,T), labels (N,) in 0 .. num_classes-1, or None
        """
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    def decoder(self, labels: Indices | None, count: int) -> "CodeDecoder":
        """Begin `count` grids, to be filled code by code."""
        raise NotImplementedError(f"{type(self).__name__}.decoder")

    def check_codes(self, indices: Indices) -> Indices:
        """Return indices (N,P,Q) or (N,T) as (N,T); raise where they do not fit."""
        name = type(self).__name__
        p, q = self.grid
        codes = whole_numbers(name, "indices", indices)
        if codes.ndim < 2 or codes.shape[1:] not in (self.grid, (p * q,)):
            raise ShapeError(
                f"{name}: needs indices (N, {p}, {q}) or (N, {p * q}), "
                f"got {codes.shape}"
            )
        if len(codes) == 0:
            raise ShapeError(f"{name}: needs at least one grid, got {codes.shape}")
        check_range(name, codes, self.num_codes)
        return codes.reshape(len(codes), p * q)  # (N,T)

    def check_labels(self, labels: Indices | None, count: int) -> Indices | None:
        """Return the labels; raise where they do not fit the prior or the count."""
        name, classes = type(self).__name__, self.num_classes
        if labels is None:
            if classes == 0:
                return None
            raise ConfigError(f"{name}: this prior needs labels in 0 .. {classes - 1}")
        if classes == 0:
            raise ConfigError(
                f"{name}: this prior takes no labels, got {np.size(labels)}"
            )
        checked = whole_numbers(name, "labels", labels)
        if checked.shape != (count,):
            raise ShapeError(f"{name}: needs labels ({count},), got {checked.shape}")
        low, high = int(checked.min()), int(checked.max())
        if low < 0 or high >= classes:
            raise ConfigError(
                f"{name}: labels must be in 0 .. {classes - 1}, got {low} .. {high}"
            )
        return checked


class CodeDecoder:
    """Grids that are filled code by code, in raster order.

    It keeps what it has computed for the codes so far, and works as in evaluation:
    nothing is dropped, nothing recorded. Subclasses define `_next`.
    """

    def __init__(self, prior: Prior, labels: Indices | None, count: int) -> None:
        self.name, self.num_codes = type(prior).__name__, prior.num_codes
        check_sizes(f"{self.name}.decoder", count=count)
        self.labels = prior.check_labels(labels, count)
        self.count, self.positions = count, prior.grid[0] * prior.grid[1]
        self.position = 0
        self._modules = [module for _, module in prior.named_modules()]

    def next_logits(self, previous: Indices | None) -> Floats:
        """Return the logits (N,M) of the next position.

        previous  (N,) the codes at the position before; None at the first
        """
        if self.position == self.positions:
            raise GraphError(f"{self.name}: all {self.positions} positions are done")
        if (previous is None) != (self.position == 0):
            needs = "no codes before it" if previous is not None else "the codes before"
            raise ShapeError(f"{self.name}: position {self.position} takes {needs}")
        if previous is not None:
            previous = whole_numbers(self.name, "codes", previous)
            if previous.shape != (self.count,):
                raise ShapeError(
                    f"{self.name}: needs the codes ({self.count},) of the position "
                    f"before, got {previous.shape}"
                )
            check_range(self.name, previous, self.num_codes)
        with no_grad(), held(self._modules, "training", False):
            logits = self._next(self.position, previous)
        self.position += 1
        return logits.numpy()

    def _next(self, position: int, previous: Indices | None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}._next")


def check_sizes(name: str, **sizes: int) -> None:
    """Raise ConfigError unless all are whole numbers of at least 1."""
    for what, size in sizes.items():
        if not hasattr(size, "__index__") or operator.index(size) < 1:
            raise ConfigError(
                f"{name}: {what} must be a whole number of at least 1, got {size!r}"
            )


def whole_numbers(name: str, what: str, values: Indices) -> Indices:
    """Return an array of int64; DTypeError for what is not integers."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name}: {what} must be integers, got {array.dtype}")
    return array.astype(np.int64, copy=False)


def check_range(name: str, codes: Indices, num_codes: int) -> None:
    """Raise ShapeError unless all codes are in 0 .. num_codes-1."""
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= num_codes:
        raise ShapeError(
            f"{name}: codes must be in 0 .. {num_codes - 1}, got {low} .. {high}"
        )
