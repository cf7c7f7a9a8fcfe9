"""Whatever is wrong with what is given: one or two clear lines, and nothing lost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli.command_line import (
    BAD_DATA,
    contents,
    fails,
    noise,
    pictures,
    splits,
    succeeds,
    tinyvq,
)
from required import library
from training.run_examples import train_words

library("tyro")

from tinyvq.cli._check import ALL_SPECS  # noqa: E402

BadData = Callable[[Path], Path]


@pytest.mark.parametrize("make", BAD_DATA)
@pytest.mark.parametrize("command", ["train", "evaluate", "reconstruct", "encode"])
def test_bad_images(
    make: BadData, command: str, trained: Path, images: Path, tmp_path: Path
) -> None:
    bad = make(tmp_path)
    out = tmp_path / "out"
    words: dict[str, list[object]] = {
        "train": [*train_words(out, bad)],
        "evaluate": ["evaluate", trained, "--data", bad, "--json"],
        "reconstruct": ["reconstruct", trained, "--data", bad, "--out", out],
        "encode": ["encode", trained, bad, "--out", out],
    }
    before = contents(trained)
    said = fails(*words[command])
    assert BAD_DATA[make] in said
    assert str(bad) in said
    assert not out.exists()
    assert contents(trained) == before


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [
        (16, 3, "has images of 16×16 pixels, colour, the model in "),
        (18, 1, "has images of 18×18 pixels, grey, the model in "),
        (2, 1, "has images of 2×2 pixels, grey, the model in "),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "reconstruct", "encode"])
def test_images_of_another_size_or_channels_than_the_model_takes(
    size: int, channels: int, message: str, command: str, trained: Path, tmp_path: Path
) -> None:
    other = splits(tmp_path / "other.npz", size, channels)
    out = tmp_path / ("out.npz" if command == "encode" else "out.png")
    words: dict[str, list[object]] = {
        "evaluate": ["--data", other],
        "reconstruct": ["--data", other, "--out", out],
        "encode": [other, "--out", out],
    }
    said = fails(command, trained, *words[command])
    assert said.startswith(f"error: {other} {message}")
    assert said.endswith("--fit resizes, crops and recolours")
    assert not out.exists()
    succeeds(command, trained, *words[command], "--fit")


def test_the_dense_model_takes_one_size_alone(dense: Path, tmp_path: Path) -> None:
    larger = splits(tmp_path / "larger.npz", size=20)
    assert "has images of 20×20 pixels" in fails("evaluate", dense, "--data", larger)


def test_fit_makes_squares_alone(tmp_path: Path) -> None:
    images = noise(24, 16)[:, :8]  # 8×16
    np.savez(tmp_path / "wide.npz", train=images[:12], val=images[12:], test=images[:6])
    run = tmp_path / "run"
    succeeds(*train_words(run, tmp_path / "wide.npz", steps=1))
    other = splits(tmp_path / "other.npz")
    said = fails("evaluate", run, "--data", other, "--fit")
    assert "takes images of 8×16 pixels" in said


def test_sizes_that_the_network_cannot_take(tmp_path: Path) -> None:
    for model in ("conv", "dense"):
        odd = splits(tmp_path / "odd.npz", size=15)
        said = fails(*train_words(tmp_path / "run", odd, model=model))
        assert "images are 15×15 pixels, but the network needs sizes that" in said
        assert "choose one with --image-size" in said
        assert not (tmp_path / "run").exists()  # the same --out works once mended


def test_pictures_of_different_sizes(tmp_path: Path) -> None:
    mixed = pictures(tmp_path / "mixed", 16, 20)
    said = fails(*train_words(tmp_path / "run", mixed))
    assert "000.png is 16×16, 001.png 20×20; --image-size 64, say, scales" in said


def test_pictures_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    bad = pictures(tmp_path / "bad", 16, 16, 20)  # of different sizes, too
    words = train_words(tmp_path / "run", bad)
    for name in ("000.png", "b.jpg", "c.png"):
        (bad / name).write_text("not a picture")
    many = "files in {} are not PNG, JPEG or WebP pictures that can be read: "
    said = fails(*words)
    assert said == f"error: 3 {many.format(bad)}000.png, b.jpg, c.png"


def test_too_few_images_for_a_split(tmp_path: Path) -> None:
    few = pictures(tmp_path / "few", 16)
    said = fails(*train_words(tmp_path / "run", few))
    assert "has no images in its " in said


def test_a_batch_of_more_images_than_there_are(images: Path, tmp_path: Path) -> None:
    said = fails(*train_words(tmp_path / "run", images, batch_size=13))
    assert "--batch-size 13 is more than the 12 training images" in said


def test_images_without_any_difference(tmp_path: Path) -> None:
    grey = np.full((12, 16, 16), 7, np.uint8)
    np.savez(tmp_path / "grey.npz", train=grey, val=grey, test=grey)
    said = fails(*train_words(tmp_path / "run", tmp_path / "grey.npz"))
    assert "all training pixels are alike" in said


# Options.


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("decay", 1, "decay"),
        ("decay", -0.5, "decay"),
        ("restart_below", 1.5, "restart_below"),
        ("commitment", -1, "commitment"),
    ],
)
def test_settings_that_make_no_sense_leave_no_run_behind(
    images: Path, tmp_path: Path, option: str, value: float, message: str
) -> None:
    run = tmp_path / "run"
    assert message in fails(*train_words(run, images, **{option: value}))
    assert not run.exists()
    succeeds(*train_words(run, images, steps=1))


def test_more_memory_than_there_is(images: Path, tmp_path: Path) -> None:
    said = fails(*train_words(tmp_path / "run", images, num_codes=2**31 - 1))
    assert said.startswith("error: not enough memory")
    assert not (tmp_path / "run").exists()


def test_names_that_are_not_known() -> None:
    assert "there is: fashion-mnist-5k" in fails("data", "fetch", "nothing")
    said = fails("gradcheck", "nothing")
    assert said == (
        "error: there is no check nothing; `tinyvq gradcheck --help` names all"
    )
    listed = succeeds("gradcheck", "--help").out
    assert "NAME is one of add, sub, " in listed
    assert all(spec.name in listed for spec in ALL_SPECS)
    for near, meant in (("huber", "huber_loss"), ("lay", "layer_norm")):
        said = fails("gradcheck", near)
        assert said == f"error: there is no check {near}; do you mean {meant}?"
    said = fails("gradcheck", "VectorQuantizer")
    assert said.startswith("error: there is no check VectorQuantizer; do you mean Vec")
    assert said.count("VectorQuantizer(") == 5


def test_an_unforeseen_error_of_the_system_is_one_line(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyvq.cli import _inspect

    def fail(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(_inspect, "load_autoencoder", fail)
    said = fails("evaluate", trained)
    assert said == "error: Permission denied: /somewhere"


def test_a_bug_is_not_hidden(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyvq.cli import _inspect

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_inspect, "load_autoencoder", fail)
    with pytest.raises(ZeroDivisionError):
        tinyvq("evaluate", trained)
