"""The images that come with tinyvq: which they are, and that they come along.

As the runs do: tests/training/test_shipped.py.
"""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from required import absent

from tinyvq.data import ImageData, _catalog, load, locate
from tinyvq.data.shipped.make import choose, select

NAME = "fashion-mnist-5k"
ROOT = Path(__file__).parents[2]
SHIPPED = {
    "tinyvq/data/shipped/fashion-mnist-5k.npz",
    "tinyvq/data/shipped/LICENSE.fashion-mnist",
    *(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tinyvq" / "shipped").rglob("*")
        if path.is_file()
    ),
}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load(NAME)


def test_there_are_5000_grey_images_of_28_by_28(data: ImageData) -> None:
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 4000, "val": 500, "test": 500}
    assert data.image_shape == (28, 28, 1)
    assert data.source == NAME
    for split in data.splits.values():
        assert split.images.dtype == np.uint8
        # From black to white in all but a few, which have no quite white pixel.
        assert split.images.min() == 0
        assert split.images.max() == 255


@pytest.mark.parametrize(("split", "each"), [("train", 400), ("val", 50), ("test", 50)])
def test_classes_are_as_frequent_as_each_other(
    data: ImageData, split: str, each: int
) -> None:
    assert len(data.class_names) == 10
    assert np.bincount(data.split(split).labels).tolist() == [each] * 10


def test_no_image_is_in_two_splits(data: ImageData) -> None:
    found = [image.tobytes() for s in data.splits.values() for image in s.images]
    assert len(set(found)) == 5000


def test_they_are_the_ones_that_make_py_selects(data: ImageData) -> None:
    if locate("fashion-mnist") is None:
        absent(
            "FASHION_MNIST",
            "fashion-mnist is not here: tinyvq data fetch fashion-mnist",
        )
    selected = select()
    assert len(selected) == 6
    for name, split in data.splits.items():
        np.testing.assert_array_equal(split.images, selected[name])
        np.testing.assert_array_equal(split.labels, selected[f"{name}_labels"])


def test_the_first_of_each_class_are_chosen_in_their_order() -> None:
    labels = np.array([1, 0, 1, 1, 0, 2, 0, 1])
    np.testing.assert_array_equal(choose(labels, 0, 2), [0, 1, 2, 4, 5])
    np.testing.assert_array_equal(choose(labels, 2, 9), [3, 6, 7])


def test_the_licence_stands_beside_them() -> None:
    text = (_catalog.SHIPPED / "LICENSE.fashion-mnist").read_text()
    assert "Copyright © 2017 Zalando SE" in text
    assert "The above copyright notice and this permission notice shall be" in text


@pytest.mark.deep
def test_they_come_along_in_a_wheel(tmp_path: Path) -> None:
    """Built by pip, in an environment of its own where hatchling is not installed."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path)]
    if importlib.util.find_spec("hatchling") is not None:
        command.append("--no-build-isolation")
    command.append(str(ROOT))
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300
    )
    if "No matching distribution found for hatchling" in done.stderr:
        absent("HATCHLING", "no hatchling installed, no package index to be reached")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("tinyvq-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) >= SHIPPED
        for name in SHIPPED:
            assert archive.read(name) == (ROOT / name).read_bytes()
