"""Optimisers and clipping against PyTorch, step for step in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optim_examples import give_gradients, parameters
from peers import require

from tinyvq import nn, optim

torch = require("torch")

pytestmark = pytest.mark.torch

U64 = 2.0**-53
STEPS = 20

Make = Callable[[Any], Any]
PAIRS: dict[str, tuple[Make, Make]] = {
    "SGD": (lambda p: optim.SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "SGD, momentum": (
        lambda p: optim.SGD(p, 0.1, momentum=0.9),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    ),
    "Adam": (optim.Adam, torch.optim.Adam),
    "Adam, set": (
        lambda p: optim.Adam(p, lr=0.1, betas=(0.5, 0.9), eps=1e-3),
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9), eps=1e-3),
    ),
    "AdamW": (optim.AdamW, torch.optim.AdamW),
    "AdamW, set": (
        lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3),
    ),
}


def twins(ours: list[nn.Parameter]) -> list[Any]:
    return [torch.nn.Parameter(torch.tensor(p.numpy().copy())) for p in ours]


def hand_over(ours: list[nn.Parameter], theirs: list[Any]) -> None:
    for p, t in zip(ours, theirs, strict=True):
        t.grad = None if p.grad is None else torch.tensor(p.grad.numpy().copy())


@pytest.mark.parametrize("name", PAIRS)
def test_twenty_steps_agree(name: str) -> None:
    """Moments, products and sums: a step makes at most sixteen roundings.

    Each is of a number no larger than the largest parameter or ten steps of lr; here
    these stay below 8, so that after 20 steps both sides together are within
    2 · 16 · 20 · 8 u of one another.
    """
    ours = parameters()
    theirs = twins(ours)
    mine, peer = (make(p) for make, p in zip(PAIRS[name], (ours, theirs), strict=True))
    for step in range(STEPS):
        give_gradients(ours, step)
        if step % 3 == 1:
            ours[1].grad = None  # it sits a step out
        hand_over(ours, theirs)
        mine.step()
        peer.step()
        for p, t in zip(ours, theirs, strict=True):
            assert np.abs(p.numpy()).max() < 8
            np.testing.assert_allclose(
                p.numpy(),
                t.detach().numpy(),
                rtol=0,
                atol=2 * 16 * (step + 1) * 8 * U64,
            )


@pytest.mark.parametrize("max_norm", [0.5, 3.0, 100.0])
def test_clipping_agrees(max_norm: float) -> None:
    """PyTorch divides by norm + 1e-6; ours divides by the norm."""
    ours = parameters()
    give_gradients(ours, 0)
    theirs = twins(ours)
    hand_over(ours, theirs)
    norm = optim.clip_grad_norm(ours, max_norm)
    wanted = torch.nn.utils.clip_grad_norm_(theirs, max_norm).item()
    # A sum of 18 squares, a root.
    assert norm == pytest.approx(wanted, rel=20 * U64, abs=0)
    short = norm <= max_norm
    factor = 1.0 if short else (norm + 1e-6) / norm
    for p, t in zip(ours, theirs, strict=True):
        assert p.grad is not None
        expected = t.grad.numpy() * factor
        # The norms, the factors and the products.
        rtol = 0.0 if short else 50 * U64
        np.testing.assert_allclose(p.grad.numpy(), expected, rtol=rtol, atol=0)
