"""First weights are bounded as PyTorch bounds its own."""

from typing import Any

import numpy as np
import pytest
from peers import require

from tinyvq import nn
from tinyvq.rng import Stream

torch = require("torch")

pytestmark = pytest.mark.torch

PAIRS: dict[str, tuple[Any, Any]] = {
    "Conv2d": (
        lambda rng: nn.Conv2d(2, 64, 3, rng=rng),
        lambda: torch.nn.Conv2d(2, 64, 3),
    ),
    "ConvTranspose2d": (
        lambda rng: nn.ConvTranspose2d(64, 2, 3, rng=rng),
        lambda: torch.nn.ConvTranspose2d(64, 2, 3),
    ),
    "Linear": (lambda rng: nn.Linear(4, 512, rng=rng), lambda: torch.nn.Linear(4, 512)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("which", ["weight", "bias"])
def test_the_largest_first_weights_are_alike(name: str, which: str) -> None:
    """The largest of n uniform values misses the bound b by b·k/n with chance e⁻ᵏ.

    k = 20: one draw in 500 million of either side.
    """
    ours, theirs = PAIRS[name]
    draws = range(100)
    torch.manual_seed(0)
    mine = [np.abs(ours(Stream(i)).state_dict()[which]).max() for i in draws]
    peer = [getattr(theirs(), which).abs().max().item() for _ in draws]
    n = ours(Stream(0)).state_dict()[which].size * len(draws)
    assert max(mine) == pytest.approx(max(peer), rel=20 / n, abs=0)
