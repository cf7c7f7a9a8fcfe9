"""A save that is disturbed at any moment leaves the old state or the new."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from required import library
from training.checkpoint_examples import (
    found,
    names,
    names_of,
    save_example,
)
from training.faults import Fault, Job, injected, run_jobs, states_after_power_loss

from tinyvq.errors import FileError


@pytest.fixture(autouse=True, scope="module")
def _safetensors() -> None:
    library("safetensors")


# What stands before the save of step 100 with seed 7.


def nothing(folder: Path) -> None:
    pass


def two_older_and_rubbish(folder: Path) -> None:
    for step in (25, 50, 75):
        save_example(folder, step, seed=1, keep=3)
    (folder / "step-00000025.json").unlink()  # killed between two removals
    (folder / ".step-00000075.json.12345678.tinyvq-tmp").write_bytes(b"{")


def the_same_step_otherwise(folder: Path) -> None:
    save_example(folder, 100, seed=1)


def the_same_step_half_replaced(folder: Path) -> None:
    """Killed after the .json that accepts both, before the data."""
    save_example(folder, 100, seed=1)
    with injected() as faulty:
        save_example(folder.with_name("count"), 100, seed=1)
        start = len(faulty.calls)
        save_example(folder.with_name("count"), 100, seed=2)
    kinds = [call.kind for call in faulty.calls[start:]]
    first_fsync = kinds.index("fsync folder")
    with injected(first_fsync + 2, Fault.DEAD), pytest.raises(FileError):
        save_example(folder, 100, seed=2)
    record = json.loads((folder / "step-00000100.json").read_bytes())
    assert "replaces" in record


def the_same_step_again(folder: Path) -> None:
    save_example(folder, 100, seed=7)


Scenario = Callable[[Path], None]
SCENARIOS: list[Scenario] = [
    nothing,
    two_older_and_rubbish,
    the_same_step_otherwise,
    the_same_step_half_replaced,
    the_same_step_again,
]
NEW = (100, 7)


def prepared(tmp_path: Path, scenario: Scenario) -> tuple[Path, int]:
    """Make the folder before the save, and count the calls that the save makes."""
    before = tmp_path / "before" / scenario.__name__
    counted = tmp_path / "counted" / scenario.__name__
    for folder in (before, counted):
        folder.parent.mkdir(exist_ok=True)
    with injected():
        scenario(before)
    copy(before, counted)
    with injected() as faulty:
        save_example(counted, *NEW)
    kinds = [call.kind for call in faulty.calls]
    writes = 3 if "otherwise" in before.name or "half" in before.name else 2
    for kind in ("open", "write", "fsync", "replace", "fsync folder"):
        assert kinds.count(kind) >= writes
    assert "mkdir" in kinds or before.exists()
    assert "unlink" in kinds or scenario is not two_older_and_rubbish
    assert len(set(kinds)) >= 7
    return before, len(kinds)


def copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    if source.exists():
        shutil.copytree(source, target)
    return target


def the_next_save_works_and_cleans_up(folder: Path) -> None:
    before = found(folder)
    with injected():
        save_example(folder, 200, seed=8)
    assert found(folder) == (200, 8)
    kept = [] if before is None else [before[0]]
    assert names(folder) == names_of(*kept, 200)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.KILL])
def test_a_fault_at_any_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, scenario: Scenario, fault: Fault
) -> None:
    before, calls = prepared(tmp_path, scenario)
    old = found(before)
    seen = set()
    for at in range(calls):
        folder = copy(before, tmp_path / "run")
        with injected(at, fault) as faulty:
            if fault is Fault.SHORT:
                save_example(folder, *NEW)
            else:
                with pytest.raises(FileError, match=r"cannot .*: (Input|No space)"):
                    save_example(folder, *NEW)
        assert len(faulty.calls) > at, "the fault was never reached"
        after = found(folder)
        assert after in (old, NEW), (at, faulty.calls[at])
        seen.add(after)
        if folder.exists() and fault not in (Fault.DEAD, Fault.SHORT):
            ours = [name for name in names(folder) if name.startswith(".")]
            assert ours == [] or faulty.calls[at].path.endswith(ours[0])
        the_next_save_works_and_cleans_up(folder)
    assert seen == ({NEW} if fault is Fault.SHORT else {old, NEW})


def test_a_kill_at_any_call_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    jobs, olds = [], []
    for scenario in SCENARIOS:
        before, calls = prepared(tmp_path, scenario)
        for at in range(calls):
            folder = copy(before, tmp_path / scenario.__name__ / str(at))
            jobs.append(Job(str(folder), *NEW, kill_at=at))
            olds.append(found(before))
    outcomes = run_jobs(jobs)
    assert {outcome.signal for outcome in outcomes} == {9}
    seen = set()
    for job, old in zip(jobs, olds, strict=True):
        folder = Path(job.folder)
        after = found(folder)
        assert after in (old, NEW), job
        seen.add(after == NEW)
        the_next_save_works_and_cleans_up(folder)
    assert seen == {False, True}


@pytest.mark.parametrize("scenario", SCENARIOS[1:])
def test_power_loss_at_any_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, scenario: Scenario
) -> None:
    before, _ = prepared(tmp_path, scenario)
    old = found(before)
    folder = copy(before, tmp_path / "run")
    content = {name: (before / name).read_bytes() for name in names(before)}
    with injected() as faulty:
        save_example(folder, *NEW)
    seen = set()
    for done, state in states_after_power_loss(content, faulty.calls):
        key = frozenset(state.items())
        if (done == len(faulty.calls), key) in seen:
            continue
        seen.add((done == len(faulty.calls), key))
        lost = copy(tmp_path / "none", tmp_path / "lost")
        lost.mkdir()
        for name, data in state.items():
            (lost / name).write_bytes(data)
        allowed = [NEW] if done == len(faulty.calls) else [old, NEW]
        assert found(lost) in allowed, (done, sorted(state))
    assert len(seen) >= 8  # that many are there even if nothing changes


def test_nothing_goes_around_the_injector(tmp_path: Path) -> None:
    before, _ = prepared(tmp_path, two_older_and_rubbish)
    folders = [before, tmp_path / "fresh"]
    outcomes = run_jobs([Job(str(folder), *NEW, audit=True) for folder in folders])
    for outcome in outcomes:
        assert outcome.audited == outcome.counted
        assert len(outcome.counted) >= 5


def test_a_full_disk_keeps_the_old_state(tmp_path: Path) -> None:
    size = save_example(tmp_path / "size", *NEW).stat().st_size
    limits = [0, 1, size // 2, size - 1]
    folders = [copy(tmp_path / "size", tmp_path / str(limit)) for limit in limits]
    jobs = [
        Job(str(folder), 200, 8, file_size_limit=limit)
        for folder, limit in zip(folders, limits, strict=True)
    ]
    for folder, outcome in zip(folders, run_jobs(jobs), strict=True):
        path = folder / "step-00000200.safetensors"
        assert outcome.error == f"cannot write {path}: File too large"
        assert found(folder) == NEW
        assert names(folder) == names_of(100)


@pytest.mark.parametrize("place", ["/proc/tinyvq", "file", "file/below"])
def test_an_unwritable_place_is_a_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileError, match=r"cannot make the folder .*(tinyvq|file): "):
        save_example(tmp_path / place, *NEW)
    assert (tmp_path / "file").read_bytes() == b"mine"
