"""The command line on a GPU's arrays, and where there is no GPU."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.command_line import contents, fails, succeeds
from device.device_examples import assert_same_state
from training.kind_examples import assert_same, words_of, write_labelled
from training.run_examples import config_of

from tinyvq import report
from tinyvq.data import load
from tinyvq.training import checkpoint

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib takes longer than all else, and sees nothing of where arrays live."""
    monkeypatch.setattr(report._runs, "curve_picture", lambda *_: b"")
    monkeypatch.setattr(report._runs, "codebook_picture", lambda *_: b"")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "images.npz")


def trained(kind: str, folder: Path, source: Path, **changes: Any) -> dict[str, Path]:
    """Train a kind on both backends."""
    runs = {backend: folder / f"{kind}-{backend}" for backend in ("cpu", "cuda")}
    for backend, run in runs.items():
        succeeds(*words_of(kind, run, source, backend=backend, **changes))
        assert config_of(run)["options"]["backend"] == backend
    return runs


PICTURES = {
    "vqvae": ("reconstructions.png",),
    "vqgan": ("reconstructions.png",),
    "vae": ("reconstructions.png", "samples.png", "nearest.png"),
    "gan": ("samples.png", "nearest.png"),
    "noise-vqgan": ("samples.png", "nearest.png"),
    "prior": ("samples.png", "nearest.png"),
}


def same_files(*words: object, out: Path) -> None:
    """Run a command on both backends; what it says and writes must be equal."""
    found = []
    for backend in ("cpu", "cuda"):
        if out.is_file():
            out.unlink()  # not all commands write over what is there
        result = succeeds(*words, "--backend", backend, "--out", out)
        found.append((result, contents(out) if out.is_dir() else out.read_bytes()))
    assert found[0] == found[1]


def test_a_tokenizer_and_its_prior(cupy: Any, images: Path, tmp_path: Path) -> None:
    run = trained("vqvae", tmp_path, images)
    assert_same(run["cuda"], run["cpu"], PICTURES["vqvae"])
    tokenizer = run["cuda"]
    figures = [
        json.loads(succeeds("evaluate", tokenizer, "--backend", b, "--json").out)
        for b in ("cpu", "cuda")
    ]
    assert figures[0] == figures[1]
    codes = tmp_path / "codes.npz"
    same_files("reconstruct", tokenizer, out=tmp_path / "grid.png")
    same_files("encode", tokenizer, images, out=codes)
    same_files("decode", tokenizer, codes, "--overwrite", out=tmp_path / "decoded")
    same_files("interpolate", tokenizer, "--pairs", 2, out=tmp_path / "between.png")

    run = trained("prior", tmp_path, tokenizer)
    assert_same(run["cuda"], run["cpu"], PICTURES["prior"])
    prior = run["cpu"]
    succeeds("evaluate", prior, "--backend", "cuda", "--json")
    same_files("sample", prior, "--grid", "2x3", "--nearest", out=tmp_path / "new.png")
    some = ("--images", 2, "--count", 2)
    same_files("complete", prior, *some, out=tmp_path / "completed.png")
    bare = tmp_path / "bare.npz"  # without labels
    np.savez(bare, test=load(str(images)).split("test").images)
    some = (*some, "--data", bare)
    same_files("complete", prior, *some, out=tmp_path / "completed.png")
    succeeds("evaluate", prior, "--backend", "cuda", "--data", bare)
    same_files("augment", prior, "--per-class", 2, out=tmp_path / "more.npz")


def test_a_vae(cupy: Any, images: Path, tmp_path: Path) -> None:
    run = trained("vae", tmp_path, images)
    assert_same(run["cuda"], run["cpu"], PICTURES["vae"])
    vae = run["cpu"]
    figures = [
        json.loads(succeeds("evaluate", vae, "--backend", b, "--json").out)
        for b in ("cpu", "cuda")
    ]
    assert figures[0] == figures[1]
    same_files("reconstruct", vae, out=tmp_path / "grid.png")
    same_files("interpolate", vae, "--pairs", 2, out=tmp_path / "between.png")
    same_files("sample", vae, "--grid", "2x3", out=tmp_path / "new.png")


@pytest.mark.parametrize("kind", ["vqgan", "gan", "noise-vqgan"])
def test_both_sides_of_a_gan(
    cupy: Any, images: Path, tmp_path: Path, kind: str
) -> None:
    run = trained(kind, tmp_path, images)
    assert_same(run["cuda"], run["cpu"], PICTURES[kind])
    if kind != "vqgan":
        same_files("sample", run["cpu"], "--grid", "2x3", out=tmp_path / "new.png")
        words = ["evaluate", run["cpu"], "--judge", "random-conv", "--backend"]
        assert succeeds(*words, "cpu").out == succeeds(*words, "cuda").out


def test_a_run_is_resumed_on_another_backend(
    cupy: Any, images: Path, tmp_path: Path
) -> None:
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    succeeds(*words_of("vqvae", whole, images))
    for steps, backend in ((2, "cpu"), (4, "cuda"), (6, "cpu"), (8, "cuda")):
        words = words_of("vqvae", moved, images, steps=steps, backend=backend)
        succeeds(*words)
        assert config_of(moved)["options"]["backend"] == "cpu"
    states = [checkpoint.load_latest(run / "checkpoints") for run in (moved, whole)]
    assert_same_state(states[0].arrays, states[1].arrays)


def test_without_cupy_training_says_so_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    run = tmp_path / "run"
    for source in (images, tmp_path / "missing.npz"):  # it says so first of all
        told = fails(*words_of("vqvae", run, source, backend="cuda"))
        assert told == "error: CUDA needs CuPy: pip install cupy-cuda13x"
        assert not run.exists()


def test_without_cupy_no_command_begins(
    monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out.png"
    succeeds(*words_of("vqvae", run, images, steps=2))
    np.savez(tmp_path / "codes.npz", indices=np.zeros((1, 3, 3), np.int64))
    monkeypatch.setitem(sys.modules, "cupy", None)
    told = "error: CUDA needs CuPy: pip install cupy-cuda13x"
    for words in (
        ("evaluate", run),
        ("reconstruct", run, "--out", out),
        ("encode", run, images, "--out", tmp_path / "out.npz"),
        ("decode", run, tmp_path / "codes.npz", "--out", out),
        ("interpolate", run, "--out", out),
    ):
        assert fails(*words, "--backend", "cuda") == told
        assert not out.exists()
