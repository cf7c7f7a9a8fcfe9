"""Priors by name, and codes for them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.models import PixelCNN, Prior, TransformerPrior
from tinyvq.models._prior import CodeDecoder
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad

Array = npt.NDArray[Any]

SMALL: dict[str, tuple[type[Prior], dict[str, Any]]] = {
    "transformer": (TransformerPrior, {"width": 16, "layers": 2, "heads": 2}),
    "pixelcnn": (PixelCNN, {"hidden": 8, "layers": 4}),
    "pixelcnn by 5": (PixelCNN, {"hidden": 8, "layers": 2, "kernel_size": 5}),
}
NAMES = tuple(SMALL)
GRIDS = ((3, 4), (5, 2), (1, 6), (6, 1), (1, 1))
CODES = 7


def make(
    name: str,
    grid: tuple[int, int] = (3, 4),
    *,
    dtype: str = "float32",
    num_codes: int = CODES,
    seed: int = 0,
    **settings: Any,
) -> Any:
    """Make a prior of that kind, its weights far from those it starts with.

    Nothing is zero, nothing alike, and what goes in makes a difference to what comes
    out that no rounding hides.
    """
    kind, small = SMALL[name]
    prior = kind(num_codes, grid, **{**small, **settings}, rng=Stream(seed))
    for path, parameter in prior.named_parameters():
        with parameter.mutate() as array:
            drawn = Stream(seed, "weights", path).normal(array.shape)
            table = path.split(".")[0] in ("tokens", "rows", "columns")
            fan_in = 1 if table else array.size // array.shape[-1]
            if array.ndim == 1:
                array[...] = 0.3 * drawn + ("norm" in path and path.endswith("weight"))
            else:
                array[...] = 1.5 * drawn / fan_in**0.5
    return prior.astype(dtype)


def codes(
    n: int, grid: tuple[int, int], *, num_codes: int = CODES, seed: int = 0
) -> Array:
    return Stream(seed, "codes").integers(num_codes, (n, *grid))


def labels(n: int, num_classes: int, seed: int = 0) -> Array | None:
    """Draw labels; None for a prior that takes none."""
    if num_classes == 0:
        return None
    return Stream(seed, "labels").integers(num_classes, n)


def logits(prior: Prior, indices: Array, labels: Array | None = None) -> Array:
    """Evaluate all positions at once (N,T,M), in evaluation mode."""
    prior.eval()
    with no_grad():
        return prior(indices, labels).numpy()


def step_by_step(prior: Prior, indices: Array, labels: Array | None = None) -> Array:
    """Evaluate one position after another (N,T,M)."""
    decoder = prior.decoder(labels, len(indices))
    before = [None, *indices.reshape(len(indices), -1).T[:-1]]
    return np.stack([decoder.next_logits(codes) for codes in before], axis=1)


class Recomputing(Prior):
    """A prior whose decoder keeps nothing: each step evaluates the whole grid."""

    def __init__(self, inner: Prior) -> None:
        super().__init__(inner.num_codes, inner.grid, inner.num_classes)
        self.inner = inner

    def decoder(self, labels: Array | None, count: int) -> CodeDecoder:
        return _Recompute(self, labels, count)


class _Recompute(CodeDecoder):
    def __init__(self, prior: Recomputing, labels: Array | None, count: int) -> None:
        super().__init__(prior, labels, count)
        self.inner = prior.inner
        self.so_far = np.zeros((count, self.positions), np.int64)

    def _next(self, position: int, previous: Array | None) -> Tensor:
        if previous is not None:
            self.so_far[:, position - 1] = previous
        return self.inner(self.so_far, self.labels)[:, position]


def dropouts(prior: Prior) -> Iterator[Any]:
    """Yield all dropout layers."""
    for _, module in prior.named_modules():
        if hasattr(module, "p"):
            yield module
