"""Models that tasks do not reach: priors that draw, networks that judge."""

from typing import Any

import numpy as np
import pytest
from models.prior_examples import CODES, NAMES, make

from tinyvq import Tensor
from tinyvq.backends import Backend, move
from tinyvq.losses import PerceptualLoss
from tinyvq.losses._perceptual import perceptual_distance
from tinyvq.models import SqueezeNet, sample_codes
from tinyvq.models._squeezenet import layers
from tinyvq.rng import Stream

BACKENDS: tuple[Backend, ...] = ("cpu", "cuda")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_prior_draws_the_same_codes(cupy: Any, name: str, num_classes: int) -> None:
    labels = np.arange(4) % num_classes if num_classes else None
    drawn = [
        sample_codes(
            make(name, num_classes=num_classes).to(backend), 4, labels, seed=0
        ).tobytes()
        for backend in BACKENDS
    ]
    assert drawn[0] == drawn[1]


def test_to_draw_codes_waits_once_a_position(cupy: Any) -> None:
    prior = make("pixelcnn", (2, 3)).to("cuda")
    cupy.synchronisations.clear()
    codes = sample_codes(prior, 4, seed=0)
    assert codes.max() < CODES
    assert cupy.synchronisations == ["tinyvq.tensor.Tensor.numpy: get"] * 6


def test_a_perceptual_loss_is_the_same(cupy: Any) -> None:
    found = []
    for backend in BACKENDS:
        stream = Stream(0, "weights")
        weights = {
            name: (0.1 * stream.normal(shape, "float32"), stream.normal(shape[3:]))
            for name, shape in layers()
        }
        weights = {n: (w, b.astype(np.float32)) for n, (w, b) in weights.items()}
        network = SqueezeNet(weights, shorter_side=40).to(backend)
        x, y = (move(stream.normal((2, 8, 12, 1), "float32"), backend) for _ in "xy")
        made = Tensor(x, requires_grad=True)
        loss = PerceptualLoss(network)(made, y)
        loss.backward()
        assert made.grad is not None
        distance = perceptual_distance(network, x, y)
        found.append((loss.item(), made.grad.numpy().tobytes(), distance.tobytes()))
    assert found[0] == found[1]
