"""Judges: features by name, what they can tell apart, and what they may judge."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pretrained_examples import blurred, images, need_weights

from tinyvq.data import load
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.metrics import FeatureStatistics, frechet_distance
from tinyvq.models import (
    JUDGES,
    RandomConvolutions,
    _random_convolutions,
    check_judge,
    features,
    judge,
)
from tinyvq.models._weight_files import EFFICIENTNET_LITE0, SQUEEZENET
from tinyvq.rng import Stream

Bytes = npt.NDArray[np.uint8]

FILES = {file.network: file for file in (SQUEEZENET, EFFICIENTNET_LITE0)}
each_judge = pytest.mark.parametrize("name", JUDGES)


def need_weights_of(name: str) -> None:
    file = FILES.get(name)
    if file is not None:
        need_weights(file)


def distance(name: str, x: Bytes, y: Bytes) -> float:
    sets = []
    for pictures in (x, y):
        found = features(name, pictures)
        statistics = FeatureStatistics(name, found.shape[1])
        statistics.add(found)
        sets.append(statistics)
    return frechet_distance(*sets)


@pytest.fixture(scope="module")
def garments() -> Bytes:
    return load("fashion-mnist-5k").split("train").images


@each_judge
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_has_a_vector_of_its_own_whatever_the_batch(
    name: str, channels: int
) -> None:
    need_weights_of(name)
    pictures = images(11, 28, 30, channels)
    whole = features(name, pictures)
    assert whole.shape == (11, judge(name).num_features)
    assert whole.dtype == np.float32
    parts = [features(name, pictures[i : i + 3]) for i in range(0, 11, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(np.unique(whole, axis=0)) == 11


@pytest.mark.parametrize(
    ("name", "count"),
    [("random-conv", 300), ("squeezenet1.1", 40), ("efficientnet-lite0", 40)],
)
def test_real_images_are_nearest_to_real_ones_then_blurred_then_noise(
    name: str, count: int, garments: Bytes
) -> None:
    need_weights_of(name)
    some, others = garments[:count], garments[count : 2 * count]
    noise = Stream(0, "noise").integers(256, others.shape).astype(np.uint8)
    real = distance(name, some, others)
    blur = distance(name, some, blurred(others, 2))
    static = distance(name, some, noise)
    assert 0 < real < blur < static


def test_the_judge_that_needs_no_weights_sees_more_than_the_worst(
    garments: Bytes,
) -> None:
    """What a model does wrong: it blurs a little, adds grain, or repeats itself."""
    some, others = garments[:300], garments[300:600]
    grain = Stream(0, "grain").normal(others.shape, "float64") * 20
    worse = {
        "blurred once": blurred(others, 1),
        "grain": np.clip(others + grain, 0, 255).astype(np.uint8),
        "ten pictures": others[:10].repeat(30, axis=0),
        "darker": (others * 0.8).astype(np.uint8),
    }
    real = distance("random-conv", some, others)
    found = {what: distance("random-conv", some, set_) for what, set_ in worse.items()}
    assert all(value > 3 * real for value in found.values()), (real, found)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (28, 28), (65, 64)], ids=str)
def test_random_convolutions_take_images_of_any_size(size: tuple[int, int]) -> None:
    pictures = images(2, *size, 3)
    found = features("random-conv", pictures)
    assert found.shape == (2, 160)
    assert np.isfinite(found).all()
    grey = pictures[..., :1]
    np.testing.assert_array_equal(
        features("random-conv", grey), features("random-conv", grey.repeat(3, axis=3))
    )


def test_random_convolutions_are_the_same_every_time() -> None:
    """Or a number from one machine would mean nothing on another."""
    pictures = images(2, 28, 28, 3)
    one, other = RandomConvolutions(), RandomConvolutions()
    np.testing.assert_array_equal(one.features(pictures), other.features(pictures))
    drawn = Stream(0, "random-conv", 0).normal((3, 3, 3, 32), "float32")
    first = drawn[..., 0] - drawn[..., 0].mean()
    length = np.sqrt((first * first).sum() / 2)
    # Sums of 27 terms in float32, in another order.
    np.testing.assert_allclose(
        one._weights[0][..., 0], first / length, rtol=0, atol=27 * 2.0**-23
    )


def test_an_even_area_says_nothing_to_random_convolutions() -> None:
    """Filters sum to 0, so what is left of a plane of one grey is its edges."""
    edges = [
        features("random-conv", np.full((1, s, s, 1), 200, np.uint8)) for s in (16, 64)
    ]
    small, large = (edge[0, :32].sum() for edge in edges)  # the first layer's
    assert 0 < large < small / 3.5  # edges are a share of 4/s: four times less


def test_halving_an_odd_side_repeats_its_last_pixels() -> None:
    x = np.arange(5, dtype="f4").reshape(1, 1, 5, 1)
    halves = _random_convolutions._halved(x)
    np.testing.assert_array_equal(halves[0, :, :, 0], [[0.5, 2.5, 4]])


def test_no_images_have_no_features() -> None:
    assert features("random-conv", np.zeros((0, 8, 8, 1), np.uint8)).shape == (0, 160)


@pytest.mark.parametrize(
    ("pictures", "error", "text"),
    [
        (np.zeros((2, 8, 8), np.uint8), ShapeError, r"\(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 2), np.uint8), ShapeError, r"\(2, 8, 8, 2\)"),
        (np.zeros((2, 8, 8, 1), np.float32), DTypeError, "uint8, got float32"),
    ],
)
def test_what_are_no_images_raises(
    pictures: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        features("random-conv", pictures)


def test_an_unknown_judge_raises_and_lists_those_there_are() -> None:
    for ask in (lambda: judge("inception"), lambda: check_judge("inception", ())):
        with pytest.raises(ConfigError, match=r"inception.*squeezenet1\.1, eff"):
            ask()


def test_a_network_never_judges_what_a_loss_over_it_trained() -> None:
    with pytest.raises(ConfigError, match=r"squeezenet1\.1 cannot judge") as caught:
        check_judge("squeezenet1.1", ["squeezenet1.1"])
    assert "efficientnet-lite0, random-conv" in str(caught.value)


@each_judge
def test_any_other_network_may_judge(name: str) -> None:
    check_judge(name, [])
    check_judge(name, [other for other in JUDGES if other != name])


@each_judge
def test_a_judge_bears_the_name_that_it_is_asked_for_by(name: str) -> None:
    need_weights_of(name)
    assert judge(name).name == name
    assert judge(name) is judge(name)  # its weights are read once
