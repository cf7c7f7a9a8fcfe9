"""Images in .npz files: the names and kinds of arrays that are taken, and refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.data_examples import LABELS, npy, pixels, problem, zipped

from tinyvq.data import ImageData, Split, load, read_npz
from tinyvq.data._npz import packed


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.npz"


def test_every_array_comes_back_as_it_was(path: Path) -> None:
    arrays = {
        "bytes": pixels(3, 4),
        "transposed": pixels(3, 4).T,
        "floats": np.linspace(0, 1, 7, dtype=">f4"),
        "words": np.array(["a", "bcd"]),
        "one": np.array(3.5),
        "none": np.empty((0, 5), np.int64),
        "sub/folder": np.array([True, False]),
    }
    for write in (np.savez, np.savez_compressed):
        write(path, **arrays)
        found = read_npz(path)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_arrays_of_other_writers_are_read(path: Path) -> None:
    """Version 2 of the header, and the long integers of Python 2."""
    body = bytes(range(6))
    for shape, version in (("(2, 3)", 2), ("(2L, 3L)", 1)):
        zipped(path, ("x.npy", npy(shape, body=body, version=version)))
        expected = np.arange(6).reshape(2, 3)
        np.testing.assert_array_equal(read_npz(path)["x"], expected)


IMAGES = ("{}", "{}_images", "x_{}", "images_{}")
LABELS_OF = ("{}_labels", "y_{}", "labels_{}")


@pytest.mark.parametrize("images_of", IMAGES)
@pytest.mark.parametrize("labels_of", LABELS_OF)
def test_every_spelling_of_splits(path: Path, images_of: str, labels_of: str) -> None:
    images = {"train": pixels(5, 4, 6), "val": pixels(3, 4, 6), "test": pixels(2, 4, 6)}
    arrays = {images_of.format(name): array for name, array in images.items()}
    for name, array in images.items():
        arrays[labels_of.format(name)] = np.arange(len(array), dtype=np.uint8)
    data = load(save(path, **arrays))
    assert list(data.splits) == ["train", "val", "test"]
    for name, array in images.items():
        split = data.split(name)
        np.testing.assert_array_equal(split.images, array[..., None])
        np.testing.assert_array_equal(split.labels, np.arange(len(array)))
        assert split.labels.dtype == np.int64


@pytest.mark.parametrize("name", ["images", "x", "arr_0"])
@pytest.mark.parametrize("labels", ["labels", "y"])
def test_every_spelling_of_one_array(path: Path, name: str, labels: str) -> None:
    images = pixels(60, 4, 6, 3)
    data = load(save(path, **{name: images, labels: np.arange(60)[:, None]}))
    assert data.image_shape == (4, 6, 3)
    for split in data.splits.values():  # each label is its image's position
        np.testing.assert_array_equal(split.images, images[split.labels])
    found = np.concatenate([split.labels for split in data.splits.values()])
    assert sorted(found) == list(range(60))


def test_one_array_is_split_by_what_each_image_is(path: Path) -> None:
    """Equal images stand on one side, and others that come or go move none."""

    def sides(images: np.ndarray[Any, Any]) -> dict[bytes, set[str]]:
        found: dict[bytes, set[str]] = {}
        for name, split in load(save(path, images=images)).splits.items():
            for image in split.images:
                found.setdefault(image.tobytes(), set()).add(name)
        return found

    images = pixels(60, 4, 4)
    expected = sides(images)
    assert {len(names) for names in expected.values()} == {1}
    assert set.union(*expected.values()) == {"train", "val", "test"}
    assert sides(np.concatenate([images[::-1], images])) == expected
    more = sides(np.concatenate([pixels(20, 4, 4, seed=1), images]))
    assert {image: more[image] for image in expected} == expected


def test_labels_may_be_missing(path: Path) -> None:
    data = load(save(path, train=pixels(30, 4, 4), test=pixels(3, 4, 4)))
    assert all(split.labels is None for split in data.splits.values())


def test_a_missing_val_split_comes_out_of_train(path: Path) -> None:
    train, test = pixels(200, 4, 4), pixels(9, 4, 4, seed=1)
    data = load(save(path, train=train, train_labels=np.arange(200), test=test))
    np.testing.assert_array_equal(data.split("test").images[..., 0], test)
    parts = [data.split(name) for name in ("train", "val")]
    # Each image falls into val with a chance of 1 in 10: of 200, 20 ± 5 standard
    # deviations of 4.2 each.
    assert 0 < len(parts[1]) <= 41
    for part in parts:
        np.testing.assert_array_equal(part.images[..., 0], train[part.labels])
    assert sorted(np.concatenate([p.labels for p in parts])) == list(range(200))


@pytest.mark.parametrize(
    ("extra", "listed"),
    [
        ({"extra": np.zeros(3)}, "'train', 'extra'"),
        ({"images": pixels(5, 4, 4)}, "'train', 'images'"),
        ({"x_train": pixels(5, 4, 4)}, "'train', 'x_train'"),
        ({"val_labels": np.zeros(5, int)}, "'train', 'val_labels'"),  # no val
        ({"labels": np.zeros(5, int)}, "'train', 'labels'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_array_left_over_is_refused(path: Path, extra: Any, listed: str) -> None:
    source = save(path, train=pixels(5, 4, 4), **extra)
    assert problem(load, source) == (
        f"{path} must hold arrays named train, val and test, or one named images "
        f"(with train_labels, ..., or labels), got {listed}"
    )


def test_an_archive_without_images_is_refused(path: Path) -> None:
    assert problem(load, save(path)).endswith("or labels), got nothing")
    source = save(path, labels=np.zeros(3, int))
    assert problem(load, source).endswith("or labels), got 'labels'")


def test_a_thousand_arrays_do_not_make_a_message_of_a_thousand_names(
    path: Path,
) -> None:
    zipped(path, *((f"array {i}.npy", npy("()", body=b"\0")) for i in range(1000)))
    first = ", ".join(f"'array {i}'" for i in range(8))
    assert problem(load, str(path)).endswith(f"got {first}, ...")


def test_names_that_would_break_a_line_are_written_out(path: Path) -> None:
    zipped(path, ("a\nb\x1b.npy", npy("(1,)", body=b"\0")))
    assert problem(load, str(path)).endswith(r"got 'a\nb\x1b'")
    zipped(path, ("a\nb.npy", b""))
    assert r"'a\nb.npy'" in problem(load, str(path))


def images_of(data: ImageData) -> np.ndarray[Any, Any]:
    return data.everything().images


@pytest.mark.parametrize("name", ["images", "train"])
def test_all_together_are_in_the_order_of_the_file(path: Path, name: str) -> None:
    """Though they were divided, or a val split was taken out of them."""
    images = pixels(60, 4, 4)
    labels, more = np.arange(60), pixels(5, 4, 4, seed=1)
    arrays = {name: images, ("labels" if name == "images" else "train_labels"): labels}
    if name == "train":
        arrays |= {"test": more, "test_labels": np.arange(60, 65)}
        images = np.concatenate([images, more])
    data = load(save(path, **arrays), image_size=4, channels=3)
    assert len(data.split("val")) > 0
    whole = data.everything()
    np.testing.assert_array_equal(whole.images[..., 0], images)
    np.testing.assert_array_equal(whole.labels, np.arange(len(images)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_are_scaled_to_8(path: Path, order: str) -> None:
    """65535 becomes 255: by 257, rounded, where the nearest byte is one only."""
    wide = np.arange(65536).reshape(1, 256, 256).astype(f"{order}u2")
    found = images_of(load(save(path, images=wide))).reshape(-1)
    np.testing.assert_array_equal(found, np.rint(np.arange(65536) / 257))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "g"])
def test_floats_from_0_to_1_are_scaled_to_bytes(path: Path, dtype: str) -> None:
    every = np.arange(256).reshape(1, 16, 16)
    source = save(path, images=(every / 255).astype(dtype))
    np.testing.assert_array_equal(images_of(load(source))[..., 0], every)


@pytest.mark.parametrize("off", [-0.4, 0.4])
def test_floats_go_to_the_nearest_byte(path: Path, off: float) -> None:
    every = np.arange(1, 255).reshape(1, 2, 127)
    source = save(path, images=(every + off) / 255)
    np.testing.assert_array_equal(images_of(load(source))[..., 0], every)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.0, 255.0, "from 0 to 255"),
        (-1.0, 1.0, "from -1 to 1"),
        (0.5, 1.25, "from 0.5 to 1.25"),
        (2.0, 3.0, "from 2 to 3"),
        (0.0, np.inf, "from 0 to inf"),
        (0.0, np.nan, "from nan to nan"),
    ],
)
def test_other_floats_are_refused(path: Path, low, high, said: str) -> None:
    images = np.full((5, 4, 4), low, np.float32)
    images[2, 1, 3] = high
    assert problem(load, save(path, train=images)) == (
        f"{path}, train, holds float32 pixels {said}, expected uint8, uint16, or "
        "floats in [0, 1]"
    )


@pytest.mark.parametrize("dtype", ["bool", "i1", "i8", "u4", "c8", "U2", "V3"])
def test_other_kinds_of_pixels_are_refused(path: Path, dtype: str) -> None:
    source = save(path, train=np.zeros((5, 4, 4), dtype))
    expected = f"{path}, train, holds {np.dtype(dtype)} pixels, expected uint8, uint16"
    assert problem(load, source).startswith(expected)


@pytest.mark.parametrize(
    "shape", [(4, 4), (), (5, 4, 4, 2), (5, 4, 4, 4), (5, 0, 4), (1, 1, 5, 4, 3)]
)
def test_other_shapes_are_refused(path: Path, shape: tuple[int, ...]) -> None:
    message = problem(load, save(path, train=np.zeros(shape, np.uint8)))
    assert message == (
        f"{path}, train, holds {shape} uint8, expected images (N,H,W) or (N,H,W,C) "
        "with C = 1 or 3"
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first_is_told_how_to_mend_it(path: Path, channels: int) -> None:
    first = pixels(5, channels, 8, 6)
    message = problem(load, save(path, train=first))
    assert message.endswith("it looks channels-first: transpose it by (0, 2, 3, 1)")
    data = load(save(path, train=first.transpose(0, 2, 3, 1)))
    assert data.image_shape == (8, 6, channels)


def test_labels_where_images_were_meant_are_named_as_such(path: Path) -> None:
    for labels in (np.arange(5), np.arange(5)[:, None]):
        assert LABELS in problem(load, save(path, train=labels))


@pytest.mark.parametrize(
    "labels", [np.arange(4), np.arange(6), np.zeros((5, 2), int), np.zeros(5)], ids=str
)
def test_labels_that_do_not_match_are_refused(path: Path, labels) -> None:
    source = save(path, train=pixels(5, 4, 4), train_labels=labels)
    assert problem(load, source) == (
        f"{path}, labels of train, holds {labels.shape} {labels.dtype}, expected 5 "
        "whole numbers, a label an image"
    )


def test_labels_of_another_layout_are_refused(path: Path) -> None:
    source = save(path, images=pixels(6, 4, 4), labels=np.zeros((2, 3), int))
    assert "holds (2, 3) int64, expected 6 whole numbers" in problem(load, source)


def test_a_negative_label_is_refused(path: Path) -> None:
    source = save(path, images=pixels(3, 4, 4), labels=np.array([0, -2, 1]))
    assert problem(load, source).endswith("holds a negative label, -2")


def test_names_of_images_are_read(path: Path) -> None:
    names = np.array(["a/1", "b", "c"])
    single = load(save(path, images=pixels(3, 4, 4), names=names)).everything()
    np.testing.assert_array_equal(single.names, names)
    arrays = {"train": pixels(3, 4, 4), "train_names": names, "val": pixels(1, 4, 4)}
    data = load(save(path, **arrays))
    np.testing.assert_array_equal(data.split("train").names, names)
    assert data.split("val").names is None


def test_names_without_images_are_refused(path: Path) -> None:
    source = save(path, images=pixels(3, 4, 4), train_names=np.array(["a", "b", "c"]))
    assert problem(load, source).endswith("got 'images', 'train_names'")


@pytest.mark.parametrize(
    "names", [np.array(["a", "b"]), np.array([["a"]] * 3), np.arange(3)], ids=str
)
def test_names_that_do_not_match_are_refused(path: Path, names) -> None:
    source = save(path, train=pixels(3, 4, 4), train_names=names)
    assert problem(load, source) == (
        f"{path}, names of train, holds {names.shape} {names.dtype}, expected 3 texts, "
        "a name an image"
    )


def test_a_name_that_stands_twice_is_refused(path: Path) -> None:
    source = save(path, images=pixels(3, 4, 4), names=np.array(["a", "b", "a"]))
    assert problem(load, source) == f"{path}, names of images, holds a name twice"


def test_what_is_packed_is_read_as_it_was(path: Path) -> None:
    splits = {
        "train": Split(
            pixels(3, 4, 6, 3), np.array([2, 0, 1]), np.array(["a", "b", "ç"])
        ),
        "val": Split(pixels(2, 4, 6, 3, seed=1)),
        "test": Split(pixels(0, 4, 6, 3), names=np.array([], "U1")),
    }
    path.write_bytes(packed(splits))
    found = load(str(path)).splits
    assert list(found) == list(splits)
    for name, split in splits.items():
        for field in ("images", "labels", "names"):
            value, expected = getattr(found[name], field), getattr(split, field)
            assert (value is None) == (expected is None)
            if expected is not None:
                np.testing.assert_array_equal(value, expected)


def test_equal_splits_are_packed_alike_at_any_time(monkeypatch) -> None:
    splits = {"train": Split(pixels(3, 4, 6, 3), np.array([2, 0, 1]))}
    first = packed(splits)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert packed(splits) == first


@pytest.mark.parametrize("other", [(5, 4, 6), (5, 4, 4, 3)], ids=str)
def test_splits_of_different_shapes_are_refused(path: Path, other) -> None:
    source = save(path, train=pixels(5, 4, 4), test=pixels(*other))
    shapes = {"train": (4, 4, 1), "val": (4, 4, 1), "test": (*other[1:], 1)[:3]}
    expected = f"{path}: images differ in shape between splits: {shapes}"
    assert problem(load, source) == expected


def test_a_split_without_images_is_reported_when_it_is_asked_for(path: Path) -> None:
    data = load(save(path, train=pixels(40, 4, 4), val=pixels(0, 4, 4)))
    for name, there in (("val", "'val': 0"), ("test", "'train': 40")):
        message = problem(data.split, name)
        assert message.startswith(f"{path} has no images in its {name} split (it has ")
        assert there in message


def test_a_set_without_images_is_reported(path: Path) -> None:
    data = load(save(path, images=pixels(0, 4, 4)))
    assert problem(data.everything) == f"{path} has no images"
    assert "has no images in its train split" in problem(data.split, "train")
