"""SqueezeNet 1.1: PyTorch's values and gradients, and what it says of photographs."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require
from pretrained_examples import (
    images,
    photographs,
    pretrained,
    problem,
    squeezenet,
    squeezenet_weights,
    unit,
)

from tinyvq.errors import DTypeError, ShapeError
from tinyvq.models import SqueezeNet
from tinyvq.models._squeezenet import MEAN_PIXEL
from tinyvq.models._weight_files import SQUEEZENET
from tinyvq.tensor import Tensor, grad
from tinyvq.testing import check_grads

Array = npt.NDArray[Any]

WIDTHS = [64, 128, 256, 384, 384, 512, 512]
# 26 convolutions of up to 9·64 terms each, forward and back; sums in two orders differ
# by about n·u of a typical sum of random signs, against the largest value.
TOLERANCE = 2 * 26 * 9 * 64 * 2.0**-53


@pytest.fixture(scope="module")
def network() -> SqueezeNet:
    return squeezenet()


def test_seven_layers_from_fine_to_coarse(network: SqueezeNet) -> None:
    features = network(unit(images(2, 63, 66, 3)))
    assert [f.shape[3] for f in features] == WIDTHS
    # A 3×3 window every second pixel; pooling windows may hang over the edge.
    grids = [f.shape[1:3] for f in features]
    assert grids == [(31, 32), (15, 16), (7, 8), *[(3, 4)] * 4]


def torch_features(torch: Any, weights: dict[str, list[Array]], x: Any) -> list[Any]:
    """SqueezeNet 1.1 in PyTorch's plain operations: x (N,3,H,W) in -0.5 .. 0.5."""
    F = torch.nn.functional

    def conv(name: str, x: Any, **settings: int) -> Any:
        w, b = (torch.tensor(a) for a in weights[name])
        return F.relu(F.conv2d(x, w.permute(3, 2, 0, 1), b, **settings))

    def fire(i: int, x: Any) -> Any:
        x = conv(f"fire{i}/squeeze1x1", x)
        points = conv(f"fire{i}/expand1x1", x)
        return torch.cat([points, conv(f"fire{i}/expand3x3", x, padding=1)], 1)

    mean = torch.tensor(MEAN_PIXEL, dtype=x.dtype).reshape(3, 1, 1)
    x = conv("conv1", 255 * (x.flip(1) + 0.5) - mean, stride=2)
    taken = [x]
    x = fire(2, F.max_pool2d(x, 3, 2, ceil_mode=True))
    taken.append(x := fire(3, x))
    x = fire(4, F.max_pool2d(x, 3, 2, ceil_mode=True))
    taken.append(x := fire(5, x))
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    for i in (6, 7, 8, 9):
        taken.append(x := fire(i, x))
    return taken


@pytest.mark.torch
@pytest.mark.parametrize("size", [(32, 32), (41, 35)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_features_and_the_images_gradient_are_those_of_pytorch(
    network: SqueezeNet, size: tuple[int, int], channels: int
) -> None:
    torch = require("torch")
    x = unit(images(2, *size, channels))
    ours_x = Tensor(x, requires_grad=True)
    theirs_x = torch.tensor(x, requires_grad=True)
    ours = network(ours_x)
    as_nchw = theirs_x.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    theirs = torch_features(torch, squeezenet_weights(), as_nchw)
    rng = np.random.default_rng(0)
    ours_sum, theirs_sum = Tensor(np.zeros(())), torch.zeros((), dtype=torch.float64)
    for mine, other in zip(ours, theirs, strict=True):
        other = other.permute(0, 2, 3, 1)
        expected = other.detach().numpy()
        bound = TOLERANCE * np.abs(expected).max()
        np.testing.assert_allclose(mine.numpy(), expected, rtol=0, atol=bound)
        upstream = rng.normal(size=expected.shape) / np.abs(expected).max()
        ours_sum = ours_sum + (mine * upstream).sum()
        theirs_sum = theirs_sum + (other * torch.tensor(upstream)).sum()
    (gradient,) = grad(ours_sum, [ours_x])
    theirs_sum.backward()
    expected = theirs_x.grad.numpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(
        gradient.numpy(), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max()
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_of_enlarged_images(network: SqueezeNet, channels: int) -> None:
    x = unit(images(1, 19, 17, channels))
    check_grads(lambda x: network(x)[1] * 0.01, x)


def test_a_grey_image_is_the_colour_image_of_equal_channels(
    network: SqueezeNet,
) -> None:
    grey = unit(images(2, 28, 28, 1))
    colour = grey.repeat(3, axis=3)
    for one, three in zip(network(grey), network(colour), strict=True):
        np.testing.assert_array_equal(one.numpy(), three.numpy())


def test_the_weights_are_constants(network: SqueezeNet) -> None:
    before = {n: [a.copy() for a in pair] for n, pair in squeezenet_weights().items()}
    x = Tensor(unit(images(1, 28, 28, 1)), requires_grad=True)
    network(x)[-1].sum().backward()
    assert x.grad is not None
    for name, pair in network._layers.items():
        for tensor, array in zip(pair, before[name], strict=True):
            assert not tensor.requires_grad
            assert tensor.grad is None
            np.testing.assert_array_equal(tensor.numpy(), array)
    assert not network(unit(images(1, 28, 28, 1)))[-1].requires_grad


def test_features_to_judge_by_are_the_last_layers_averages() -> None:
    network = squeezenet("float32")
    pictures = images(3, 40, 33, 3)
    last = network(unit(pictures, "float32"))[-1].numpy()
    found = network.features(pictures)
    # Averages of 6 values; a rounding of the sum in float64, and one to float32.
    np.testing.assert_allclose(found, last.mean(axis=(1, 2)), rtol=8 * 2.0**-24)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.zeros((1, 8, 8, 2)), ShapeError, r"C = 1 or 3.*\(1, 8, 8, 2\)"),
        (np.zeros((8, 8, 3)), ShapeError, r"\(8, 8, 3\)"),
        (np.zeros((0, 8, 8, 3)), ShapeError, "not empty"),
        (np.zeros((1, 8, 8, 3), np.uint8), DTypeError, "uint8"),
        (np.zeros((1, 8, 8, 3), np.float32), DTypeError, "float32 and float64"),
    ],
)
def test_what_are_no_images_raises(
    network: SqueezeNet, x: Array, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        network(x)


def test_weights_of_another_network_raise() -> None:
    weights = squeezenet_weights()
    assert "fire5/expand3x3" in problem(
        lambda: SqueezeNet({n: w for n, w in weights.items() if n != "fire5/expand3x3"})
    )
    weights["conv1"][0] = weights["conv1"][0][:2]
    assert "conv1 needs arrays (3, 3, 3, 64)" in problem(lambda: SqueezeNet(weights))


def test_the_pretrained_network_knows_a_cat_and_an_espresso() -> None:
    """So the file is what it says, and channels, mean and padding are right."""
    network = pretrained(SqueezeNet.pretrained, SQUEEZENET)
    scores = network.class_scores(unit(photographs(), "float32")).numpy()
    best = scores.argmax(axis=1)
    assert best[0] in (281, 282, 285)  # tabby, tiger cat, Egyptian cat
    assert best[1] == 967  # espresso
    chance = np.exp(scores[1] - scores[1].max())
    assert chance[967] / chance.sum() > 0.9  # with red and blue swapped it is 0.5
