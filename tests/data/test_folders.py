"""Folders of pictures: which are read, their splits, classes and names."""

import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import pixels, png, problem, write_picture
from required import library

from tinyvq.data import ImageData, _folder, load


def fill(folder: Path, names: Iterable[str], seed: int = 0, size: int = 4) -> None:
    for i, name in enumerate(names):
        array = pixels(size, size, seed=seed + i)
        write_picture(folder / name, array)


def numbered(count: int) -> list[str]:
    return [f"{i:03d}.png" for i in range(count)]


def sides(data: ImageData) -> dict[str, str]:
    return {n: side for side, split in data.splits.items() for n in split.names}


def test_every_picture_is_read_once_under_its_name(tmp_path: Path) -> None:
    names = ["b.png", "a.PNG", "deep/er/a.webp", "deep/x.png", "with space.JPEG"]
    for i, name in enumerate(names):
        write_picture(tmp_path / name, np.full((4, 4), 20 * i, np.uint8))
    whole = load(str(tmp_path)).everything()
    assert list(whole.names) == sorted(names)
    order = [names.index(name) for name in whole.names]
    np.testing.assert_array_equal(whole.images[:, 0, 0, 0], [20 * i for i in order])


def test_the_same_folder_gives_the_same_data(tmp_path: Path) -> None:
    fill(tmp_path / "one", numbered(30))
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere")
    one, other = (load(str(tmp_path / name)) for name in ("one", "elsewhere"))
    for name in one.splits:
        np.testing.assert_array_equal(one.splits[name].names, other.splits[name].names)
        images = one.splits[name].images
        np.testing.assert_array_equal(images, other.splits[name].images)


def test_pictures_are_split_by_their_content(tmp_path: Path) -> None:
    fill(tmp_path, numbered(300))
    data = load(str(tmp_path))
    # 8, 1 and 1 in 10: of 300, 240 and 30 ± 5 standard deviations, 6.9 and 5.2.
    assert 240 - 35 <= len(data.split("train")) <= 240 + 35
    assert 4 <= len(data.split("val")) <= 56
    assert 4 <= len(data.split("test")) <= 56
    assert sorted(sides(data)) == numbered(300)


def test_equal_pictures_stand_on_one_side(tmp_path: Path) -> None:
    fill(tmp_path, numbered(40))
    for name in numbered(40):
        shutil.copy(tmp_path / name, tmp_path / f"copy of {name}")
        (tmp_path / "deep").mkdir(exist_ok=True)
        shutil.copy(tmp_path / name, tmp_path / "deep" / name)
    found = sides(load(str(tmp_path)))
    assert set(found.values()) == {"train", "val", "test"}
    for name in numbered(40):
        assert found[name] == found[f"copy of {name}"] == found[f"deep/{name}"]


def test_adding_removing_or_renaming_moves_no_other_picture(tmp_path: Path) -> None:
    fill(tmp_path, numbered(60))
    before = sides(load(str(tmp_path)))
    fill(tmp_path, ["000-a.png", "new/b.png", "zzz.png"], seed=1000)
    (tmp_path / "003.png").unlink()
    (tmp_path / "004.png").rename(tmp_path / "z004.png")
    after = sides(load(str(tmp_path)))
    assert len(after) == 62
    assert after["z004.png"] == before["004.png"]
    for name in set(before) - {"003.png", "004.png"}:
        assert after[name] == before[name]


def test_the_sides_are_the_same_at_any_size_and_colour(tmp_path: Path) -> None:
    fill(tmp_path, numbered(40))
    expected = sides(load(str(tmp_path)))
    assert sides(load(str(tmp_path), image_size=8, channels=3)) == expected


def test_folders_of_splits_are_the_splits(tmp_path: Path) -> None:
    names = ["train/a.png", "train/b.png", "val/c.png", "test/d.png", "test/deep/e.png"]
    fill(tmp_path, names)
    data = load(str(tmp_path))
    assert list(data.splits) == ["train", "val", "test"]
    assert sides(data) == {name: name.split("/")[0] for name in names}


def test_a_missing_val_comes_out_of_train(tmp_path: Path) -> None:
    fill(tmp_path / "train", numbered(100))
    fill(tmp_path / "test", numbered(5), seed=500)
    data = load(str(tmp_path))
    # 1 in 10: 10 ± 5 standard deviations of 3.
    assert 0 < len(data.split("val")) <= 25
    assert len(data.split("train")) + len(data.split("val")) == 100
    assert all(name.startswith("train/") for name in data.split("val").names)
    assert len(data.split("test")) == 5
    # By the content of the files: the same ones at any size.
    assert sides(load(str(tmp_path), image_size=2, channels=3)) == sides(data)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *[("Train", "train"), ("training", "train"), ("valid", "val"), ("VAL", "val")],
        *[("Validation", "val"), ("testing", "test"), ("TEST", "test")],
    ],
)
def test_folders_named_almost_as_splits_are_refused(
    tmp_path: Path, name: str, meant: str
) -> None:
    fill(tmp_path, ["train/1.png" if meant != "train" else "val/1.png"])
    fill(tmp_path, [f"{name}/2.png"])
    assert problem(load, str(tmp_path)) == (
        f"{tmp_path} holds the folder {name}: folders of splits are named train, val "
        f"and test; name it {meant}"
    )


def test_pictures_beside_folders_of_splits_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["train/a.png", "test/b.png", "stray.png", "other/c.png"])
    assert problem(load, str(tmp_path)) == (
        f"{tmp_path} holds train, test and also other, stray.png; where there are "
        "folders of splits, every picture must be in one"
    )


@pytest.mark.parametrize("above", ["", "train/"])
def test_folders_are_classes(tmp_path: Path, above: str) -> None:
    names = [f"{above}{kind}/{i}.png" for kind in ("dog", "cat", "emu") for i in "123"]
    names += [f"{above}cat/more/4.png"]
    fill(tmp_path, names)
    data = load(str(tmp_path))
    assert data.class_names == ("cat", "dog", "emu")
    whole = data.everything()
    for name, label in zip(whole.names, whole.labels, strict=True):
        assert name.startswith(f"{above}{data.class_names[label]}/")


def test_pictures_without_a_folder_of_their_own_have_no_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, ["cat/1.png", "2.png"])
    data = load(str(tmp_path))
    assert data.class_names == ()
    assert data.everything().labels is None
    assert capsys.readouterr().err == (
        f"{tmp_path}: 1 of 2 pictures lie outside a folder of a class, so that none "
        "has one: 2.png\n"
    )


def test_a_picture_outside_a_class_takes_the_classes_of_its_split_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "val/emu/4.png"]
    fill(tmp_path, [*names, "test/5.png", "test/6.png"])
    data = load(str(tmp_path))
    assert data.class_names == ("cat", "dog", "emu")
    assert data.split("train").labels.tolist() == [0, 1]
    assert data.split("val").labels.tolist() == [1, 2]
    assert data.split("test").labels is None
    assert capsys.readouterr().err == ""  # of a whole split, it is meant
    fill(tmp_path, ["train/7.png", "train/8.png"], seed=7)
    data = load(str(tmp_path))
    assert data.class_names == ("dog", "emu")
    assert data.split("train").labels is None
    assert data.split("val").labels.tolist() == [0, 1]
    assert capsys.readouterr().err == (
        f"{tmp_path / 'train'}: 2 of 4 pictures lie outside a folder of a class, so "
        "that none has one: train/7.png, ...\n"
    )


def test_other_files_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, ["1.png", "2.png"])
    (tmp_path / "deep").mkdir()
    others = ["a.txt", "b.gif", "deep/c.json", "d.png.part", "noextension"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    assert len(load(str(tmp_path)).everything()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    shown = "a.txt, b.gif, d.png.part, ..."
    assert err == f"{tmp_path}: passing over 5 other files: {shown}\n"


def test_nothing_is_reported_where_there_is_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hidden files are the system's own, and none of the user's business."""
    fill(tmp_path, ["1.png", ".2.png", ".hidden/3.png", "._1.png"])
    (tmp_path / ".DS_Store").write_bytes(b"")
    assert list(load(str(tmp_path)).everything().names) == ["1.png"]
    assert capsys.readouterr() == ("", "")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    expected = f"{tmp_path} holds no PNG, JPEG or WebP pictures"
    assert problem(load, str(tmp_path)) == expected
    (tmp_path / "deep" / "er").mkdir(parents=True)
    fill(tmp_path, [".hidden.png"])
    assert problem(load, str(tmp_path)) == expected


def test_a_folder_of_other_files_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    expected = f"{tmp_path} holds no PNG, JPEG or WebP pictures"
    assert problem(load, str(tmp_path)) == expected
    assert "passing over 1 other files: notes.txt" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path,
) -> None:
    fill(tmp_path, numbered(20))
    path = tmp_path / "007.png"
    path.write_text("text")
    message = problem(load, str(tmp_path))
    assert message == f"{path} is not a PNG, JPEG or WebP picture"


def test_pictures_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    """Ten of them, in order, whatever is wrong with each."""
    fill(tmp_path, numbered(40))
    write_picture(tmp_path / "030.png", pixels(4, 6))  # of another size, after those
    (tmp_path / "007.png").write_text("text")
    whole = (tmp_path / "013.png").read_bytes()
    (tmp_path / "013.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.webp").write_text("text")
    message = problem(load, str(tmp_path))
    many = f"files in {tmp_path} are not PNG, JPEG or WebP pictures that can be read"
    assert message == f"3 {many}: 007.png, 013.png, below/a.webp"
    for number in range(12):
        (tmp_path / f"{number:03d}.png").write_text("text")
    message = problem(load, str(tmp_path))
    names = ", ".join(f"{number:03d}.png" for number in range(10))
    assert message == f"14 {many}: {names} and 4 more"


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["cat/1.png", "cat/2.png"])
    write_picture(tmp_path / "dog/1.png", pixels(4, 6))
    assert problem(load, str(tmp_path)) == (
        f"{tmp_path} holds pictures of different sizes: cat/1.png is 4×4, dog/1.png "
        "6×4; --image-size 64, say, scales and crops all to squares; with a trained "
        "run --fit does, to its size"
    )
    assert load(str(tmp_path), image_size=3).image_shape == (3, 3, 1)


def test_reading_stops_at_the_first_picture_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most, each thread has taken one more when the first is looked at."""
    fill(tmp_path, numbered(200))
    write_picture(tmp_path / "001.png", pixels(4, 6))
    read: list[Path] = []
    real = _folder._read
    monkeypatch.setattr(_folder.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(
        _folder, "_read", lambda path, size: (read.append(path), real(path, size))[1]
    )
    assert "different sizes: 000.png is 4×4, 001.png 6×4" in problem(
        load, str(tmp_path)
    )
    assert len(read) < 200


def test_more_pictures_than_memory_allows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, numbered(10))
    monkeypatch.setattr(_folder, "MAX_BYTES", 10 * 16)
    assert len(load(str(tmp_path)).everything()) == 10
    monkeypatch.setattr(_folder, "MAX_BYTES", 10 * 16 - 1)
    message = problem(load, str(tmp_path))
    assert message.startswith(
        f"{tmp_path} holds 10 pictures of 4×4, more than 159 bytes; --image-size"
    )


def test_grey_and_colour_together_are_colour(tmp_path: Path) -> None:
    grey, colour = pixels(4, 4), pixels(4, 4, 3)
    write_picture(tmp_path / "1.png", grey)
    write_picture(tmp_path / "2.png", colour)
    images = load(str(tmp_path)).everything().images
    np.testing.assert_array_equal(images[0], np.dstack([grey] * 3))
    np.testing.assert_array_equal(images[1], colour)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_forced(tmp_path: Path, channels: int) -> None:
    colour = pixels(4, 4, 3)
    fill(tmp_path, ["1.png"])
    write_picture(tmp_path / "2.png", colour)
    data = load(str(tmp_path), channels=channels)
    assert data.image_shape == (4, 4, channels)
    if channels == 1:
        # ITU-R BT.601, to a rounding.
        luma = colour @ np.array([0.299, 0.587, 0.114])
        assert np.abs(data.everything().images[1, ..., 0] - luma).max() <= 0.5 + 1e-9


def test_links_are_followed(tmp_path: Path) -> None:
    away = tmp_path / "away"
    fill(away, ["cat/1.png", "2.png"])
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "cats").symlink_to(away / "cat")
    (folder / "dog").mkdir()
    (folder / "dog" / "3.png").symlink_to(away / "2.png")
    data = load(str(folder))
    assert list(data.everything().names) == ["cats/1.png", "dog/3.png"]
    assert data.class_names == ("cats", "dog")


def test_links_that_lead_in_circles_are_reported_and_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "over").symlink_to("../a")
    (tmp_path / "self").symlink_to("self")
    whole = load(str(tmp_path)).everything()
    assert list(whole.names) == ["a/1.png", "b/2.png"]
    shown = "self, a/up, b/over"
    assert capsys.readouterr().err.endswith(f"over 3 other files: {shown}\n")


def test_many_folders_that_link_to_each_other_are_read_once(tmp_path: Path) -> None:
    """Following every path would take 12! steps."""
    for i in range(12):
        fill(tmp_path, [f"{i:02d}/1.png"], seed=i)
        for j in range(12):
            (tmp_path / f"{i:02d}" / f"to{j}").symlink_to(f"../{j:02d}")
    assert len(load(str(tmp_path)).everything()) == 12


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its pictures would be missing unseen. Root may list all, so it is played."""
    fill(tmp_path, ["a/1.png", "b/2.png"])
    real = Path.iterdir

    def iterdir(path: Path) -> Iterable[Path]:
        if path.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    expected = f"cannot list {tmp_path / 'b'}: Permission denied"
    assert problem(load, str(tmp_path)) == expected


def test_names_that_are_no_utf_8_are_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    write_picture(path, pixels(4, 4))
    assert list(load(str(tmp_path)).everything().names) == ["\udcff\udcfe.png"]


def test_threads_leave_pythons_warnings_as_they_were(tmp_path: Path) -> None:
    fill(tmp_path, numbered(100))
    before = list(warnings.filters)
    for _ in range(5):
        load(str(tmp_path))
    assert warnings.filters == before


def test_pillows_warnings_reach_nobody(tmp_path: Path) -> None:
    """It warns of a picture of 144 million pixels; warnings are errors here."""
    library("PIL")
    (tmp_path / "1.png").write_bytes(png(12_000, 12_000, bytes(1000)))
    expected = f"{tmp_path / '1.png'} has more than 64000000 pixels"
    assert problem(load, str(tmp_path)) == expected
