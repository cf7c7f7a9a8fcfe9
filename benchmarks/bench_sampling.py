"""Codes a second drawn from the transformer prior, against PyTorch with a cache.

Both draw by the inverse of the distribution function from the same uniform numbers, so
that the codes that are timed are the codes that are checked.

PyTorch is imported where it is needed: what draws serves `bench_memory` too, in a
process that has none.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import (
    OURS,
    Case,
    Work,
    assert_close,
    not_at_toy_size,
    or_left_out,
)
from tinyvq.models import TransformerPrior, sample_codes
from tinyvq.rng import Stream
from tinyvq.training.prior import PriorOptions

GRID, CODES, CLASSES = (7, 7), 512, 10
DEFAULTS = PriorOptions()
SIZES = {
    "width": DEFAULTS.width,
    "layers": DEFAULTS.layers,
    "heads": DEFAULTS.heads,
}
SEED = 0
SAME = 1e-4  # of the largest logit
# Where a number falls within a rounding of the border of two codes, one library takes
# this and the other that, and all after it in that grid differs.
ALIKE = 0.9  # the least share of grids that must be the same


def prior_of(grid: tuple[int, int], **sizes: int) -> TransformerPrior:
    """Make a prior that has opinions: weights as large as a trained one's.

    First weights make all codes about equally likely, whatever came before, and a
    mistake in the network would not show in what is drawn.
    """
    prior = TransformerPrior(
        CODES, grid, num_classes=CLASSES, **sizes, rng=Stream(SEED, "weights")
    )
    for path, parameter in prior.named_parameters():
        if parameter.ndim == 2:
            table = path in ("tokens", "rows", "columns")
            fan_in = 1 if table else parameter.shape[0]
            with parameter.mutate() as array:
                drawn = Stream(SEED, path).normal(array.shape, array.dtype)
                array[...] = 1.5 * drawn / fan_in**0.5
    return prior


def build(count: int, toy: bool) -> Work:
    """Make the drawing of `count` grids of all classes by turns."""
    from benchmarks.peers.torch_priors import CachedTransformer

    prior = prior_of_size(toy)
    labels = np.arange(count) % CLASSES
    eager = CachedTransformer(prior, count)
    contenders: dict[str, Callable[[], Any]] = {
        OURS: ours(prior, labels),
        "PyTorch": theirs(eager, labels),
        "PyTorch compiled": not_at_toy_size
        if toy
        else compiled_sampling(prior, labels),
    }

    def check(found: Mapping[str, Any]) -> None:
        _check_logits(prior, eager, labels)
        check_codes(found)

    return Work(contenders, check, tokens=count * eager.positions)


def prior_of_size(toy: bool) -> TransformerPrior:
    """Make the prior, at its own size or a toy one."""
    if toy:
        return prior_of((2, 3), width=16, layers=2, heads=2)
    return prior_of(GRID, **SIZES)


def ours(prior: TransformerPrior, labels: np.ndarray) -> Callable[[], np.ndarray]:
    """Make tinyvq's drawing of a grid for each label; -> codes (N,P,Q)."""
    return lambda: sample_codes(prior, len(labels), labels, seed=SEED)


def theirs(peer: Any, labels: np.ndarray, run: Any = None) -> Callable[[], Any]:
    """Make PyTorch's drawing of the same; -> codes (N,T).

    peer  a CachedTransformer; run as its `sample` takes it
    """
    import torch

    given = torch.from_numpy(labels)
    unit = torch.from_numpy(uniform(len(labels), peer.positions)).float()
    return lambda: peer.sample(given, unit, run)


def check_codes(found: Mapping[str, Any]) -> None:
    """Raise AssertionError unless all have drawn our codes, but for a few grids."""
    drawn = {name: np.asarray(codes) for name, codes in found.items()}
    rows = {name: codes.reshape(len(codes), -1) for name, codes in drawn.items()}
    for name, codes in rows.items():
        same = (rows[OURS] == codes).all(axis=1).mean()
        assert same >= ALIKE, f"{name} draws the same in {same:.0%} of the grids"


def uniform(count: int, positions: int) -> np.ndarray:
    """Draw the numbers (N,T) that `sample_codes` draws, a stream for each grid."""
    streams = [Stream(SEED, "sample", i) for i in range(count)]
    return np.stack([stream.uniform(positions) for stream in streams])


def compiled_sampling(
    prior: TransformerPrior, labels: np.ndarray, backend: str = "inductor"
) -> Callable[[], Any]:
    """Make the drawing with what happens at a position compiled.

    backend  as torch.compile takes it; "eager" only traces, for a test
    """
    import torch

    from benchmarks.peers.torch_priors import CachedTransformer

    torch.compiler.reset()  # what is compiled for one case is no use to the next
    peer = CachedTransformer(prior, len(labels), whole=True)
    run = torch.compile(peer.logits, fullgraph=True, dynamic=False, backend=backend)
    return or_left_out(theirs(peer, labels, run))


def _check_logits(prior: TransformerPrior, peer: Any, labels: np.ndarray) -> None:
    """Raise AssertionError unless the logits of all positions agree."""
    import torch

    count, positions = len(labels), peer.positions
    codes = Stream(SEED, "codes").integers(prior.num_codes, (count, positions))
    decoder = prior.decoder(labels, count)
    mine, peers = [], []
    for t in range(positions):
        mine.append(decoder.next_logits(codes[:, t - 1] if t else None))
        before = codes[:, t - 1] if t else prior.num_codes + labels
        with torch.inference_mode():
            found = peer.logits(torch.tensor([t]), torch.from_numpy(before))
        peers.append(found.numpy())
    assert_close({OURS: np.stack(mine), "PyTorch": np.stack(peers)}, SAME)


CASES = [
    Case(
        f"sampling/batch-{count}",
        f"{count} × {GRID[0]}×{GRID[1]} codes of {CODES}, {CLASSES} classes; "
        f"transformer with {SIZES['layers']} layers, width {SIZES['width']}, "
        f"{SIZES['heads']} heads, T = {GRID[0] * GRID[1]}",
        partial(build, count),
    )
    for count in (1, 64)
]
