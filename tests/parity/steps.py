"""What the comparisons with PyTorch share: images, weights in its axes, errors."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from peers import require

from tinyvq.nn import Module
from tinyvq.rng import Stream

torch = require("torch")

from benchmarks.peers.torch_vqvae import to_torch  # noqa: E402

Array = npt.NDArray[Any]
Errors = dict[str, tuple[float, float]]  # ours and PyTorch's

U32, U64 = 2.0**-24, 2.0**-53  # unit roundoffs


def images(seed: int, n: int, size: tuple[int, int], channels: int) -> Array:
    """Noise in [-0.5, 0.5): no two patches alike, so no two codes tie."""
    return Stream(seed, "images").uniform((n, *size, channels), -0.5, 0.5)


def to_nchw(x: Array) -> Any:
    return torch.tensor(x.transpose(0, 3, 1, 2).copy())


def turned(name: str, weight: Array) -> Array:
    """Reorder a weight as PyTorch's: (R,S,C,K) -> (K,C,R,S), linear (C,K) -> (K,C)."""
    if weight.ndim == 2 and not name.endswith("codebook"):
        return weight.T.copy()
    return np.asarray(to_torch(weight).numpy())


def give_weights(mine: Module, theirs: Any) -> None:
    """Give PyTorch's module the weights and dtype of ours, in order of definition."""
    theirs.to(torch.tensor(mine.parameters()[0].numpy()).dtype)
    pairs = zip(mine.named_parameters(), theirs.parameters(), strict=True)
    with torch.no_grad():
        for (name, ours), copy in pairs:
            copy.copy_(torch.tensor(turned(name, ours.numpy())))


def gradients(model: Module, unseen: tuple[str, ...] = ()) -> dict[str, Array]:
    """Each parameter's gradient, in PyTorch's axes.

    unseen  ends of the names of parameters whose gradient is 0 but for roundings, which
            are left out
    """
    found = {}
    for name, parameter in model.named_parameters():
        if not name.endswith(unseen):
            assert parameter.grad is not None, name
            found[name] = turned(name, parameter.grad.numpy())
    return found


def gradients_of(mine: Module, theirs: Any, unseen: tuple[str, ...] = ()) -> list[Any]:
    """PyTorch's gradients, in the order of `gradients`."""
    pairs = zip(mine.named_parameters(), theirs.parameters(), strict=True)
    return [p.grad.numpy() for (name, _), p in pairs if not name.endswith(unseen)]


def assert_gradients_agree(
    mine: Module, theirs: Any, tolerance: float, unseen: tuple[str, ...] = ()
) -> None:
    """Compare gradients element for element, to a share of the largest of each.

    Those of `unseen` are roundings of 0, and are compared to `tolerance` itself.
    """
    expected = gradients_of(mine, theirs)
    for (name, got), want in zip(gradients(mine).items(), expected, strict=True):
        largest = 1.0 if name.endswith(unseen) else np.abs(want).max()
        assert largest > 0, name
        np.testing.assert_allclose(
            got, want, rtol=0, atol=tolerance * largest, err_msg=name
        )


def errors(
    ours: dict[str, Array], theirs: Iterable[Any], exact: Iterable[Any]
) -> Errors:
    """Measure our errors and PyTorch's in float32 against results in float64.

    ->  for each result: the length of the error over that of the float64 result
    """
    found = {}
    for (name, mine), other, truth in zip(ours.items(), theirs, exact, strict=True):
        length = np.linalg.norm(truth)
        assert length > 0, name
        found[name] = (
            float(np.linalg.norm(mine - truth) / length),
            float(np.linalg.norm(other - truth) / length),
        )
    return found


def assert_at_most_twice(runs: list[Errors], layers: int) -> None:
    """Hold the medians of our errors over some runs to twice those of PyTorch's.

    A single one is a matter of a few roundings, and one ReLU that flips at a rounding
    outweighs the rest. Below √(2·layers/3)·u an error is noise: so much remains where
    every sum is exact and each layer, there and back, only stores its results in
    float32, a rounding error of u/√3 root mean square each.
    """
    noise = (2 * layers / 3) ** 0.5 * U32
    worse = {}
    for name in runs[0]:
        ours, theirs = np.median([run[name] for run in runs], axis=0)
        if ours > max(2 * theirs, noise):
            worse[name] = f"{ours:.1e}, PyTorch's {theirs:.1e}"
    assert not worse, worse
