"""The door to all images: names and paths, sizes and colours, and what it refuses."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import idx, pixels, problem, write_picture
from required import library

from tinyvq.data import CATALOG, load, read_picture


def write_npz(path: Path, *shape: int) -> str:
    np.savez(path, images=pixels(*shape))
    return str(path)


def test_a_source_that_is_nowhere_is_told_with_the_names(tmp_path: Path) -> None:
    source = str(tmp_path / "nowhere")
    names = ", ".join(CATALOG)
    assert problem(load, source) == (
        f"{source} is neither a file or folder nor a name; the names are {names}"
    )
    assert names == "fashion-mnist-5k, fashion-mnist, mnist, emoji, photos"


@pytest.mark.parametrize("source", ["", "a\0b", "no/such/folder/at.all"])
def test_a_source_that_is_no_path_is_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert problem(load, source)


def test_a_name_that_is_too_long_is_refused() -> None:
    source = "a" * 300
    assert problem(load, source) == f"cannot read {source}: File name too long"


def test_a_single_picture_is_told_from_a_set(tmp_path: Path) -> None:
    for name in ("1.png", "2.JPG"):
        path = write_picture(tmp_path / name, pixels(4, 4))
        expected = f"{path} is a single picture; give the folder that it is in"
        assert problem(load, str(path)) == expected


def test_a_path_that_is_called_as_a_set_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = pixels(4, 4)
    for name in ("photos", "emoji"):
        write_picture(tmp_path / name / "a.png", image)
    (tmp_path / "mnist").write_bytes(idx(image[None]))
    for name, kind in (("photos", "folder"), ("emoji", "folder"), ("mnist", "file")):
        assert problem(load, name) == (
            f"{name} is both a {kind} here and a built-in set; write ./{name} for the "
            f"{kind}, or go to another folder for the set"
        )
        for path in (f"./{name}", str(tmp_path / name)):
            (found,) = load(path).everything().images[..., 0]
            np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("flat.zip", "unpack it and give the folder"),
        ("flat.TAR.GZ", "unpack it and give the folder"),
        ("a.npy", "np.savez('images.npz', images=array) makes one of an array"),
        ("a.gif", "convert it to PNG and give the folder that it is in"),
    ],
)
def test_files_of_other_kinds_are_told_what_is_taken(
    tmp_path: Path, name: str, advice: str
) -> None:
    (tmp_path / name).write_bytes(b"GIF89a, say")
    assert problem(load, str(tmp_path / name)) == (
        f"{tmp_path / name}: images are a folder of PNG, JPEG or WebP pictures, an "
        f".npz or an idx file; {advice}"
    )


def test_the_ending_of_an_npz_may_be_upper_case(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "a.npz", 5, 4, 4)
    other = str(Path(source).rename(tmp_path / "a.NPZ"))
    assert len(load(other).everything()) == 5


@pytest.mark.parametrize("name", ["a.npz", "a.idx", "a"])
def test_text_is_refused_under_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("some text\n" * 9)
    kind = "a .npz, or is damaged" if name == "a.npz" else "an idx file"
    assert problem(load, str(path)).startswith(f"{path} is not {kind}: ")


def write_idx_folder(folder: Path, **counts: int) -> str:
    folder.mkdir(exist_ok=True)
    for i, (name, count) in enumerate(counts.items()):
        start = {"train": "train", "test": "t10k"}[name]
        images = gzip.compress(idx(pixels(count, 4, 6, seed=i)))
        (folder / f"{start}-images-idx3-ubyte.gz").write_bytes(images)
        labels = idx(np.arange(count, dtype=np.uint8))
        (folder / f"{start}-labels-idx1-ubyte").write_bytes(labels)
    return str(folder)


def test_a_folder_of_idx_files_is_a_set(tmp_path: Path) -> None:
    data = load(write_idx_folder(tmp_path, train=100, test=7))
    assert list(data.splits) == ["train", "val", "test"]
    test = data.split("test")
    np.testing.assert_array_equal(test.images[..., 0], pixels(7, 4, 6, seed=1))
    np.testing.assert_array_equal(test.labels, np.arange(7))
    train = pixels(100, 4, 6)
    for name in ("train", "val"):
        split = data.split(name)
        np.testing.assert_array_equal(split.images[..., 0], train[split.labels])
    assert len(data.split("train")) + len(data.split("val")) == 100


def test_idx_files_may_be_written_with_a_dot_and_without_labels(tmp_path: Path) -> None:
    path = tmp_path / "train-images.idx3-ubyte"
    path.write_bytes(idx(pixels(40, 4, 6)))
    data = load(str(tmp_path))
    assert len(data.everything()) == 40
    assert data.everything().labels is None


def test_images_without_splits_are_told_from_others(tmp_path: Path) -> None:
    """Also when they were changed."""
    images = pixels(40, 4, 4)
    np.savez(tmp_path / "one.npz", images=images)
    np.savez(tmp_path / "split.npz", train=images[:30], test=images[30:])
    (tmp_path / "images-idx3-ubyte").write_bytes(idx(images))
    idx_folder = write_idx_folder(tmp_path / "idx", train=40, test=7)
    for place in ("loose", "parts/train", "parts/test"):
        write_picture(tmp_path / place / "a.png", images[0])
    for source, undivided in (
        *[("one.npz", True), ("images-idx3-ubyte", True), ("loose", True)],
        *[("split.npz", False), ("parts", False), (idx_folder, False)],
        ("fashion-mnist-5k", False),
    ):
        place = source if source == "fashion-mnist-5k" else str(tmp_path / source)
        assert load(place).undivided == undivided
        assert load(place, image_size=5, channels=3).undivided == undivided


def test_a_folder_of_idx_files_without_train_is_refused(tmp_path: Path) -> None:
    source = write_idx_folder(tmp_path, test=7)
    expected = f"{source} holds no train-images-idx3-ubyte (.gz)"
    assert problem(load, source) == expected


def test_labels_and_images_of_idx_files_must_match(tmp_path: Path) -> None:
    source = write_idx_folder(tmp_path, train=9)
    labels = tmp_path / "train-labels-idx1-ubyte"
    images = tmp_path / "train-images-idx3-ubyte.gz"
    labels.write_bytes(idx(pixels(8)))
    assert problem(load, source) == (
        f"{labels} holds (8,) uint8, expected 9 whole numbers, a label an image"
    )
    labels.write_bytes(idx(pixels(9, 4, 6)))
    assert problem(load, source).startswith(f"{labels} holds (9, 4, 6) uint8, expected")
    images.write_bytes(idx(pixels(9)))
    assert "labels, it seems, where images" in problem(load, source)


def test_idx_files_of_different_sizes_are_refused(tmp_path: Path) -> None:
    source = write_idx_folder(tmp_path, train=9, test=5)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(idx(pixels(5, 6, 4)))
    shapes = {"train": (4, 6, 1), "val": (4, 6, 1), "test": (6, 4, 1)}
    expected = f"{source}: images differ in shape between splits: {shapes}"
    assert problem(load, source) == expected


@pytest.mark.parametrize("size", [0, -1, 8001, 10**9])
def test_an_image_size_out_of_range_is_refused(tmp_path: Path, size: int) -> None:
    source = write_npz(tmp_path / "a.npz", 5, 4, 4)
    expected = f"the image size must be 1 .. 8000, got {size}"
    assert problem(load, source, image_size=size) == expected


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_channels_other_than_1_and_3_are_refused(tmp_path: Path, channels: int) -> None:
    source = write_npz(tmp_path / "a.npz", 5, 4, 4, 3)
    expected = f"channels must be 1 (grey) or 3 (colour), got {channels}"
    assert problem(load, source, channels=channels) == expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(12, 12), (12, 20), (20, 12)])
def test_arrays_are_resized_just_as_pictures_are(tmp_path, channels, shape) -> None:
    library("PIL")
    images = pixels(20, *shape, channels)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(20))
    data = load(str(tmp_path / "a.npz"), image_size=8)
    assert data.image_shape == (8, 8, channels)
    whole = data.everything()
    for image, label in zip(whole.images, whole.labels, strict=True):
        original = images[label, ..., 0] if channels == 1 else images[label]
        path = write_picture(tmp_path / "one.png", original)
        np.testing.assert_array_equal(image, read_picture(path, 8))


def test_grey_becomes_colour_and_colour_grey(tmp_path: Path) -> None:
    grey, colour = pixels(1, 4, 4), pixels(1, 4, 4, 3)
    np.savez(tmp_path / "grey.npz", images=grey)
    np.savez(tmp_path / "colour.npz", images=colour)
    found = load(str(tmp_path / "grey.npz"), channels=3).everything().images
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=-1))
    found = load(str(tmp_path / "colour.npz"), channels=1).everything().images
    # ITU-R BT.601 in thousandths, whose rounding is exact.
    luma = colour.astype(int) @ np.array([299, 587, 114])
    np.testing.assert_array_equal(found[..., 0], np.floor(luma / 1000 + 0.5))


def test_black_and_white_stay_black_and_white(tmp_path: Path) -> None:
    library("PIL")
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[1] = 255
    np.savez(tmp_path / "a.npz", train=images, val=images, test=images)
    data = load(str(tmp_path / "a.npz"), channels=1, image_size=3)
    np.testing.assert_array_equal(data.split("test").images[:, 1, 1, 0], [0, 255])
