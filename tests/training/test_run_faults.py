"""A disk that fails at any moment of a run costs no more than what a resume repeats.

The faults of a save alone are in test_checkpoint_faults.py; here are those of all that
a run writes: its folders, its configuration, metrics, checkpoints and pictures.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from training.faults import Call, Fault, injected
from training.run_examples import (
    assert_no_broken_checkpoint,
    assert_same_run,
    resume_words,
    train_words,
)

from tinyvq.cli import main

STEPS = 4
SMALL = {"steps": STEPS, "log_every": 1, "validate_every": 2, "picture_every": 2}
CHANGES = ("open", "write", "replace", "unlink", "mkdir", "ftruncate")
SPACE = ("open", "write", "fsync", "replace", "mkdir")  # what a full disk refuses

pytestmark = pytest.mark.usefixtures("command_line", "no_figures")


@pytest.fixture
def undisturbed(images: Path, tmp_path: Path) -> tuple[Path, list[Call]]:
    run = tmp_path / "undisturbed"
    with injected() as faulty:
        assert main(train_words(run, images, **SMALL)) == 0
    return run, faulty.calls


def disturb(run: Path, images: Path, at: int, fault: Fault) -> tuple[int, list[Call]]:
    shutil.rmtree(run, ignore_errors=True)
    with injected(at, fault) as faulty:
        status = main(train_words(run, images, **SMALL))
    assert len(faulty.calls) > at, "the fault was never reached"
    return status, faulty.calls


def check(
    images: Path,
    undisturbed: tuple[Path, list[Call]],
    capsys: pytest.CaptureFixture[str],
    chosen: Callable[[int, Call], Fault | None],
) -> int:
    """Let a call fail, then go on, for every call that gets a fault; count them."""
    expected, calls = undisturbed
    run = expected.with_name("disturbed")
    count = 0
    for at, call in enumerate(calls):
        fault = chosen(at, call)
        if fault is None:
            continue
        count += 1
        capsys.readouterr()
        status, seen = disturb(run, images, at, fault)
        said = capsys.readouterr().err.splitlines()
        if fault is Fault.SHORT:
            assert status == 0
        else:
            assert status == 1, (at, seen[at])
            assert said[-1].startswith("error: cannot "), said
            assert said[-1].endswith(("Input/output error", "No space left on device"))
        assert_no_broken_checkpoint(run)
        with injected():
            assert main(resume_words(run, images, **SMALL)) == 0, (at, seen[at])
        assert_same_run(run, expected, STEPS)
        left = [p.name for p in run.rglob("*tinyvq-tmp")]
        assert left == [], (at, seen[at])
    return count


def test_a_dead_disk_at_any_call(
    images: Path,
    undisturbed: tuple[Path, list[Call]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    # It leaves what a kill would leave: nothing that comes later changes the disk. A
    # call that changes nothing would leave what the one before it left.
    def chosen(at: int, call: Call) -> Fault | None:
        return Fault.DEAD if call.kind in CHANGES else None

    assert check(images, undisturbed, capsys, chosen) > 40


def test_an_error_a_full_disk_or_a_short_write_at_every_write_fsync_and_rename(
    images: Path,
    undisturbed: tuple[Path, list[Call]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def chosen(at: int, call: Call) -> Fault | None:
        if call.kind == "write":
            return [Fault.SHORT, Fault.ERROR, Fault.FULL][at % 3]
        if call.kind in ("fsync", "replace"):
            return [Fault.ERROR, Fault.FULL][at % 2]
        return None

    assert check(images, undisturbed, capsys, chosen) > 30


@pytest.mark.deep
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.LATE_ERROR, Fault.FULL])
def test_a_fault_at_any_call(
    images: Path,
    undisturbed: tuple[Path, list[Call]],
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    def chosen(at: int, call: Call) -> Fault | None:
        return fault if call.kind in SPACE or fault is not Fault.FULL else None

    assert check(images, undisturbed, capsys, chosen) > 40
