"""The perceptual loss: what it is zero for, what it grows with, where it leads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from models.pretrained_examples import pretrained

from tinyvq import ops
from tinyvq.data import load, to_unit
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.losses import PerceptualLoss, perceptual_distance
from tinyvq.models import SqueezeNet, _squeezenet
from tinyvq.models._weight_files import SQUEEZENET
from tinyvq.nn import Parameter
from tinyvq.optim import Adam
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, grad
from tinyvq.testing import check_grads

Array = npt.NDArray[Any]

U32, U64 = 2.0**-24, 2.0**-53


class TinyNetwork:
    """Two convolutions, of grey or of colour; each layer times a gain."""

    name = "tiny"

    def __init__(self, channels: int, gains: Sequence[float] = (1.0, 1.0)) -> None:
        stream = Stream(0, "tiny network")
        self.gains = gains
        self.weights = [
            Tensor(stream.normal(shape, "float64"))
            for shape in [(3, 3, channels, 6), (3, 3, 6, 5)]
        ]

    def __call__(self, x: Tensor) -> list[Tensor]:
        features = []
        for w, gain in zip(self.weights, self.gains, strict=True):
            x = ops.silu(ops.conv2d(x, w, stride=2, padding=1))
            features.append(x * gain)
        return features


class NoLayers:
    name = "nothing"

    def __call__(self, x: Tensor) -> list[Tensor]:
        return []


def images(n: int, channels: int = 1, side: int = 9, seed: int = 0) -> Array:
    return Stream(seed, "images").uniform((n, side, side, channels), -0.5, 0.5, "f8")


def random_squeezenet(dtype: str) -> SqueezeNet:
    """Build one that needs no file: its weights are drawn."""
    stream, weights = Stream(0, "weights"), {}
    for name, shape in _squeezenet.layers():
        w = stream.normal(shape, dtype) * np.sqrt(2 / np.prod(shape[:3])).item()
        weights[name] = [w, np.zeros(shape[3], dtype)]
    return SqueezeNet(weights, shorter_side=32)


def blurred(x: Array) -> Array:
    """Average each pixel with the one to its right."""
    return (x + np.concatenate([x[:, :, 1:], x[:, :, -1:]], axis=2)) / 2


each_colour = pytest.mark.parametrize("channels", [1, 3])


@each_colour
def test_equal_images_have_no_distance_and_no_gradient(channels: int) -> None:
    x = Tensor(images(2, channels), requires_grad=True)
    loss = PerceptualLoss(TinyNetwork(channels))(x, x.numpy().copy())
    assert loss.item() == 0
    loss.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), 0)


@each_colour
def test_gradients_to_both_images(channels: int) -> None:
    loss = PerceptualLoss(TinyNetwork(channels))
    check_grads(loss, images(2, channels), images(2, channels, seed=1))


@pytest.mark.parametrize(("channels", "side"), [(1, 46), (3, 26)])
def test_gradients_through_squeezenet(channels: int, side: int) -> None:
    """Of more than 2,000 values each: along random directions, not one by one."""
    loss = PerceptualLoss(random_squeezenet("float64"))
    x, y = images(1, channels, side), images(1, channels, side, seed=1)
    check_grads(loss, x, y, constants=(1,))


def test_it_is_the_mean_of_the_images_distances() -> None:
    network, x, y = TinyNetwork(1), images(5), images(5, seed=1)
    distances = perceptual_distance(network, x, y)
    assert distances.shape == (5,)
    assert distances.dtype == np.float64
    assert distances.min() > 0
    # A mean of 5·(25 + 9)·6 squares, added in two orders.
    assert PerceptualLoss(network)(x, y).item() == pytest.approx(
        distances.mean(), rel=5 * 34 * 6 * U64
    )
    alone = perceptual_distance(network, x[2:3], y[2:3])
    np.testing.assert_allclose(alone, distances[2:3], rtol=34 * 6 * U64)


def test_distances_are_of_directions_averaged_over_places_summed_over_layers() -> None:
    network, x, y = TinyNetwork(3), images(2, 3), images(2, 3, seed=1)
    expected = np.zeros(2)
    for a, b in zip(network(Tensor(x)), network(Tensor(y)), strict=True):
        for n in range(2):
            places = zip(
                a.numpy()[n].reshape(-1, a.shape[3]),
                b.numpy()[n].reshape(-1, b.shape[3]),
                strict=True,
            )
            # |â - b̂|² = 2 - 2 cos(a, b)
            cosines = [p @ q / np.sqrt(p @ p * (q @ q)) for p, q in places]
            expected[n] += np.mean(2 - 2 * np.array(cosines))
    # Lengths are √(|a|² + 10⁻¹²); the shortest vector here is above 0.1.
    np.testing.assert_allclose(
        perceptual_distance(network, x, y), expected, rtol=0, atol=4 * 2 * 1e-10
    )


def test_each_layer_counts_alike_however_large_its_features_are() -> None:
    x, y = images(2), images(2, seed=1)
    plain = PerceptualLoss(TinyNetwork(1))(x, y).item()
    scaled = PerceptualLoss(TinyNetwork(1, gains=(1.0, 1000.0)))(x, y).item()
    # The 10⁻¹² in the length is a share of at most 10⁻¹⁰ of |a|² > 0.01.
    assert scaled == pytest.approx(plain, abs=4 * 2 * 1e-10)


def test_it_does_not_matter_which_image_is_which() -> None:
    loss, x, y = PerceptualLoss(TinyNetwork(1)), images(2), images(2, seed=1)
    assert loss(x, y).item() == loss(y, x).item()


def test_only_what_asks_for_a_gradient_gets_one() -> None:
    network = TinyNetwork(1)
    made, real = Tensor(images(2), requires_grad=True), Tensor(images(2, seed=1))
    PerceptualLoss(network)(made, real).backward()
    assert made.grad is not None
    assert np.abs(made.grad.numpy()).max() > 0
    assert real.grad is None
    assert all(w.grad is None for w in network.weights)


def test_a_distance_records_no_graph() -> None:
    network, seen = TinyNetwork(1), []
    network.weights = [Parameter(w.numpy()) for w in network.weights]

    class Watched(TinyNetwork):
        def __call__(self, x: Tensor) -> list[Tensor]:
            seen.extend(network(x))
            return seen[-2:]

    perceptual_distance(Watched(1), images(2), images(2, seed=1))
    assert len(seen) == 4
    assert not any(features.requires_grad for features in seen)


def test_a_picture_that_follows_the_gradient_comes_to_look_like_the_other() -> None:
    loss = PerceptualLoss(random_squeezenet("float32"))
    real = to_unit(load("fashion-mnist-5k").split("train").images[:2])
    picture = Parameter(np.zeros_like(real))
    adam = Adam([picture], lr=0.02)
    before = loss(picture, real).item()
    for _ in range(15):
        picture.grad = None
        loss(picture, real).backward()
        adam.step()
    assert loss(picture, real).item() < before / 2


@pytest.mark.parametrize("shape", [(2, 9, 9, 3), (1, 9, 9, 1), (2, 9, 8, 1)])
def test_images_of_two_shapes_raise(shape: tuple[int, ...]) -> None:
    x, y = images(2), np.zeros(shape)
    for compare in (PerceptualLoss(TinyNetwork(1)).__call__, distance_of):
        with pytest.raises(ShapeError, match=r"\(2, 9, 9, 1\) and \("):
            compare(x, y)


def distance_of(x: Array, y: Array) -> Array:
    return perceptual_distance(TinyNetwork(1), x, y)


def test_no_images_raise() -> None:
    empty = np.zeros((0, 9, 9, 1))
    with pytest.raises(ShapeError, match="not empty"):
        PerceptualLoss(TinyNetwork(1))(empty, empty)
    with pytest.raises(ShapeError, match="not empty"):
        distance_of(empty, empty)


def test_bytes_and_another_dtype_raise() -> None:
    loss = PerceptualLoss(random_squeezenet("float32"))
    bytes_ = np.zeros((1, 32, 32, 1), np.uint8)
    with pytest.raises(DTypeError, match="uint8"):
        loss(bytes_, bytes_)
    with pytest.raises(DTypeError, match="float64"):
        loss(images(1, 1, 32), images(1, 1, 32))


def test_a_network_without_features_raises() -> None:
    with pytest.raises(ConfigError, match="nothing gives no features"):
        PerceptualLoss(NoLayers())(images(1), images(1))


# ------------------------------------------------------------- over pretrained features


@pytest.fixture(scope="module")
def network() -> SqueezeNet:
    return pretrained(SqueezeNet.pretrained, SQUEEZENET)


@pytest.fixture(scope="module")
def garments() -> Array:
    return to_unit(load("fashion-mnist-5k").split("train").images[:8])


def test_it_grows_with_every_blur_of_every_picture(
    network: SqueezeNet, garments: Array
) -> None:
    worse, before = garments, np.zeros(len(garments))
    for _ in range(4):
        worse = blurred(worse)
        now = perceptual_distance(network, garments, worse)
        assert (now > before).all()
        before = now
    assert (before < 14).all()  # seven layers of at most 2


def test_a_shift_looks_nearer_than_a_blur_of_the_same_squared_error(
    network: SqueezeNet, garments: Array
) -> None:
    """That is what it is for: mse says the opposite of the eye."""
    shifted = np.roll(garments, 1, axis=2)
    blur = garments
    while ((blur - garments) ** 2).mean() < ((shifted - garments) ** 2).mean():
        blur = blurred(blurred(blur)[:, :, ::-1])[:, :, ::-1]  # from both sides
    shift_is, blur_is = (
        perceptual_distance(network, garments, x).mean() for x in (shifted, blur)
    )
    assert shift_is < blur_is


def test_grey_counts_as_the_colour_of_equal_channels(
    network: SqueezeNet, garments: Array
) -> None:
    other = blurred(garments)
    np.testing.assert_array_equal(
        perceptual_distance(network, garments, other),
        perceptual_distance(network, garments.repeat(3, 3), other.repeat(3, 3)),
    )


def test_its_gradient_in_float32_is_that_in_float64(
    network: SqueezeNet, garments: Array
) -> None:
    """26 layers forward and back, sums of up to 9·64 terms of random sign: √n·u each.

    Kinks that fall on the other side change a few places; so it is the whole vectors
    that are compared.
    """
    exact_network = SqueezeNet.pretrained("float64")
    gradients = []
    for net, dtype in ((network, "float32"), (exact_network, "float64")):
        x = Tensor(blurred(garments).astype(dtype), requires_grad=True)
        loss = PerceptualLoss(net)(x, garments.astype(dtype))
        gradients.append(grad(loss, [x])[0].numpy())
    single, exact = gradients
    error = np.linalg.norm(single - exact) / np.linalg.norm(exact)
    assert error < 2 * 26 * 9 * 64 * U32
