"""A run folder is made once, opened with suspicion, and used by one process."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from training.checkpoint_examples import names
from training.faults import Fault, injected
from training.run_examples import config_of, environment

import tinyvq
from tinyvq.errors import FileError, RunError
from tinyvq.training.run import create, open_run, typed

OPTIONS = {"data": "images.npz", "lr": 3e-4, "hidden": None, "cosine": False}
FACTS = {"image_shape": [8, 8, 1], "pixel_variance": 0.1}


def make(folder: Path) -> None:
    create(folder, "vqvae", OPTIONS, FACTS)


def test_what_was_made_is_what_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    made = create(folder, "vqvae", OPTIONS, FACTS)
    assert made == open_run(folder)
    assert (made.kind, made.options, made.facts) == ("vqvae", OPTIONS, FACTS)
    assert names(folder) == ["checkpoints", "config.json", "samples"]
    assert made.metrics.parent == folder


def test_the_versions_that_results_depend_on_are_noted(tmp_path: Path) -> None:
    make(tmp_path / "run")
    versions = config_of(tmp_path / "run")["versions"]
    assert versions["tinyvq"] == tinyvq.__version__
    wanted = {"python", "numpy", "numba", "llvmlite", "machine", "system"}
    assert wanted < versions.keys()
    assert all(versions.values())


def test_an_empty_folder_becomes_a_run(tmp_path: Path) -> None:
    make(tmp_path)
    assert open_run(tmp_path).kind == "vqvae"


def test_a_run_is_not_made_over_another(tmp_path: Path) -> None:
    make(tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(RunError, match=r"holds a run already; add --resume to go on"):
        create(tmp_path / "run", "vqvae", {}, {})
    assert (tmp_path / "run" / "config.json").read_bytes() == before


@pytest.mark.parametrize("mine", ["notes.txt", "samples/a.png", ".hidden", "run/x"])
def test_a_run_is_not_made_among_other_files(tmp_path: Path, mine: str) -> None:
    (tmp_path / mine).parent.mkdir(exist_ok=True)
    (tmp_path / mine).write_text("mine")
    with pytest.raises(RunError, match="is not an empty folder; choose another --out"):
        make(tmp_path)
    assert (tmp_path / mine).read_text() == "mine"
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("name", ["samples", "checkpoints"])
def test_a_file_in_the_place_of_a_folder_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match="is not an empty folder"):
        make(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_is_not_a_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"file is not a folder; choose another --out"):
        make(tmp_path / "file")


@pytest.mark.parametrize("place", ["/proc/tinyvq/run", "FILE/run", "n" * 300])
def test_a_place_that_nobody_can_write_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "FILE").write_text("mine")
    with pytest.raises(OSError, match=r"(tinyvq|FILE|nnnn)"):
        make(tmp_path / place)
    assert names(tmp_path) == ["FILE"]


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.FULL, Fault.DEAD])
def test_a_fault_while_it_is_made_is_no_obstacle_later(
    tmp_path: Path, fault: Fault
) -> None:
    with injected() as faulty:
        make(tmp_path / "count")
    for at in range(len(faulty.calls)):
        run = tmp_path / f"run-{at}"
        with injected(at, fault), pytest.raises(FileError, match="cannot "):
            make(run)
        if (run / "config.json").exists():  # the fault came after it
            assert open_run(run).options == OPTIONS
        else:
            make(run)
        assert open_run(run).facts == FACTS


def test_two_that_make_one_folder_at_once(tmp_path: Path) -> None:
    """The one that comes second waits for nothing and changes nothing."""
    run = tmp_path / "run"
    run.mkdir()
    holder = dataclasses.replace(create(tmp_path / "x", "toy", {}, {}), folder=run)
    with holder.locked(), pytest.raises(RunError, match="another process trains in"):
        make(run)
    assert names(run) == []


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    run = create(tmp_path / "run", "toy", {}, {})
    program = (
        "import os, sys, pathlib; from tinyvq.training.run import open_run\n"
        "with open_run(pathlib.Path(sys.argv[1])).locked(): os._exit(7)"
    )
    words = [sys.executable, "-c", program, str(run.folder)]
    # As a kill would, _exit cleans nothing up.
    assert subprocess.run(words, env=environment(), check=False).returncode == 7
    with run.locked():
        pass


def test_a_folder_that_went_away_cannot_be_locked(tmp_path: Path) -> None:
    run = create(tmp_path / "run", "toy", {}, {})
    gone = dataclasses.replace(run, folder=tmp_path / "gone")
    with (
        pytest.raises(RunError, match=r"cannot open .*gone: No such file"),
        gone.locked(),
    ):
        raise AssertionError("it was locked")


# Opening.


@pytest.mark.parametrize("place", ["missing", ".", "file", "file/below"])
def test_what_is_not_a_run_folder_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    found = tmp_path / place
    with pytest.raises(RunError) as caught:
        open_run(found)
    message = f"{found} is not a run folder: it has no config.json"
    assert str(caught.value) == (message if found.exists() else f"there is no {found}")


GOOD: dict[str, Any] = {"schema": 1, "kind": "x", "options": {}, "facts": {}}


def test_the_smallest_good_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GOOD))
    assert open_run(tmp_path).kind == "x"


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, json.dumps(GOOD).encode()[:-1], b"NaN"],
    ids=lambda text: repr(text[:9]),
)
def test_a_damaged_configuration_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(RunError, match=r"config\.json cannot be read: ") as caught:
        open_run(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        *[None, 7, [], {}, "config"],
        *[{**GOOD, "options": []}, {**GOOD, "facts": None}, {**GOOD, "kind": 3}],
        *[{**GOOD, "schema": "1"}, {k: v for k, v in GOOD.items() if k != "kind"}],
    ],
    ids=str,
)
def test_what_is_no_configuration_is_named(tmp_path: Path, content: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"config\.json is not the configuration of a"):
        open_run(tmp_path)


def test_a_configuration_of_a_newer_tinyvq_is_named(tmp_path: Path) -> None:
    newer = {"schema": 2, "kind": "x", "options": {"new": []}, "facts": {}, "more": 1}
    (tmp_path / "config.json").write_text(json.dumps(newer))
    with pytest.raises(RunError, match="was written by a newer tinyvq"):
        open_run(tmp_path)


def test_a_huge_configuration_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(RunError, match=r"cannot be read: .*1099511627776 bytes"):
        open_run(tmp_path)


# Options that were saved.


@dataclasses.dataclass(frozen=True)
class Options:
    size: int = 1
    rate: float = 0.5
    name: str = "x"
    flag: bool = False
    maybe: int | None = None
    choice: Literal["a", "b"] = "a"
    number: Literal[1, 3] | None = None


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"size": 3, "rate": 2.5, "name": "", "flag": True, "maybe": 4},
        {"rate": 3, "maybe": None, "choice": "b", "number": 3},
    ],
)
def test_options_come_back(saved: dict[str, Any]) -> None:
    assert typed(saved, Options) == Options(**saved)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("size", 1.5), ("size", "1"), ("size", True), ("size", None)],
        *[("rate", "fast"), ("rate", None), ("rate", False), ("name", 3)],
        *[("flag", 1), ("flag", "no"), ("maybe", 1.0), ("maybe", [])],
        *[("choice", "c"), ("choice", None), ("number", 2), ("number", True)],
    ],
)
def test_an_option_of_another_type_is_named(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} cannot be "):
        typed({name: value}, Options)


def test_an_option_that_is_not_known_is_named() -> None:
    with pytest.raises(TypeError, match="'later'"):
        typed({"later": 1}, Options)
