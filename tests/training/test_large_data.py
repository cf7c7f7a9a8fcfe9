"""What a run finds out of its images takes little memory beside them, and is exact."""

import numpy as np
import numpy.typing as npt
import pytest
from memory import peak_memory

from tinyvq.data import ImageData, Split
from tinyvq.rng import Stream
from tinyvq.training import generation
from tinyvq.training.generation import nearest_images
from tinyvq.training.tokenizer import facts_of

Images = npt.NDArray[np.uint8]


def noise(count: int, size: int = 4) -> Images:
    shape = (count, size, size, 1)
    return Stream(0, "noise").integers(256, shape).astype(np.uint8)


def test_the_facts_of_many_images_take_less_memory_than_they() -> None:
    train = np.tile(noise(16, 256), (32, 1, 1, 1))  # 32 MiB
    images = ImageData("here", {"train": Split(train), "val": Split(train[:1])})
    facts_of(images)
    assert peak_memory(lambda: facts_of(images)) < train.nbytes / 2
    variance = facts_of(images)["pixel_variance"]
    assert variance == pytest.approx(np.var(train[:16] / 255), rel=1e-12)


def test_the_nearest_of_many_images_are_looked_for_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, among = noise(20), np.tile(noise(70)[20:], (2, 1, 1, 1))  # each one twice
    images[:3] = among[[0, 60, 49]]
    apart = images[:, None].astype(np.int64) - among  # (20,100,H,W,C)
    expected = np.square(apart).sum(axis=(2, 3, 4)).argmin(axis=1)  # the first one
    for at_once in (1, 7, 100):
        monkeypatch.setattr(generation, "COMPARED", at_once * 16)
        np.testing.assert_array_equal(nearest_images(images, among), expected)


def test_the_nearest_of_many_images_take_little_memory() -> None:
    among = np.tile(noise(16, 256), (64, 1, 1, 1))  # 64 MiB; float32 takes four times
    images = among[[3, 0]]
    nearest_images(images, among[:16])
    found: list[int] = []
    peak = peak_memory(lambda: found.extend(nearest_images(images, among).tolist()))
    assert found == [3, 0]
    assert peak < 3 * among.nbytes
