"""A run that is killed, anywhere, and resumed is the run that was never stopped."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from training.faults import At
from training.killed_run import CommandServer, Ended
from training.run_examples import (
    assert_no_broken_checkpoint,
    assert_same_run,
    resume_words,
    start,
    train_words,
)

from tinyvq.rng import Stream

pytestmark = pytest.mark.usefixtures("command_line")

Reference = tuple[Path, list[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[CommandServer]:
    with CommandServer() as running:
        yield running


@pytest.fixture(scope="module")
def never_stopped(
    server: CommandServer, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    """Train without a kill: the run, and the calls that it makes."""
    run = tmp_path_factory.mktemp("runs") / "never-stopped"
    ended = server.run(train_words(run, images))
    assert ended.status == 0, ended.err
    return run, ended.calls


def kill(server: CommandServer, run: Path, images: Path, at: At) -> Ended:
    """Start or resume, to be killed at a call, if it comes so far."""
    ended = server.run(resume_words(run, images), kill_at=at)
    assert ended.status in (-signal.SIGKILL, 0), ended.err
    assert_no_broken_checkpoint(run)
    return ended


def finished(server: CommandServer, run: Path, images: Path) -> Path:
    ended = server.run(resume_words(run, images))
    assert ended.status == 0, ended.err
    left = [path.name for path in run.rglob("*tinyvq-tmp")]
    assert left == []
    return run


def test_a_kill_at_each_of_five_calls(
    server: CommandServer, images: Path, never_stopped: Reference, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for call in (
        "write .config.json",
        "write /checkpoints/.step-00000002.safetensors",
        "write metrics.jsonl",
        "replace /checkpoints/.step-00000004.json",
        "fsync /samples/.step-00000008.png",
    ):
        assert kill(server, run, images, call).status == -signal.SIGKILL, call
    assert_same_run(finished(server, run, images), never_stopped[0])


def test_a_kill_from_outside_while_it_trains(
    server: CommandServer, images: Path, never_stopped: Reference, tmp_path: Path
) -> None:
    process = start(train_words(run := tmp_path / "run", images))
    # Training has begun once the first line of metrics stands.
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        os.sched_yield()
    process.kill()
    process.communicate()
    assert_no_broken_checkpoint(run)
    assert_same_run(finished(server, run, images), never_stopped[0])


def test_every_change_of_a_file_goes_through_the_injector(
    server: CommandServer, images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = server.run(train_words(run, images))
    kinds = {
        "open": "open",
        "os.rename": "replace",
        "os.remove": "unlink",
        "os.mkdir": "mkdir",
    }
    audited = [
        f"{kinds[event]} {path}"
        for event, path in (line.split(" ", 1) for line in ended.audited)
        if path.startswith(str(run))
    ]
    counted = [c for c in ended.calls if c.split(" ", 1)[0] in kinds.values()]
    counted = [call for call in counted if not call.startswith("open folder")]
    assert audited == counted
    assert len(counted) > 40


@pytest.mark.deep
def test_a_hundred_kills_thirty_of_them_inside_a_save(
    server: CommandServer, images: Path, never_stopped: Reference, tmp_path: Path
) -> None:
    expected, calls = never_stopped
    rng = Stream(0, "kills")
    kills, inside = 0, 0
    while kills < 100 or inside < 30:
        run = tmp_path / f"run-{kills}"
        for at in rng.integers(len(calls) // 2, 5).tolist():
            ended = kill(server, run, images, at)
            kills += ended.status != 0
            inside += ended.status != 0 and "/checkpoints/" in ended.calls[-1]
        assert_same_run(finished(server, run, images), expected)
