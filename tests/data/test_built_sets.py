"""Sets that are built here: when, where to, and that they are there whole or not."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import problem
from data.emoji_font import disc, png, write_font
from training.faults import Fault, injected

from tinyvq import files
from tinyvq.data import CATALOG, _emoji, _photos, fetch, load, locate

NAMES = {f"{code:04x}" for code in range(0x1F400, 0x1F440)}


@pytest.fixture
def font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small font in the place of the system's; nothing is built yet."""
    path = tmp_path / "NotoColorEmoji.ttf"
    monkeypatch.setattr(_emoji, "FONTS", (path,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TINYVQ_DATA", raising=False)
    colours = {
        (int(name, 16),): png(disc((int(name[-2:], 16), 0, 9))) for name in NAMES
    }
    return write_font(path, colours)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "tinyvq" / "data" / "emoji"


def test_a_set_is_built_where_it_is_nowhere(
    font: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert locate("emoji") is None
    data = load("emoji")
    assert locate("emoji") == folder
    assert data.source == f"emoji in {folder}"
    assert data.class_names == CATALOG["emoji"].class_names
    assert data.image_shape == (64, 64, 3)
    whole = data.everything()
    assert whole.names is not None
    assert set(whole.names) == NAMES
    assert whole.labels is not None
    counts = {side: len(split) for side, split in data.splits.items()}
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"building emoji into {folder}/emoji.npz (licence: SIL Open Font License 1.1, "
        "Copyright 2022 Google Inc.)",
        f"{font} has 64 pictures; left out: none",
        f"writing emoji: {counts['train']} train, {counts['val']} val, "
        f"{counts['test']} test",
    ]


def test_a_set_is_built_once(
    font: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("emoji") == folder
    capsys.readouterr()
    font.unlink()
    assert fetch("emoji") == folder
    assert len(load("emoji").everything()) == 64
    assert capsys.readouterr().err == ""


def test_a_set_of_the_users_goes_first(
    font: Path, folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("TINYVQ_DATA", str(tmp_path / "own"))
    own = tmp_path / "own" / "emoji"
    own.mkdir(parents=True)
    fetch("emoji")
    capsys.readouterr()
    assert locate("emoji") == folder
    said = capsys.readouterr().err
    assert said == f"passing over {own}, for it has no emoji.npz\n"
    shutil.move(folder / "emoji.npz", own / "emoji.npz")
    assert locate("emoji") == own
    assert load("emoji").source == f"emoji in {own}"


def test_a_set_is_scaled_as_asked(font: Path) -> None:
    large, small = load("emoji"), load("emoji", image_size=32, channels=1)
    assert small.image_shape == (32, 32, 1)
    for side, split in small.splits.items():
        np.testing.assert_array_equal(split.names, large.splits[side].names)


def test_a_built_file_can_be_given_by_its_path(font: Path, folder: Path) -> None:
    by_name = load("emoji").everything()
    by_path = load(str(folder / "emoji.npz")).everything()
    np.testing.assert_array_equal(by_path.images, by_name.images)
    np.testing.assert_array_equal(by_path.labels, by_name.labels)
    np.testing.assert_array_equal(by_path.names, by_name.names)


def test_the_same_font_builds_the_same_file(font: Path, folder: Path) -> None:
    fetch("emoji")
    first = (folder / "emoji.npz").read_bytes()
    (folder / "emoji.npz").unlink()
    fetch("emoji")
    assert (folder / "emoji.npz").read_bytes() == first


def test_what_is_not_installed_is_told_at_once(
    font: Path, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    font.unlink()
    monkeypatch.setattr(_photos, "BACKGROUNDS", tmp_path)
    for name, package in (
        ("emoji", "fonts-noto-color-emoji"),
        ("photos", "mate-backgrounds"),
    ):
        for call in (load, fetch):
            message = problem(call, name)
            assert message.startswith(f"cannot build {name}: ")
            assert package in message
            assert "\n" not in message
    assert not folder.parent.exists()


def test_a_damaged_file_is_named_and_may_be_removed(font: Path, folder: Path) -> None:
    fetch("emoji")
    path = folder / "emoji.npz"
    path.write_bytes(path.read_bytes()[:-100])
    first, second = problem(load, "emoji").splitlines()
    assert first.startswith(f"{path} is not a .npz, or is damaged: ")
    assert second == "remove it, and emoji is built again"
    path.unlink()
    assert len(load("emoji").everything()) == 64


def test_an_impossible_place_is_told_before_the_work(
    font: Path, tmp_path: Path, monkeypatch
) -> None:
    """A file stands where the folder should be made, so that root fails, too."""
    (tmp_path / "cache").write_bytes(b"")
    monkeypatch.setattr(_emoji, "_draw", None)
    message = problem(load, "emoji")
    assert message.startswith("cannot build emoji: cannot make the folder ")
    assert str(tmp_path / "cache") in message


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.ERROR, Fault.DEAD])
@pytest.mark.parametrize("at", ["open .emoji.npz", "write .emoji.npz", "fsync .emoji"])
def test_a_full_or_broken_disk_leaves_no_set(
    font: Path, folder: Path, at: str, fault: Fault
) -> None:
    with injected(at, fault) as disk:
        message = problem(load, "emoji")
        assert disk.struck
    path = folder / "emoji.npz"
    assert message.startswith(f"cannot build emoji: cannot write {path}: ")
    assert locate("emoji") is None
    assert len(load("emoji").everything()) == 64


def interrupting(items: object, what: str, total: int) -> Iterator[object]:
    yield from list(items)[: total // 2]  # type: ignore[call-overload]
    raise KeyboardInterrupt


def test_ctrl_c_leaves_nothing(font: Path, folder: Path, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(_emoji, "track", interrupting)
        with pytest.raises(KeyboardInterrupt):
            load("emoji")
    assert list(folder.iterdir()) == []
    write_all = files._write_all

    def interrupted(fd: int, data: bytes) -> None:
        write_all(fd, data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, "_write_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load("emoji")
    assert list(folder.iterdir()) == []
    assert len(load("emoji").everything()) == 64
