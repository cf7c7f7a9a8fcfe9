"""EfficientNet-Lite0: PyTorch's values, and what it says of photographs."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require
from pretrained_examples import (
    efficientnet,
    efficientnet_state,
    images,
    photographs,
    pretrained,
    problem,
    unit,
)

from tinyvq.errors import DTypeError, ShapeError
from tinyvq.models import EfficientNet
from tinyvq.models._efficientnet import STEM, Block, blocks, depthwise
from tinyvq.models._weight_files import EFFICIENTNET_LITE0

Array = npt.NDArray[Any]

# 49 convolutions of up to 1152 terms, sums in two orders; see test_squeezenet.py.
TOLERANCE = 49 * 1152 * 2.0**-53


@pytest.fixture(scope="module")
def network() -> EfficientNet:
    return efficientnet()


def torch_layer(torch: Any, state: dict[str, Array], x: Any) -> Any:
    """The last layer (N,1280,P,Q) in PyTorch's plain operations, norms unfolded."""
    F = torch.nn.functional
    state = {name: torch.tensor(array) for name, array in state.items()}

    def conv(name: str, norm: str, x: Any, stride: int = 1, groups: int = 1) -> Any:
        w = state[f"{name}.weight"]
        size, out = w.shape[2], -(-x.shape[2] // stride)
        tall = max((out - 1) * stride + size - x.shape[2], 0)
        wide = max((-(-x.shape[3] // stride) - 1) * stride + size - x.shape[3], 0)
        ends = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
        y = F.conv2d(F.pad(x, ends), w, stride=stride, groups=groups)
        parts = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var")]
        affine = [state[f"{norm}.{part}"] for part in ("weight", "bias")]
        return F.batch_norm(y, *parts, *affine, training=False, eps=1e-3)

    x = F.relu6(conv("_conv_stem", "_bn0", x, 2))
    for i, b in enumerate(blocks()):
        y, at = x, f"_blocks.{i}."
        if i > 0:
            y = F.relu6(conv(f"{at}_expand_conv", f"{at}_bn0", y))
        wide = y.shape[1]
        y = conv(f"{at}_depthwise_conv", f"{at}_bn1", y, b.stride, wide)
        y = conv(f"{at}_project_conv", f"{at}_bn2", F.relu6(y))
        x = x + y if x.shape == y.shape else y
    return F.relu6(conv("_conv_head", "_bn1", x))


@pytest.mark.torch
@pytest.mark.parametrize("size", [(32, 32), (45, 38)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_last_layer_is_that_of_pytorch(
    network: EfficientNet, size: tuple[int, int], channels: int
) -> None:
    torch = require("torch")
    pictures = images(2, *size, channels)
    bytes_ = torch.tensor(255 * (unit(pictures, "float32").astype("f8") + 0.5))
    x = bytes_.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    theirs = torch_layer(torch, efficientnet_state(), (x - 127) / 128)
    expected = theirs.permute(0, 2, 3, 1).numpy()
    ours = network.last_layer(pictures)
    assert 0.1 < (expected > 0).mean() < 0.9
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * 6)  # relu6


@pytest.mark.torch
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("window", [3, 5])
def test_depthwise_convolution_is_pytorchs_with_a_group_a_channel(
    window: int, stride: int
) -> None:
    torch = require("torch")
    rng = np.random.default_rng(window)
    x, b = rng.normal(size=(2, 9, 8, 4)), rng.normal(size=4)
    w = rng.normal(size=(window, window, 1, 4))
    theirs = torch.nn.functional.conv2d(
        torch.tensor(x).permute(0, 3, 1, 2),
        torch.tensor(w).permute(3, 2, 0, 1),
        torch.tensor(b),
        stride=stride,
        groups=4,
    )
    # 25 terms of size 1 to 10 in two orders.
    np.testing.assert_allclose(
        depthwise(x, w, b, stride),
        theirs.permute(0, 2, 3, 1).numpy(),
        rtol=0,
        atol=25 * 25 * 10 * 2.0**-53,
    )


def test_sixteen_blocks_of_which_nine_add_their_input() -> None:
    found = list(blocks())
    assert len(found) == 16
    assert sum(block.adds for block in found) == 9
    assert found[0] == Block(3, STEM, STEM, 16, 1)
    assert found[-1] == Block(3, 192, 1152, 320, 1)
    assert np.prod([block.stride for block in found]) * 2 == 32


def test_a_grey_image_is_the_colour_image_of_equal_channels(
    network: EfficientNet,
) -> None:
    grey = images(2, 28, 28, 1)
    found = network.features(grey)
    assert found.shape == (2, 1280)
    np.testing.assert_array_equal(found, network.features(grey.repeat(3, axis=3)))


def test_what_are_no_images_raises(network: EfficientNet) -> None:
    with pytest.raises(ShapeError, match=r"C = 1 or 3.*\(1, 8, 8, 2\)"):
        network.features(np.zeros((1, 8, 8, 2), np.uint8))
    with pytest.raises(DTypeError, match="uint8, got float32"):
        network.features(np.zeros((1, 8, 8, 1), np.float32))  # type: ignore[arg-type]


def test_a_state_of_another_network_raises() -> None:
    state = efficientnet_state()
    lacking = {n: a for n, a in state.items() if n != "_blocks.3._bn1.running_var"}
    message = problem(lambda: EfficientNet(lacking))
    assert "_blocks.3._bn1.running_var needs an array (144,), got nothing" in message
    state["_fc.weight"] = state["_fc.weight"].T
    assert "_fc.weight" in problem(lambda: EfficientNet(state))


def test_the_pretrained_network_knows_a_cat_and_an_espresso() -> None:
    """So the file is what it says, and norms, padding and pixels are right."""
    network = pretrained(EfficientNet.pretrained, EFFICIENTNET_LITE0)
    best = network.class_scores(photographs()).argmax(axis=1)
    assert best[0] in (281, 282, 285)  # tabby, tiger cat, Egyptian cat
    assert best[1] == 967  # espresso
