"""Priors trained by tinyvq and by PyTorch: same weights, same batches."""

from typing import Any

import numpy as np
import pytest
from models.prior_examples import NAMES, Array, codes, labels, make
from peers import require

from tinyvq import ops, optim
from tinyvq.models import Prior

torch = require("torch")

from benchmarks.peers.torch_priors import logits, nats, weights_of  # noqa: E402

pytestmark = pytest.mark.torch

STEPS = 20
LR = 1e-3
U32, U64 = 2.0**-24, 2.0**-53  # unit roundoffs
LAYERS = 12  # in a row, of the small priors: whatever adds up; twice with backward
BATCH, GRID = 4, (4, 5)
TERMS = BATCH * GRID[0] * GRID[1]  # in the longest sum: of a weight's gradient

each_prior = pytest.mark.parametrize("name", NAMES)
each_kind = pytest.mark.parametrize("num_classes", [0, 3])


def batch(step: int, num_classes: int) -> tuple[Array, Array | None]:
    return codes(BATCH, GRID, seed=step), labels(BATCH, num_classes, seed=step)


def to_torch(array: Array | None) -> Any:
    return None if array is None else torch.tensor(array)


def differentiate(prior: Prior, x: Array, y: Array | None) -> Array:
    prior.zero_grad()
    loss = ops.cross_entropy(prior(x, y), x.reshape(len(x), -1))
    loss.backward()
    return loss.numpy()


@each_prior
@each_kind
def test_twenty_float64_steps_are_those_of_pytorch(name: str, num_classes: int) -> None:
    """Logits and gradients in step 1; then losses, and the weights at the end.

    A sum of n terms in two orders differs by about √n·u times the sum of their
    magnitudes, that is by n·u times a typical sum of random signs; one layer after
    another does that, against the largest value of each gradient.
    """
    prior = make(name, GRID, num_classes=num_classes, dtype="float64", dropout=0.0)
    w = weights_of(prior)
    adam = optim.Adam(prior.parameters(), lr=LR)
    peer = torch.optim.Adam(w.values(), lr=LR)
    tolerance = 2 * LAYERS * TERMS * U64
    first = None
    for step in range(STEPS):
        x, y = batch(step % 2, num_classes)
        ours = differentiate(prior, x, y)
        peer.zero_grad()
        theirs = nats(prior, w, to_torch(x), to_torch(y))
        theirs.backward()
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-9), step
        if step == 0:
            first = ours.item()
            found = logits(prior, w, to_torch(x), to_torch(y)).detach().numpy()
            atol = tolerance * np.abs(found).max()
            np.testing.assert_allclose(prior(x, y).numpy(), found, rtol=0, atol=atol)
            for path, parameter in prior.named_parameters():
                expected = w[path].grad.numpy()
                largest = np.abs(expected).max()
                assert largest > 0, path
                np.testing.assert_allclose(
                    parameter.grad.numpy(),
                    expected,
                    rtol=0,
                    atol=tolerance * largest,
                    err_msg=path,
                )
        adam.step()
        peer.step()
    assert ours.item() < first  # the steps went somewhere
    # What the losses are held to, 1e-9, of the way that Adam can have gone.
    reach = 1e-9 * LR * STEPS
    for path, parameter in prior.named_parameters():
        np.testing.assert_allclose(
            parameter.numpy(), w[path].detach().numpy(), 1e-9, reach, err_msg=path
        )


def float32_errors(
    name: str, num_classes: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Run step 1 in float32; measure our error and PyTorch's against float64.

    ->  for the loss and each gradient: the length of the error over that of the float64
        result
    """
    settings = {"num_classes": num_classes, "dropout": 0.0, "seed": seed}
    prior = make(name, GRID, **settings)
    x, y = batch(seed, num_classes)
    results = []
    theirs = weights_of(prior)
    exact = {path: v.detach().double().requires_grad_() for path, v in theirs.items()}
    loss = differentiate(prior, x, y)
    results.append([loss, *(p.grad.numpy() for p in prior.parameters())])
    for w in (theirs, exact):
        loss = nats(prior, w, to_torch(x), to_torch(y))
        loss.backward()
        results.append([loss.detach().numpy(), *(v.grad.numpy() for v in w.values())])
    errors = {}
    for path, ours, other, truth in zip(["loss", *exact], *results, strict=True):
        length = np.linalg.norm(truth)
        errors[path] = (
            float(np.linalg.norm(ours - truth) / length),
            float(np.linalg.norm(other - truth) / length),
        )
    return errors


@each_prior
@each_kind
def test_float32_error_is_at_most_twice_that_of_pytorch(
    name: str, num_classes: int
) -> None:
    """The median of five runs, for each is a matter of a few roundings.

    Below √(2·12/3)·u an error is noise: so much remains where every sum is exact and
    each of 2 × 12 layers only stores its results in float32, a rounding error of u/√3
    root mean square each.
    """
    noise = (2 * LAYERS / 3) ** 0.5 * U32
    runs = [float32_errors(name, num_classes, seed) for seed in range(5)]
    worse = {}
    for path in runs[0]:
        ours, theirs = np.median([run[path] for run in runs], axis=0)
        if ours > max(2 * theirs, noise):
            worse[path] = f"{ours:.1e}, PyTorch's {theirs:.1e}"
    assert not worse, worse
