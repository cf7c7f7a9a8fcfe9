"""Ctrl-C and SIGTERM stop a run with its checkpoint written."""

import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training.run_examples import assert_same_run, resume_words, start, train_words
from training.toy_task import ToyTask, toy_run

from tinyvq.cli import main
from tinyvq.training import checkpoint, loop
from tinyvq.training.loop import Schedule, Stopped, train
from tinyvq.training.run import Run

pytestmark = pytest.mark.usefixtures("command_line", "ctrl_c_is_heard")

LONG = Schedule(9, log_every=2, validate_every=3, checkpoint_every=5)
GOES_ON = "checkpoint written; the same command with --resume goes on"
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return toy_run(tmp_path / "run")


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_finishes_the_step_and_saves(
    run: Run, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = handlers()
    task = ToyTask({"step 4": send(number)})
    with pytest.raises(Stopped) as stopped:
        train(task, run, LONG)
    assert (stopped.value.step, stopped.value.signal_number) == (4, number)
    assert task.done[-1] == "step 4"
    assert checkpoint.load_latest(run.checkpoints).step == 4
    assert "stopping after this step; once more to stop at once" in (
        capsys.readouterr().err
    )
    assert handlers() == before
    train(task := ToyTask(), run, LONG)
    assert task.done[0] == "step 5"


def test_a_signal_that_is_ignored_stays_so(run: Run) -> None:
    """As `nohup` has it, or a shell for what runs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task = ToyTask({"step 4": send(signal.SIGINT)})
    assert train(task, run, LONG) == 9
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("when", ["validate", "draw", "save"])
def test_a_signal_that_comes_late_in_a_step_is_not_lost(
    run: Run, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Stopped says, a checkpoint of its step, must be there."""
    real = checkpoint.save
    sent: list[int] = []

    def at(moment: str, step: int) -> None:
        if moment == when and not sent:
            sent.append(step)
            send(signal.SIGINT)()

    def save(folder: Path, step: int, *rest: Any) -> Path:
        at("save", step)
        return real(folder, step, *rest)

    monkeypatch.setattr(loop.checkpoint, "save", save)
    task = ToyTask({"validate": lambda: at("validate", 3)})
    schedule = Schedule(9, 2, 3, 5, picture_every=4)
    with pytest.raises(Stopped) as stopped:
        train(task, run, schedule, draw=lambda step: at("draw", step))
    assert sent
    # A signal within a save may stop the run after it or after the next step.
    assert stopped.value.step in (sent[0], sent[0] + 1)
    assert checkpoint.load_latest(run.checkpoints).step == stopped.value.step


@pytest.mark.parametrize("when", ["step 9", "validate"])
def test_a_signal_in_the_last_step_stops_what_would_follow(run: Run, when: str) -> None:
    with pytest.raises(Stopped) as stopped:
        train(ToyTask({when: send(signal.SIGINT)}), run, Schedule(9, 9, 9, 9))
    assert stopped.value.step == 9
    assert checkpoint.load_latest(run.checkpoints).step == 9


def test_a_signal_in_the_midst_of_a_print_is_not_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a terminal that was paused: Python refuses a print within a print."""

    class Busy(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError(
                "reentrant call inside <_io.BufferedWriter name='<stderr>'>"
            )

    monkeypatch.setattr("sys.stderr", Busy())
    with pytest.raises(Stopped):
        train(ToyTask({"step 4": send(signal.SIGINT)}), run, LONG)
    assert checkpoint.load_latest(run.checkpoints).step == 4


class Gone(io.StringIO):
    """What a pipe is whose reader has ended."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_nobody_who_listens_is_no_reason_to_lose_a_step(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `tinyvq train ... 2>&1 | tee log`, Ctrl-C ends tee, too."""
    monkeypatch.setattr("sys.stderr", Gone())
    with pytest.raises(Stopped):
        train(ToyTask({"step 4": send(signal.SIGINT)}), run, LONG)
    assert checkpoint.load_latest(run.checkpoints).step == 4
    train(ToyTask(), run, LONG)
    assert checkpoint.load_latest(run.checkpoints).step == 9


def test_a_second_ctrl_c_interrupts_at_once(run: Run) -> None:
    def twice() -> None:
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    task = ToyTask({"step 6": twice})
    before = handlers()
    with pytest.raises(KeyboardInterrupt):
        train(task, run, LONG)
    assert handlers() == before
    assert checkpoint.load_latest(run.checkpoints).step == 5


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (15, 143)])
def test_the_command_exits_by_the_signal_and_resumes_to_the_same_run(
    images: Path,
    tmp_path: Path,
    number: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected, run = tmp_path / "never-stopped", tmp_path / "stopped"
    assert main(train_words(expected, images)) == 0
    real = checkpoint.save

    def save(folder: Path, step: int, *rest: Any) -> Path:
        if step == 2:
            os.kill(os.getpid(), number)
        return real(folder, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop.checkpoint, "save", save)
        assert main(train_words(run, images)) == status
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"stopped at step 3, {GOES_ON}"
    assert main(resume_words(run, images)) == 0
    assert_same_run(run, expected)


@pytest.mark.usefixtures("no_figures")
def test_ctrl_c_before_training_begins(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyvq.cli import _train

    stop = send(signal.SIGINT)
    monkeypatch.setattr(_train, "make_ready", lambda backend, training: stop())
    assert main(train_words(tmp_path / "run", images)) == 130
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_from_outside(images: Path, tmp_path: Path, signals: int) -> None:
    run = tmp_path / "run"
    process = start(train_words(run, images, steps=100_000, log_every=1))
    # Training has begun once the first line of metrics stands.
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        os.sched_yield()
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    if signals == 1:
        assert err.endswith(f"{GOES_ON}\n")
        assert checkpoint.load_latest(run / "checkpoints").rejected == []
