"""Priors as networks to be trained: gradients, first weights, dropout."""

from typing import Any

import numpy as np
import pytest
from models.prior_examples import NAMES, Array, codes, dropouts, labels, make

from tinyvq import ops, optim
from tinyvq.models import PixelCNN, Prior, TransformerPrior
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.testing import check_grads

each_prior = pytest.mark.parametrize("name", NAMES)

CODES = 5

# How many layers drop: of a transformer the embeddings and both halves of each block,
# of a PixelCNN each layer.
LAYERS = {"transformer": 5, "pixelcnn": 4, "pixelcnn by 5": 2}

TINY: dict[str, dict[str, Any]] = {
    "transformer": {"width": 4, "layers": 1, "heads": 2},
    "pixelcnn": {"hidden": 3, "layers": 2},
    "pixelcnn by 5": {"hidden": 2, "layers": 1},
}


def loss(prior: Prior, indices: Array, labels: Array | None) -> Tensor:
    flat = indices.reshape(len(indices), -1)
    return ops.cross_entropy(prior(indices, labels), flat)


def put(prior: Prior, path: str, value: Any) -> None:
    """Put a tensor in the place of a parameter."""
    *rooms, name = path.split(".")
    place: Any = prior
    for room in rooms:
        place = place[int(room)] if isinstance(place, list) else getattr(place, room)
    setattr(place, name, value)


@each_prior
@pytest.mark.parametrize("num_classes", [0, 2])
def test_gradients_of_all_weights_are_the_slopes_of_the_logits(
    name: str, num_classes: int
) -> None:
    prior = make(
        name,
        (2, 3),
        num_codes=3,
        num_classes=num_classes,
        dtype="float64",
        **TINY[name],
    ).eval()
    x, y = codes(2, (2, 3), num_codes=3), labels(2, num_classes)
    weights = dict(prior.named_parameters())
    # All weights as one array: its slopes are those along random directions, none of
    # which leaves a weight out.
    together = np.concatenate([w.numpy().ravel() for w in weights.values()])

    def network(values: Tensor) -> Tensor:
        first = 0
        for path, weight in weights.items():
            part = values[first : first + weight.size]
            put(prior, path, ops.reshape(part, *weight.shape))
            first += weight.size
        return prior(x, y)

    check_grads(network, together, seed=1)


@each_prior
@pytest.mark.parametrize("num_classes", [0, 3])
def test_every_weight_has_a_gradient(name: str, num_classes: int) -> None:
    prior = make(name, num_classes=num_classes)
    loss(prior, codes(8, (3, 4)), labels(8, num_classes)).backward()
    for path, parameter in prior.named_parameters():
        assert parameter.grad is not None, path
        assert np.abs(parameter.grad.numpy()).max() > 0, path


@each_prior
def test_a_prior_learns_what_follows_what(name: str) -> None:
    """Each code is the last one and one more; only the first is anyone's guess."""
    kind = type(make(name))
    small = {"width": 16} if kind is TransformerPrior else {"hidden": 16}
    prior = kind(CODES, (2, 3), layers=2, dropout=0.0, rng=Stream(0), **small)
    start = np.arange(CODES)
    x = ((start[:, None] + np.arange(6)) % CODES).reshape(-1, 2, 3)
    adam = optim.Adam(prior.parameters(), lr=1e-2)
    for _ in range(100):
        prior.zero_grad()
        nats = loss(prior, x, None)
        nats.backward()
        adam.step()
    # No less than the entropy of the first code, over six positions; and hardly more.
    least = np.log(CODES) / 6
    assert least - 1e-6 < nats.item() < least + 0.02


# First weights.


@pytest.mark.parametrize("layers", [1, 8])
def test_a_transformers_first_weights_are_those_of_gpt_2(layers: int) -> None:
    prior = TransformerPrior(512, (8, 8), num_classes=10, layers=layers, rng=Stream(0))
    assert prior.tokens.shape == (522, 128)
    seen = set()
    for path, parameter in prior.named_parameters():
        array = parameter.numpy()
        if path.endswith("bias") or "norm" in path:
            assert np.unique(array).tolist() == [float("norm" in path and "w" in path)]
            continue
        adds = "project" in path or "narrow" in path
        expected = 0.02 / (2 * layers) ** 0.5 if adds else 0.02
        # The standard deviation of n normal values is off by about 1/√(2n) of itself.
        assert array.std() == pytest.approx(expected, rel=6 / (2 * array.size) ** 0.5)
        assert array.mean() == pytest.approx(0, abs=6 * expected / array.size**0.5)
        seen.add(array.tobytes())
    assert len(seen) == 4 + 6 * layers  # no two alike


def test_a_pixelcnns_first_kernels_are_bounded_as_those_of_other_convolutions() -> None:
    """The largest of n uniform values misses the bound b by b·k/n with chance e⁻ᵏ."""
    for layer in PixelCNN(512, (8, 8), layers=2, rng=Stream(0)).layers:
        for convolution, taps in ((layer.up, (2, 3)), (layer.left, (1, 2))):
            weight = convolution.weight.numpy()
            assert weight.shape == (*taps, 64, 128)
            bound = (taps[0] * taps[1] * 64) ** -0.5
            largest = np.abs(weight).max()
            assert bound * (1 - 20 / weight.size) < largest <= np.float32(bound)
            assert np.abs(convolution.bias.numpy()).max() <= np.float32(bound)


@pytest.mark.parametrize("kind", [TransformerPrior, PixelCNN])
def test_first_weights_are_a_function_of_the_stream(kind: Any) -> None:
    one, same, other = (kind(7, (3, 4), rng=Stream(s)).state_dict() for s in (1, 1, 2))
    for path, array in one.items():
        np.testing.assert_array_equal(array, same[path])
    assert any((array != other[path]).any() for path, array in one.items())


@pytest.mark.parametrize("kind", [TransformerPrior, PixelCNN])
def test_a_prior_starts_from_nearly_even_odds(kind: Any) -> None:
    prior = kind(512, (7, 7), dropout=0.0, rng=Stream(0))
    nats = loss(prior, codes(4, (7, 7), num_codes=512), None).item()
    # Logits of variance v cost v/2 over even odds, and 196 targets are off that by
    # √(v/196). A transformer's are 128 products of normal values with weights of 0.02:
    # v is 0.05. A PixelCNN's weights, below 1/√128, have a variance of a third of its
    # square, on values mostly below 1: v is below 0.3.
    v = 128 * 0.02**2 if kind is TransformerPrior else 1 / 3
    assert nats - np.log(512) == pytest.approx(v / 2, abs=v / 2 + 5 * (v / 196) ** 0.5)


# Dropout.


@each_prior
def test_dropout_acts_in_training_alone_and_differs_from_step_to_step(
    name: str,
) -> None:
    prior, x = make(name, dropout=0.5), codes(2, (3, 4))
    one, two = prior(x).numpy(), prior(x).numpy()
    assert (one != two).any(axis=-1).all()
    assert [int(layer.calls.item()) for layer in dropouts(prior)] == [2] * LAYERS[name]
    prior.eval()
    np.testing.assert_array_equal(prior(x).numpy(), prior(x).numpy())
    undropped = make(name, dropout=0.0)
    np.testing.assert_array_equal(prior(x).numpy(), undropped(x).numpy())


@each_prior
def test_dropout_layers_drop_independently(name: str) -> None:
    ones = Tensor(np.ones((4, 16), np.float32))
    drawn = [drop(ones).numpy().tobytes() for drop in dropouts(make(name, dropout=0.5))]
    assert len(drawn) > 1
    assert len(set(drawn)) == len(drawn)


@each_prior
def test_a_saved_prior_goes_on_as_the_first_would_have(name: str) -> None:
    prior, x = make(name, dropout=0.5), codes(2, (3, 4))
    prior(x)
    other = make(name, dropout=0.5)
    with other.parameters()[0].mutate() as array:
        array += 1
    other.load_state_dict(prior.state_dict())
    np.testing.assert_array_equal(other(x).numpy(), prior(x).numpy())
