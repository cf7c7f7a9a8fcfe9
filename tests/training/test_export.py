"""An exported run is the model alone, the same model, and works wherever it is put."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.checkpoint_examples import names, names_of
from training.faults import Fault, injected
from training.killed_run import CommandServer
from training.kind_examples import OPTIONS, words_of, write_labelled
from training.run_examples import config_of

from tinyvq.cli import main
from tinyvq.errors import CheckpointError, FileError, RunError, TinyvqError
from tinyvq.nn import Module
from tinyvq.training import checkpoint
from tinyvq.training.export import export
from tinyvq.training.run import open_run
from tinyvq.training.trained import (
    load_autoencoder,
    load_generator,
    load_prior,
    load_tokenizer,
)

pytestmark = pytest.mark.usefixtures("command_line")

KINDS = sorted(OPTIONS)
LOADERS: dict[str, Any] = {
    "vqvae": lambda folder: load_tokenizer(folder)[0],
    "vqgan": lambda folder: load_tokenizer(folder)[0],
    "vae": lambda folder: load_autoencoder(folder)[0],
    "gan": lambda folder: load_generator(folder)[0],
    "noise-vqgan": lambda folder: load_generator(folder)[0],
    "prior": lambda folder: load_prior(folder).prior,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of every kind, that no test may change."""
    folder = tmp_path_factory.mktemp("runs")
    images = write_labelled(folder / "images.npz", size=12)
    for kind in ("vqvae", *[kind for kind in KINDS if kind != "vqvae"]):
        source = folder / "vqvae" if kind == "prior" else images
        assert main(words_of(kind, folder / kind, source)) == 0
    return folder


def state_of(kind: str, folder: Path) -> dict[str, np.ndarray]:
    model: Module = LOADERS[kind](folder)
    return model.state_dict()


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        assert array.tobytes() == theirs[name].tobytes(), name


def texts_in(value: Any) -> list[str]:
    """List every string of a JSON value, the keys included."""
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in texts_in(item))]
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_configuration_and_the_model_alone(
    kind: str, runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(runs / kind, out)
    own = ["tokenizer"] if kind == "prior" else []
    assert names(out) == ["checkpoints", "config.json", *own]
    assert names(out / "checkpoints") == names_of(8)
    arrays = checkpoint.load_latest(out / "checkpoints").arrays
    part = "prior" if kind == "prior" else "model"
    assert {name.split(".")[0] for name in arrays} == {part}
    assert_equal(state_of(kind, out), state_of(kind, runs / kind))
    before, after = config_of(runs / kind), config_of(out)
    assert after["exported"] is True
    for name in ("kind", "schema", "versions"):
        assert after[name] == before[name]
    assert after["options"].keys() == before["options"].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_it_names_no_place_of_the_machine(
    kind: str, runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = export(runs / kind, out)
    assert made == open_run(out)
    found = []
    for path in out.rglob("*.json"):
        found += texts_in(json.loads(path.read_text()))
    assert "images.npz" in found  # the last part of its path
    assert [text for text in found if "/" in text] == []


def test_a_set_known_by_name_keeps_its_name(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "vqvae", tmp_path / "run"))
    sources = {
        "fashion-mnist": "fashion-mnist",
        "/home/me/mnist": "./mnist",  # not the set of that name
        "pictures/": "pictures",
        "../pictures/grey.npz": "grey.npz",
    }
    for at, (source, expected) in enumerate(sources.items()):
        config = config_of(run)
        config["options"]["data"] = source
        config["facts"]["data_source"] = f"{source} in /home/me"
        (run / "config.json").write_text(json.dumps(config))
        made = export(run, tmp_path / str(at))
        assert made.options["data"] == made.facts["data_source"] == expected


def test_a_prior_takes_its_tokenizer_along(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "prior", run)
    export(run, tmp_path / "out")
    shutil.rmtree(run)
    moved = tmp_path / "far" / "away"
    moved.parent.mkdir()
    (tmp_path / "out").rename(moved)
    trained, before = load_prior(moved), load_prior(runs / "prior")
    assert trained.tokenizer.fingerprint() == before.tokenizer.fingerprint()
    assert trained.options.tokenizer == "tokenizer"
    tokenizer = open_run(moved / "tokenizer")
    assert tokenizer.exported
    assert names(tokenizer.folder) == ["checkpoints", "config.json"]
    # Without it, no other is looked for: not in the folder where one stands, either.
    shutil.rmtree(moved / "tokenizer")
    here = Path.cwd()
    os.chdir(runs / "prior")
    try:
        with pytest.raises(RunError, match=r"there is no .*away/tokenizer$"):
            load_prior(moved)
    finally:
        os.chdir(here)


def test_a_prior_on_other_images_than_its_tokenizer_names_them(
    runs: Path, tmp_path: Path
) -> None:
    other = write_labelled(tmp_path / "other.npz", size=12)
    words = words_of("prior", tmp_path / "run", runs / "vqvae", data=other)
    assert main(words) == 0
    made = export(tmp_path / "run", tmp_path / "out")
    assert made.options["data"] == made.facts["data_source"] == "other.npz"
    tokenizer = open_run(tmp_path / "out" / "tokenizer")
    assert tokenizer.options["data"] == "images.npz"


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_run_can_be_exported(kind: str, runs: Path, tmp_path: Path) -> None:
    export(runs / kind, tmp_path / "one")
    export(tmp_path / "one", tmp_path / "two")
    for path in (tmp_path / "one").rglob("*.*"):
        again = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert again.read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("kind", KINDS)
def test_half_is_rounded_and_used_in_float32(
    kind: str, runs: Path, tmp_path: Path
) -> None:
    export(runs / kind, tmp_path / "out", half=True)
    stored = checkpoint.load_latest(tmp_path / "out" / "checkpoints").arrays
    assert {array.dtype.kind for array in stored.values()} <= {"f", "i"}
    assert np.float32 not in {array.dtype for array in stored.values()}
    ours, exact = state_of(kind, tmp_path / "out"), state_of(kind, runs / kind)
    assert ours.keys() == exact.keys()
    differ = 0
    for name, array in ours.items():
        assert array.dtype == exact[name].dtype
        np.testing.assert_allclose(array, exact[name], rtol=2.0**-11, atol=2.0**-25)
        differ += int((array != exact[name]).sum())
    assert differ > 0
    if kind == "prior":  # its tokenizer is another one now, and known as that
        facts = [open_run(folder).facts for folder in (tmp_path / "out", runs / kind)]
        assert facts[0]["tokenizer"] != facts[1]["tokenizer"]


def test_what_is_too_large_for_half_is_named(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "vqvae", tmp_path / "run"))
    saved = checkpoint.load_latest(run / "checkpoints")
    name = "model.quantizer.codebook"
    arrays = {**saved.arrays, name: saved.arrays[name] + np.float32(70_000)}
    checkpoint.save(run / "checkpoints", 9, arrays, saved.info)
    with pytest.raises(RunError, match=f"{name} has values up to 7e\\+04, too large"):
        export(run, tmp_path / "out", half=True)
    assert names(tmp_path) == ["run"]
    export(run, tmp_path / "out")


def test_it_is_the_newest_checkpoint_that_is_sound(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(runs / "vqvae", tmp_path / "run"))
    newest = run / "checkpoints" / "step-00000008.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    export(run, tmp_path / "out")
    assert capsys.readouterr().err.startswith("passing over checkpoint step-00000008")
    assert names(tmp_path / "out" / "checkpoints") == names_of(6)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint in "):
        export(run, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_it_is_refused_where_something_stands(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileError, match="out: it is there already"):
        export(runs / "vqvae", tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize(
    "fault", [Fault.ERROR, Fault.LATE_ERROR, Fault.FULL, Fault.DEAD]
)
def test_a_fault_at_any_call_leaves_no_half_of_it(
    fault: Fault, runs: Path, tmp_path: Path
) -> None:
    with injected() as faulty:
        export(runs / "prior", tmp_path / "whole")
    assert len(faulty.calls) > 40
    for at in range(len(faulty.calls)):
        out = tmp_path / "out"
        with injected(at, fault), pytest.raises(TinyvqError):
            export(runs / "prior", out)
        if out.exists():
            load_prior(out)
            shutil.rmtree(out)


def test_a_kill_leaves_no_half_of_it(runs: Path, tmp_path: Path) -> None:
    words = ["export", str(runs / "prior"), "--out", str(tmp_path / "out")]
    with CommandServer() as server:
        for place in ("replace checkpoints/.step", "write config.json", "replace .out"):
            ended = server.run(words, kill_at=place)
            assert ended.status == -signal.SIGKILL, ended.err
            assert not (tmp_path / "out").exists()
        assert server.run(words).status == 0
    load_prior(tmp_path / "out")
