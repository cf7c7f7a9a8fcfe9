"""Discriminators against networks of plain torch.nn with the same weights."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require

from tinyvq import Tensor
from tinyvq.models import ConvDiscriminator, Discriminator, PatchGAN
from tinyvq.rng import Stream

torch = require("torch")
nn = torch.nn

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]
U64 = 2.0**-53

HIDDEN = 3


def patch_twin(channels: int, layers: int, norm: bool) -> Any:
    """pix2pix's network, as its paper lists it."""
    parts = [nn.Conv2d(channels, HIDDEN, 4, 2, 1), nn.LeakyReLU(0.2)]
    width = HIDDEN
    for i in range(1, layers + 1):
        wider = HIDDEN * min(2**i, 8)
        stride = 2 if i < layers else 1
        parts.append(nn.Conv2d(width, wider, 4, stride, 1, bias=not norm))
        parts += [nn.BatchNorm2d(wider)] if norm else []
        parts.append(nn.LeakyReLU(0.2))
        width = wider
    return nn.Sequential(*parts, nn.Conv2d(width, 1, 4, 1, 1))


class ChannelsLast(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x.permute(0, 2, 3, 1)


def plain_twin(channels: int, layers: int, norm: bool, cells: int) -> Any:
    """Convolutions, then a linear layer on `cells` positions."""
    parts, width = [], channels
    for i in range(layers):
        normed = norm and i > 0
        wider = HIDDEN * 2**i
        parts.append(nn.Conv2d(width, wider, 3, 2, 1, bias=not normed))
        parts += [nn.BatchNorm2d(wider)] if normed else []
        parts.append(nn.LeakyReLU(0.2))
        width = wider
    linear = nn.Linear(cells * width, 1)
    return nn.Sequential(*parts, ChannelsLast(), nn.Flatten(), linear)


def to_torch(values: Array) -> Any:
    """Weights (R,S,C,K) -> (K,C,R,S), (C,K) -> (K,C); vectors as they are."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(values.ndim)
    return torch.tensor(np.ascontiguousarray(values.transpose(axes)))


def draw_all(network: Discriminator) -> None:
    """Draw weights that matter as much in each layer, and biases that are not 0."""
    for name, parameter in network.named_parameters():
        values = Stream(0, name).normal(parameter.shape)
        fan_in = max(1, int(np.prod(parameter.shape[:-1])))
        with parameter.mutate() as array:
            array[...] = values / np.sqrt(fan_in)


def set_same(network: Discriminator, twin: Any) -> None:
    """Give the twin the network's weights, one after another."""
    pairs = zip(network.parameters(), twin.parameters(), strict=True)
    with torch.no_grad():
        for mine, theirs in pairs:
            theirs.copy_(to_torch(mine.numpy()))


def judge_twin(twin: Any, x: Any) -> tuple[Any, list[Any]]:
    """Logits, and what comes out of each leaky ReLU."""
    hidden = []
    for part in twin:
        x = part(x)
        if isinstance(part, nn.LeakyReLU):
            hidden.append(x)
    return x, hidden


def assert_near(mine: Array, theirs: Any, tolerance: float, what: str) -> None:
    expected = theirs.detach().numpy()
    largest = np.abs(expected).max()
    assert largest > 0, what
    np.testing.assert_allclose(
        mine, expected, rtol=0, atol=tolerance * largest, err_msg=what
    )


def to_nchw(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def assert_parity(network: Discriminator, twin: Any, x: Array) -> None:
    """Hold two training steps' forward, gradients and running statistics to PyTorch's.

    Each step goes backward from random gradients at logits and at hidden activations. A
    sum of n terms in two orders differs by about n·u of a typical sum of random signs,
    layer after layer, forward and backward; the longest sums are over a batch's
    positions in the first layer, or over the taps and channels of the last.
    """
    draw_all(network.astype(np.float64))
    twin.double()
    set_same(network, twin)
    n, h, w, _ = x.shape
    parts = len(list(twin))
    terms = max(n * h * w, 16 * 8 * HIDDEN)
    tolerance = 2 * parts * terms * U64
    for step in range(2):
        network.zero_grad()
        twin.zero_grad()
        mine = Tensor(x + step, requires_grad=True)
        theirs = torch.tensor(to_nchw(x + step).copy(), requires_grad=True)
        logits, hidden = network.judge(mine)
        other_logits, other_hidden = judge_twin(twin, theirs)
        total, other_total = None, 0.0
        for i, (a, b) in enumerate(
            zip([logits, *hidden], [other_logits, *other_hidden], strict=True)
        ):
            assert_near(to_nchw(a.numpy()), b, tolerance, f"output {i}")
            weights = Stream(step, "weights", i).normal(a.shape)
            part = (a * Tensor(weights)).sum()
            total = part if total is None else total + part
            other_total = (
                b * torch.tensor(to_nchw(weights).copy())
            ).sum() + other_total
        assert total is not None
        total.backward()
        other_total.backward()  # type: ignore[attr-defined]
        assert mine.grad is not None
        assert_near(to_nchw(mine.grad.numpy()), theirs.grad, tolerance, "images")
        pairs = zip(network.named_parameters(), twin.parameters(), strict=True)
        for (name, parameter), other in pairs:
            assert parameter.grad is not None, name
            found = to_torch(parameter.grad.numpy()).numpy()
            assert_near(found, other.grad, tolerance, name)
    running = [v for k, v in network.state_dict().items() if "running" in k]
    others = [v for k, v in twin.state_dict().items() if "running" in k]
    for found, other in zip(running, others, strict=True):
        assert_near(found, other, tolerance, "running statistics")
    network.eval()
    twin.eval()
    with torch.no_grad():
        evaluated = judge_twin(twin, torch.tensor(to_nchw(x).copy()))[0]
    found = to_nchw(network(Tensor(x)).numpy())
    assert_near(found, evaluated, tolerance, "evaluation")


def images(n: int, size: tuple[int, int], channels: int) -> Array:
    return Stream(0, "images").uniform((n, *size, channels), -0.5, 0.5)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "layers"), [((12, 17), 2), ((28, 28), 3), ((7, 8), 1)]
)
def test_patchgan_in_float64_is_that_of_pytorch(
    size: tuple[int, int], layers: int, channels: int, norm: Any
) -> None:
    network = PatchGAN(
        channels, image_size=size, hidden=HIDDEN, layers=layers, norm=norm
    )
    twin = patch_twin(channels, layers, norm == "batch")
    assert_parity(network, twin, images(3, size, channels))


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "layers", "cells"), [((12, 16), 2, 12), ((7, 13), 2, 8), ((9, 9), 3, 4)]
)
def test_the_plain_one_in_float64_is_that_of_pytorch(
    size: tuple[int, int], layers: int, cells: int, channels: int, norm: Any
) -> None:
    network = ConvDiscriminator(
        channels, image_size=size, hidden=HIDDEN, layers=layers, norm=norm
    )
    twin = plain_twin(channels, layers, norm == "batch", cells)
    assert_parity(network, twin, images(3, size, channels))
