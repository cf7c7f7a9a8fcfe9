"""What stands already is not lost, and what cannot be finished is not begun."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli.command_line import contents, fails, misused, noise, succeeds
from training.kind_examples import words_of
from training.run_examples import config_of, train_words


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Copy the trained run, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


# Files.


def test_encode_writes_over_nothing(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copy(images, tmp_path / "mine.npz"))
    before = mine.read_bytes()
    said = fails("encode", trained, mine, "--out", mine)
    assert f"{mine} is there already; choose another --out, or add --overwrite" in said
    assert mine.read_bytes() == before
    succeeds("encode", trained, mine, "--out", mine, "--overwrite")
    assert mine.read_bytes() != before


def test_augment_writes_over_nothing(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.npz"
    mine.write_text("mine")
    assert "is there already" in fails("augment", folder / "prior", "--out", mine)
    assert mine.read_text() == "mine"


def test_half_a_folder_of_new_images_is_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "more"
    words = ["augment", folder / "prior", "--per-class", 2, "--out", out]
    real, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        if len(written) == 4:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        return real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        said = fails(*words)
    assert said == f"error: cannot write into {out}: No space left on device"
    assert not list(tmp_path.iterdir())
    succeeds(*words)
    assert len(contents(tmp_path / "more")) == 6


WRITERS = {
    "sample": ["sample", "prior", "--grid", "1x3"],
    "complete": ["complete", "prior", "--count", 1],
    "interpolate": ["interpolate", "tokenizer", "--steps", 2],
    "reconstruct": ["reconstruct", "tokenizer"],
    "encode": ["encode", "tokenizer", "IMAGES", "--overwrite"],
    "augment": ["augment", "prior", "--per-class", 1],
    "report": ["report", "tokenizer"],
}
ENDINGS = {"encode": "npz", "augment": "npz", "report": "html"}


@pytest.mark.parametrize("command", WRITERS)
def test_a_place_is_made_before_what_is_put_there(
    command: str,
    folder: Path,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, run, *more = WRITERS[command]
    more = [labelled if word == "IMAGES" else word for word in more]
    out = tmp_path / "new" / "place" / f"a.{ENDINGS.get(command, 'png')}"
    words = [name, folder / str(run), *more, "--out"]
    succeeds(*words, out)
    assert list(contents(tmp_path)) == [out.relative_to(tmp_path).as_posix()]

    def too_early(*arguments: object, **options: object) -> None:
        raise AssertionError

    for module, function in (
        *[("_sample.generation", "draw_codes"), ("_given.generation", "complete")],
        *[("_given.generation", "interpolate"), ("_codes", "encoded")],
        *[("_inspect", "draw_reconstructions"), ("_report", "write_page")],
    ):
        monkeypatch.setattr(f"tinyvq.cli.{module}.{function}", too_early)
    (tmp_path / "file").write_text("mine")
    said = fails(*words, tmp_path / "file" / out.name)
    assert "a file is in its place" in said
    if command != "augment":  # which never writes over anything
        (tmp_path / "folder").mkdir()
        said = fails(*words, tmp_path / "folder")
        assert said.endswith("folder: it is there and is not a file")


def test_many_pictures_are_written_to_the_disk_at_once(
    folder: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, out = tmp_path / "codes.npz", tmp_path / "out"
    succeeds("encode", folder / "tokenizer", labelled, "--out", codes)
    real, synced = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd))[1])
    words = ["decode", folder / "tokenizer", codes, "--out", out]
    succeeds(*words)
    assert len(synced) < 5 < len(contents(out)) == 24
    before = contents(out)
    succeeds(*words, "--overwrite")  # each whole or not at all
    assert len(synced) > 24
    assert contents(out) == before


@pytest.mark.parametrize("name", ["a.png", "/etc/a.png"])
def test_names_that_decode_could_not_write_are_refused(
    name: str, trained: Path, tmp_path: Path
) -> None:
    mine, out = tmp_path / "mine.npz", tmp_path / "codes.npz"
    named = {f"{split}_names": [name] for split in ("train", "test")}
    np.savez(mine, train=noise(1), test=noise(1), **named)
    said = fails("encode", trained, mine, "--out", out)
    assert "two images one name" in said or "names within a folder" in said
    assert not out.exists()


# Runs.


def test_a_prior_is_told_what_is_wrong_before_it_begins(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "prior"
    words = words_of("prior", out, folder / "tokenizer", clip=0)
    assert "--clip must be above 0, got 0" in misused(*words)
    assert not out.exists()


@pytest.mark.parametrize("option", ["--num-codes", "--hidden", "--steps"])
def test_numbers_beyond_any_sense(option: str, images: Path, tmp_path: Path) -> None:
    words = train_words(tmp_path / "run", images, option, "100000000000000000000")
    assert f"{option} must be at most 2147483647" in misused(*words)
    words = ["augment", "fashion-prior", "--per-class", 10**19, "--out", tmp_path / "a"]
    assert "--per-class must be at most 2147483647" in misused(*words)
    digits = "1" * 5000
    said = fails("sample", "fashion-prior", "--class", digits, "--out", tmp_path / "b")
    assert "--class must be 0 .. 9" in said
    assert not list(tmp_path.iterdir())


def test_a_run_in_tf32_goes_on_without(run: Path, images: Path) -> None:
    config = config_of(run)
    config["options"] |= {"backend": "cuda", "tf32": True}
    (run / "config.json").write_text(json.dumps(config))
    words = ["train", "vqvae", "--out", run, "--resume", "--backend", "cpu"]
    assert "resumed elsewhere by --no-tf32" in misused(*words)
    succeeds(*words, "--no-tf32")


@pytest.mark.usefixtures("no_figures")
def test_a_run_that_got_more_steps_says_so(run: Path) -> None:
    steps = config_of(run)["options"]["steps"]
    words = ["train", "vqvae", "--out", run, "--resume"]
    assert "beyond" not in succeeds(*words).err
    succeeds(*words, "--steps", steps + 2)
    said = succeeds(*words).err
    assert f"is at step {steps + 2}, beyond --steps {steps}" in said


def test_a_page_of_a_folder_that_others_use_too(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "curve.png", run / "samples" / "mine.png")
    shutil.copy(run / "curve.png", run / "samples" / "step-x.png")
    succeeds("report", run)
    assert b"mine.png" not in (run / "report.html").read_bytes()
    config = config_of(run)
    for change in ({"kind": "other"}, {"options": {"steps": None}}):
        (run / "config.json").write_text(json.dumps(config | change))
        before = contents(run)
        fails("report", run)
        assert contents(run) == before


def test_a_picture_holds_only_so_many(trained: Path, tmp_path: Path) -> None:
    words = ["reconstruct", trained, "--out", tmp_path / "a.png", "--count", 5001]
    assert "one picture holds at most 10,000 images" in misused(*words)
