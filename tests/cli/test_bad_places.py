"""Run folders, codes and places that are not what they should be; a full disk."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.command_line import (
    contents,
    fails,
    pictures,
    splits,
    succeeds,
)
from training.run_examples import (
    assert_same_run,
    config_of,
    environment,
    resume_words,
    train_words,
)

from tinyvq.training import checkpoint

# Run folders.


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Copy the trained run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


COMMANDS = ["evaluate", "reconstruct", "encode", "decode", "resume"]


def use(command: str, run: Path, images: Path, out: Path) -> list[object]:
    codes = out.with_name("codes.npz")
    np.savez(codes, indices=np.zeros((1, 4, 4), np.int64))
    return {
        "evaluate": ["evaluate", run, "--json"],
        "reconstruct": ["reconstruct", run, "--out", out],
        "encode": ["encode", run, images, "--out", out],
        "decode": ["decode", run, codes, "--out", out],
        "resume": ["train", "vqvae", "--out", run, "--resume"],
    }[command]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["missing", "file", "folder"])
def test_what_is_not_a_run_folder(
    command: str, place: str, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    where = tmp_path / place
    said = fails(*use(command, where, images, tmp_path / "out"))
    if place == "missing":
        assert said == f"error: there is no {where}"
    else:
        assert said == f"error: {where} is not a run folder: it has no config.json"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: "{", "config.json cannot be read: "),
        (lambda c: json.dumps({**c, "schema": 99}), "was written by a newer tinyvq"),
        (lambda c: json.dumps({**c, "kind": "other"}), "holds a other run, "),
        (lambda c: json.dumps({**c, "facts": {}}), "config.json has damaged facts"),
        (
            lambda c: json.dumps({**c, "options": {"hidden": "x"}}),
            "config.json does not fit: hidden cannot be 'x'",
        ),
    ],
    ids=["cut", "newer", "another kind", "facts", "options"],
)
def test_a_configuration_that_is_damaged(
    command: str, damage: Any, message: str, run: Path, images: Path, tmp_path: Path
) -> None:
    (run / "config.json").write_text(damage(config_of(run)))
    before = contents(run)
    assert message in fails(*use(command, run, images, tmp_path / "out"))
    assert contents(run) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", ["cut short", "another shape", "none"])
def test_checkpoints_that_cannot_be_used(
    command: str, damage: str, run: Path, images: Path, tmp_path: Path
) -> None:
    checkpoints = run / "checkpoints"
    if damage == "cut short":
        for path in checkpoints.glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:-100])
        message = f"no checkpoint in {checkpoints} can be used. step-00000008: "
    elif damage == "another shape":
        saved = checkpoint.load_latest(checkpoints)
        codes = np.zeros((7, 2), np.float32)
        arrays = {**saved.arrays, "model.quantizer.codebook": codes}
        checkpoint.save(checkpoints, 9, arrays, saved.info)
        message = f"{checkpoints / 'step-00000009.safetensors'} does not fit"
    else:
        for path in checkpoints.iterdir():
            path.unlink()
        message = f"no checkpoint in {checkpoints}: no step-*.json is there"
        if command == "resume":
            return  # it starts again, as test_kills.py shows
    before = contents(run)
    assert message in fails(*use(command, run, images, tmp_path / "out"))
    assert contents(run) == before


def test_a_damaged_newest_checkpoint_costs_only_what_came_after_it(
    run: Path, trained: Path, images: Path
) -> None:
    newest = run / "checkpoints" / "step-00000008.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    result = succeeds("evaluate", run, "--json")
    assert result.err.startswith("passing over checkpoint step-00000008: step-00000008")
    assert json.loads(result.out)["images"] == 6
    result = succeeds(*resume_words(run, images))
    assert result.err.startswith("passing over checkpoint step-00000008: step-00000008")
    assert_same_run(run, trained)


def test_out_exists(trained: Path, images: Path, tmp_path: Path) -> None:
    before = contents(trained)
    said = fails(*train_words(trained, images))
    assert said == (
        f"error: {trained} holds a run already; add --resume to go on with it, or "
        "choose another --out"
    )
    assert contents(trained) == before
    (tmp_path / "mine.txt").write_text("mine")
    said = fails(*train_words(tmp_path, images))
    assert said == f"error: {tmp_path} is not an empty folder; choose another --out"
    assert contents(tmp_path) == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("option", "value", "before"),
    [
        *[("lr", 0.1, 0.0003), ("seed", 4, 3), ("quantizer", "soft", "ema")],
        *[("model", "dense", "conv"), ("num-codes", 7, 6), ("batch-size", 5, 4)],
        *[("image-size", 8, None), ("warmup", 5, 0), ("log-every", 3, 2)],
    ],
)
def test_an_option_that_conflicts_with_the_saved_one(
    run: Path, option: str, value: object, before: object
) -> None:
    files = contents(run)
    said = fails("train", "vqvae", "--out", run, "--resume", f"--{option}", value)
    assert said.startswith(f"error: --{option} {value} conflicts with the run in {run}")
    assert f"which has {before}; with --resume only --steps, --cooldown, " in said
    assert "--cooldown, --backend and --tf32 may change" in said
    assert contents(run) == files


def test_options_that_are_as_they_were_are_no_conflict(run: Path, images: Path) -> None:
    succeeds(*resume_words(run, images))
    succeeds("train", "vqvae", "--out", run, "--resume", "--lr", "3e-4")


def test_images_that_changed_since(tmp_path: Path) -> None:
    images = splits(tmp_path / "images.npz")
    run = tmp_path / "run"
    succeeds(*train_words(run, images))
    with np.load(images) as arrays:
        changed = {name: arrays[name].copy() for name in arrays.files}
    changed["val"][0, 0, 0] ^= 1
    np.savez(images, **changed)
    before = contents(run)
    said = fails(*resume_words(run, images, steps=12))
    assert "now holds other images than those that" in said
    assert contents(run) == before
    said = fails("evaluate", run)
    assert said == (
        f"error: {images} now holds other images than those that {run} was trained on; "
        f"--data {images} takes those that are there now"
    )
    succeeds("evaluate", run, "--data", images)
    for command in ("reconstruct", "interpolate"):
        assert fails(command, run, "--out", tmp_path / "out.png") == said
    assert not (tmp_path / "out.png").exists()
    images.unlink()
    assert "is neither a file or folder" in fails(*resume_words(run, images, steps=12))
    assert contents(run) == before


def test_a_priors_images_that_changed_since(folder: Path, tmp_path: Path) -> None:
    """Another label is as good as another image, to a prior that reads labels."""
    run = Path(shutil.copytree(folder / "prior", tmp_path / "run"))
    source = Path(config_of(run)["facts"]["data_source"])
    with np.load(source) as arrays:
        changed = {name: arrays[name].copy() for name in arrays.files}
    changed["train_labels"][0] += 1
    np.savez(tmp_path / "images.npz", **changed)
    for name in ("prior", "plain"):
        config = config_of(folder / name)
        config["options"]["data"] = str(tmp_path / "images.npz")
        (run / "config.json").write_text(json.dumps(config))
        if name == "plain":
            weights = folder / name / "checkpoints"
            shutil.copytree(weights, run / "checkpoints", dirs_exist_ok=True)
            succeeds("evaluate", run)
        else:
            said = fails("evaluate", run)
            assert "now holds other images than those that" in said
            assert fails("complete", run, "--out", tmp_path / "out.png") == said


def test_a_run_that_another_process_trains(run: Path, images: Path) -> None:
    program = (
        "import sys, pathlib; from tinyvq.training.run import open_run\n"
        "with open_run(pathlib.Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(run)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        before = contents(run)
        said = fails(*resume_words(run, images, steps=12))
        assert said == f"error: another process trains in {run}"
        assert contents(run) == before
        succeeds("evaluate", run)  # looking is free
        other.communicate()
    succeeds(*resume_words(run, images, steps=12))


# Codes.


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"indices": np.full((2, 4, 4), 6)}, "holds indices 6 .. 6, the codebook has"),
        ({"indices": np.full((2, 4, 4), -1)}, "holds indices -1 .. -1"),
        ({"indices": np.full((2, 4, 4), 2**63, np.uint64)}, "holds indices 92233"),
        (
            {"indices": np.zeros((2, 4, 4)), "labels": np.zeros(2)},
            "holds indices (2, 4, 4) float64, expected whole numbers (N,P,Q)",
        ),
        ({"indices": np.zeros((2, 16), int)}, "expected whole numbers (N,P,Q)"),
        ({"other": np.zeros((2, 4, 4), int)}, "holds other, expected whole numbers"),
        ({}, "holds nothing, expected whole numbers"),
        (
            {"indices": np.zeros((2, 4, 4), int), "model": np.array("another")},
            "was encoded by another model",
        ),
        ({"indices": np.zeros((2, 0, 4), int)}, ""),
    ],
)
def test_codes_that_cannot_be_decoded(
    arrays: dict[str, Any], message: str, trained: Path, tmp_path: Path
) -> None:
    codes, out = tmp_path / "codes.npz", tmp_path / "out"
    np.savez(codes, **arrays)
    assert message in fails("decode", trained, codes, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    "names",
    [
        *[["a"], ["a", "b", "c"], ["../a", "b"], ["a", "/tmp/b"], ["a/../../b", "c"]],
        *[["", "b"], [".", "b"], ["a\0b", "c"], ["a", "\ud800"], ["a", "a"]],
    ],
)
def test_names_that_lead_out_of_the_folder_or_nowhere(
    names: list[str], trained: Path, tmp_path: Path
) -> None:
    codes, out = tmp_path / "codes.npz", tmp_path / "out"
    indices = np.zeros((2, 4, 4), np.int64)
    np.savez(codes, indices=indices, names=np.array(names))
    assert "under names" in fails("decode", trained, codes, "--out", out)
    assert list(contents(tmp_path)) == ["codes.npz"]


def test_codes_of_another_model(trained: Path, images: Path, tmp_path: Path) -> None:
    other, codes = tmp_path / "other", tmp_path / "codes.npz"
    succeeds(*train_words(other, images, seed=9, steps=1))
    succeeds("encode", other, images, "--out", codes)
    said = fails("decode", trained, codes, "--out", tmp_path / "out")
    assert "was encoded by another model; its indices mean nothing to this one" in said


def test_decode_writes_over_no_file_unless_told_to(
    trained: Path, tmp_path: Path
) -> None:
    mine, codes = pictures(tmp_path / "mine", 16, 16, 16), tmp_path / "codes.npz"
    succeeds("encode", trained, mine, "--out", codes)
    (mine / "000.png").unlink()
    (mine / "001.png").unlink()
    (mine / "001.png").symlink_to(tmp_path / "nowhere")
    before = contents(mine)
    words = ["decode", trained, codes, "--out", mine]
    assert fails(*words) == (
        f"error: {mine / '001.png'} is there already, one of 2 that would be "
        "overwritten; choose another --out, or add --overwrite"
    )
    assert contents(mine) == before  # not even what is not there
    said = succeeds(*words, "--overwrite").err
    assert said == f"wrote 3 pictures into {mine}\n"
    after = contents(mine)
    assert after.keys() == {"000.png", "001.png", "002.png"}
    assert after["002.png"] != before["002.png"]


def test_codes_in_a_grid_that_the_dense_model_has_not(
    dense: Path, tmp_path: Path
) -> None:
    codes = tmp_path / "codes.npz"
    np.savez(codes, indices=np.zeros((2, 4, 4), np.int64))
    assert fails("decode", dense, codes, "--out", tmp_path / "out") == (
        f"error: {codes} holds grids of 4×4 codes, the model in {dense} decodes such "
        "of 1×1"
    )


# Places that cannot be written.

UNWRITABLE = {
    "/proc/tinyvq": "No such file or directory",
    "FILE/below": "(Not a directory|a file is in its place)",
    "n" * 300: "File name too long",
}


@pytest.mark.parametrize("place", UNWRITABLE)
@pytest.mark.parametrize("command", ["train", "reconstruct", "encode", "decode"])
def test_a_place_that_not_even_root_can_write(
    command: str, place: str, trained: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "FILE").write_text("mine")
    out = tmp_path / place
    codes = tmp_path / "codes.npz"
    np.savez(codes, indices=np.zeros((1, 4, 4), np.int64))
    words: list[object] = [*train_words(out, images)]
    if command != "train":
        words = [*use(command, trained, images, tmp_path / "x")[:-1], out]
    before = contents(tmp_path)
    said = fails(*words)
    assert any(reason in said for reason in UNWRITABLE[place].strip("()").split("|"))
    assert contents(tmp_path) == before


def test_a_picture_over_a_folder(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    said = fails("reconstruct", trained, "--out", tmp_path / "folder")
    assert "it is there and is not a file" in said


# A full disk.


@pytest.mark.parametrize(
    ("limit", "file"),
    [(200, "config.json"), (12_000, "checkpoints/step-00000002.safetensors")],
)
def test_a_full_disk_while_training(
    images: Path, tmp_path: Path, limit: int, file: str
) -> None:
    """No file may grow beyond the limit."""
    expected, run = tmp_path / "expected", tmp_path / "run"
    succeeds(*train_words(expected, images))

    program = (
        "import os, resource, sys\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, hard))\n"
        # -B: or compiled modules would be cut short, too.
        "python = [sys.executable, '-B', '-m', 'tinyvq']\n"
        "os.execv(sys.executable, [*python, *sys.argv[1:]])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, *train_words(run, images)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stdout == ""
    (said,) = finished.stderr.splitlines()
    assert said == f"error: cannot write {run / file}: File too large"
    assert not list(tmp_path.rglob("*tinyvq-tmp"))
    succeeds(*resume_words(run, images))
    assert_same_run(run, expected)
