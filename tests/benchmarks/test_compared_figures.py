"""The figures of the comparison, held to what is written out here, without training."""

from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from required import command_line

command_line()

from benchmarks.compare import __main__ as command  # noqa: E402
from benchmarks.compare import augmentation, measure, records  # noqa: E402
from benchmarks.compare.measure import Judged, nearest_in_training  # noqa: E402
from benchmarks.compare.pieces import Piece  # noqa: E402
from tinyvq.cli._train import KINDS  # noqa: E402
from tinyvq.data import ImageData, Split, pick  # noqa: E402
from tinyvq.models import SqueezeNet  # noqa: E402
from tinyvq.rng import Stream  # noqa: E402

JUDGE = "random-conv"


def noise(count: int, seed: int) -> np.ndarray:
    shape = (count, 12, 12, 1)
    return Stream(seed, "noise").integers(256, shape).astype(np.uint8)


TRAIN, VAL, TEST = noise(60, 0), noise(20, 1), noise(40, 2)


@pytest.fixture(scope="module")
def images() -> ImageData:
    splits = {"train": Split(TRAIN), "val": Split(VAL), "test": Split(TEST)}
    return ImageData("noise", splits)


@pytest.fixture(scope="module")
def judged(images: ImageData) -> Judged:
    return Judged.of(images, JUDGE, 40)


def test_the_floor_is_of_training_images(judged: Judged) -> None:
    some = TRAIN[pick(len(TRAIN), len(judged.real))]
    assert judged.floor == judged.compare(some)
    assert judged.floor["frechet"] > 0
    assert judged.compare(TEST)["frechet"] == pytest.approx(0, abs=1e-6)


def test_copies_are_found_out(images: ImageData, judged: Judged) -> None:
    assert nearest_in_training(TRAIN[:5], images) == 1
    assert nearest_in_training(TEST[:5], images) == 0
    assert judged.near == nearest_in_training(VAL, images)
    assert 0 < judged.near < 1
    assert measure._samples(TRAIN[:9], images, judged)["copied"] == 1
    expected = -judged.near / (1 - judged.near)
    found = measure._samples(TEST[:9], images, judged)["copied"]
    assert found == pytest.approx(expected)


def test_sharpness_is_of_what_is_made_over_the_originals(
    images: ImageData, judged: Judged
) -> None:
    half = (TEST // 2).astype(np.uint8)
    kept = measure._likeness(TEST, half, judged)["sharpness_kept"]
    assert kept == pytest.approx(0.25, rel=0.02)
    found = measure._samples(half, images, judged)["sharpness"]
    assert found == pytest.approx(0.25, rel=0.02)


def test_a_perceptual_distance_is_to_what_was_made(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distance(network: object, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a - b).mean(axis=(1, 2, 3))

    monkeypatch.setattr(measure, "perceptual_distance", distance)
    monkeypatch.setattr(SqueezeNet, "pretrained", lambda: None)
    monkeypatch.setattr(Judged, "compare", lambda self, made: {"frechet": 0.0})
    by_squeezenet = Judged(SqueezeNet.name, judged.real, {}, 0.0)
    made = np.full_like(TEST, 255)
    found = measure._likeness(TEST, made, by_squeezenet)["perceptual_distance"]
    assert found == pytest.approx((255 - TEST.astype(float)).mean() / 255)


def test_seconds_are_by_the_quickest_tenth_of_each_part() -> None:
    options = {"steps": 100, "batch_size": 8, "adversarial_weight": 0.1}
    run: Any = SimpleNamespace(options=options)
    slow = [{"images_per_second": 1.0}, *[{"images_per_second": 8.0}] * 9]
    both = [{"images_per_second": 4.0, "discriminator_loss": 1.0}] * 10
    # Half of the steps a second each, half two.
    assert command.seconds_of(run, [*slow, *both]) == pytest.approx(50 + 100)


def test_what_is_learned_beside_the_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = {
        "model.quantizer.codebook": np.zeros((6, 4)),
        "discriminator.layers.0.weight": np.zeros((3, 5)),
        "discriminator.layers.1.running_mean": np.zeros(7),
        "model.encoder.weight": np.zeros(100),
    }
    latest = SimpleNamespace(arrays=arrays)
    monkeypatch.setattr(command, "load_latest", lambda folder: latest)
    run: Any = SimpleNamespace(checkpoints=Path(), options={"adversarial_weight": 0.1})
    assert command.beside(run) == {"codebook": 24, "adversary": 15}
    run.options = {"adversarial_weight": 0}
    assert command.beside(run) == {"codebook": 24, "adversary": 0}


def test_committed_figures_are_of_the_commands_that_stand_there_now() -> None:
    """And of the defaults that options have now, where nothing was typed."""
    for (data, model), of_seeds in records.results().items():
        for record in of_seeds:
            words = Piece(data, model, record["seed"]).command(Path("runs"))
            assert record["command"] == f"tinyvq {' '.join(words)}"
            assert_defaults(KINDS[words[1]].options, record["options"], words)


def assert_defaults(kind: Any, options: dict[str, Any], words: list[str]) -> None:
    for field in fields(kind):
        typed = f"--{field.name.replace('_', '-')}" in words
        if field.name in options and not typed:
            assert options[field.name] == field.default, field.name


@dataclass
class Call:
    train: Split
    test: Split


def test_augmentation_holds_three_trainings_against_one_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Call] = []

    def accuracy(train: Split, test: Split, seed: int, steps: int) -> float:
        calls.append(Call(train, test))
        return 0.5

    def drawn(kind: str, *rest: object) -> Split:
        images = np.full((12, 4, 4, 1), 1 if kind == "vqvae" else 2, np.uint8)
        return Split(images, np.arange(12) % 2)

    real = Split(np.zeros((12, 4, 4, 1), np.uint8), np.arange(12) % 2)
    test = Split(np.zeros((6, 4, 4, 1), np.uint8), np.arange(6) % 2)
    monkeypatch.setattr(augmentation, "accuracy", accuracy)
    monkeypatch.setattr(augmentation, "drawn", drawn)
    monkeypatch.setattr(
        augmentation, "sources", lambda *rest: (tmp_path / "few.npz", real, test)
    )
    words = ["--quick", "--seed", "0", "--runs", str(tmp_path)]
    assert augmentation.main(words) == 0
    assert all(call.test is test for call in calls)
    means = [(len(call.train), call.train.images.mean()) for call in calls]
    assert means == [(12, 0), (24, 0.5), (12, 1), (24, 1), (12, 2)]


def test_a_few_of_each_class_are_drawn_by_the_seed() -> None:
    labels = np.arange(60) % 3
    whole = Split(TRAIN, labels)
    first, again, other = (augmentation.few(whole, 5, seed) for seed in (0, 0, 1))
    assert first.labels is not None
    assert np.bincount(first.labels).tolist() == [5, 5, 5]
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any()
    for image, label in zip(first.images, first.labels, strict=True):
        (at,) = np.flatnonzero((image == TRAIN).all(axis=(1, 2, 3)))
        assert labels[at] == label
