"""Losses of a GAN against PyTorch in float64: values, and gradients of each logit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require

from tinyvq import Tensor, grad
from tinyvq.losses import (
    AdversarialName,
    LeCAM,
    adaptive_weight,
    adversarial_loss,
    feature_matching,
)
from tinyvq.rng import Stream

torch = require("torch")
F = torch.nn.functional

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]
U64 = 2.0**-53


def normal(name: str, *shape: int) -> Array:
    return 2 * Stream(0, name).normal(shape)


def assert_same(
    ours: Callable[..., Tensor], theirs: Callable[..., Any], *arrays: Array
) -> None:
    """Hold a loss of n values and all its gradients to PyTorch's.

    Both round each of up to n terms a dozen times and add them up in their own order:
    (n + 12) U64 of the largest term, which for logits within 8 is below 9² = 81. A
    gradient is one term, of a dozen roundings, of the size of the largest.
    """
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*xs), theirs(*ts)
    n = sum(a.size for a in arrays)
    assert all(np.abs(a).max() < 8 for a in arrays)
    assert y.item() == pytest.approx(z.item(), rel=0, abs=(n + 12) * U64 * 81)
    found = grad(y, xs)
    wanted = torch.autograd.grad(z, ts)
    for g, t in zip(found, wanted, strict=True):
        largest = t.abs().max().item()
        assert largest > 0
        np.testing.assert_allclose(
            g.numpy(), t.numpy(), rtol=0, atol=2 * 12 * U64 * largest
        )


def cross_entropy(x: Any, verdict: float) -> Any:
    return F.binary_cross_entropy_with_logits(x, torch.full_like(x, verdict))


def squared(x: Any, verdict: float) -> Any:
    return F.mse_loss(x, torch.full_like(x, verdict))


THEIRS: dict[AdversarialName, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "hinge": (
        lambda r, f: (F.relu(1 - r).mean() + F.relu(1 + f).mean()) / 2,
        lambda f: -f.mean(),
    ),
    "non_saturating": (
        lambda r, f: (F.softplus(-r).mean() + F.softplus(f).mean()) / 2,
        lambda f: F.softplus(-f).mean(),
    ),
    "bce": (
        lambda r, f: cross_entropy(r, 1) + cross_entropy(f, 0),
        lambda f: cross_entropy(f, 1),
    ),
    "least_squares": (
        lambda r, f: (squared(r, 1) + squared(f, 0)) / 2,
        lambda f: squared(f, 1) / 2,
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_adversarial_losses_are_pytorchs(name: AdversarialName) -> None:
    loss = adversarial_loss(name)
    of_discriminator, of_generator = THEIRS[name]
    real, fake = normal("real", 3, 4, 4, 1), normal("made", 2, 4, 4, 1)
    assert_same(loss.discriminator, of_discriminator, real, fake)
    assert_same(loss.generator, of_generator, fake)


def test_lecam_is_pytorchs() -> None:
    lecam = LeCAM()
    lecam.update(Tensor(np.array([0.75])), Tensor(np.array([-1.25])))
    assert_same(
        lecam,
        lambda r, f: (
            F.relu(r + 1.25).square().mean() + F.relu(0.75 - f).square().mean()
        ),
        normal("real", 3, 4, 4, 1),
        normal("made", 2, 4, 4, 1),
    )


def test_feature_matching_is_pytorchs() -> None:
    shapes = [(2, 4, 4, 3), (2, 2, 2, 5)]
    real = [normal(f"real {i}", *shape) for i, shape in enumerate(shapes)]
    made = [normal(f"made {i}", *shape) for i, shape in enumerate(shapes)]
    assert_same(
        lambda *xs: feature_matching([Tensor(a) for a in real], xs),
        lambda *ts: (
            sum(F.l1_loss(t, torch.tensor(a)) for t, a in zip(ts, real, strict=True))
            / 2
        ),
        *made,
    )


def test_the_adaptive_weight_is_pytorchs() -> None:
    """Two norms of 72 squares, in another order: 2·72 roundings, halved by the root."""
    wanted, push = normal("wanted", 3, 3, 4, 2), normal("push", 3, 3, 4, 2)
    theirs = torch.norm(torch.tensor(wanted)) / (torch.norm(torch.tensor(push)) + 1e-4)
    assert adaptive_weight(wanted, push) == pytest.approx(
        theirs.clamp(0, 1e4).item(), rel=144 * U64, abs=0
    )
