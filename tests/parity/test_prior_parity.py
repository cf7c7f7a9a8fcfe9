"""Priors trained by tinyvq and by PyTorch: same weights, same batches."""

from typing import Any

import numpy as np
import pytest
from models.prior_examples import NAMES, Array, codes, labels, make
from parity.steps import U64, Errors, assert_at_most_twice, errors
from peers import require

from tinyvq import ops, optim
from tinyvq.models import Prior

torch = require("torch")

from benchmarks.peers.torch_priors import logits, nats, weights_of  # noqa: E402

pytestmark = pytest.mark.torch

STEPS = 20
LR = 1e-3
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


def float32_errors(name: str, num_classes: int, seed: int) -> Errors:
    """Run step 1 in float32, by us and by PyTorch, and in float64; see `errors`."""
    settings = {"num_classes": num_classes, "dropout": 0.0, "seed": seed}
    prior = make(name, GRID, **settings)
    x, y = batch(seed, num_classes)
    theirs = weights_of(prior)
    exact = {path: v.detach().double().requires_grad_() for path, v in theirs.items()}
    ours = {"loss": differentiate(prior, x, y)}
    for path, parameter in prior.named_parameters():
        assert parameter.grad is not None, path
        ours[path] = parameter.grad.numpy()

    def run(w: dict[str, Any]) -> list[Array]:
        loss = nats(prior, w, to_torch(x), to_torch(y))
        loss.backward()
        return [loss.detach().numpy(), *(v.grad.numpy() for v in w.values())]

    return errors(ours, run(theirs), run(exact))


@each_prior
@each_kind
def test_float32_error_is_at_most_twice_that_of_pytorch(
    name: str, num_classes: int
) -> None:
    runs = [float32_errors(name, num_classes, seed) for seed in range(5)]
    assert_at_most_twice(runs, LAYERS)
