"""Progress: lines without a terminal, a bar on one, nothing on standard output."""

import errno
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from required import library
from training.run_examples import environment, train_words

from tinyvq.training import progress
from tinyvq.training.progress import (
    TrainingProgress,
    compile_kernels,
    make_ready,
)

RECORD = {"step": 5, "loss": 0.123456, "nmse": 0.5, "lr": 1.0}
RECORD |= {"batch_perplexity": 321.25, "images_per_second": 1234.5}


class Clock:
    """Stands in for the module `time`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress, "time", self)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_line_shows_measures_and_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingProgress(100, start=50) as shown:
        clock.now += 20  # 10 steps in 20 s: 40 more in 80 s
        shown.show(60, RECORD)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "step 60/100  loss 0.1235  nmse 0.5  perplexity 321.2  images/s 1234  "
        "1:20 left\n"
    )


@pytest.mark.parametrize("terminal", ["dumb", "closed"])
def test_where_no_line_can_be_drawn_anew(
    terminal: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", None if terminal == "closed" else screen)
    monkeypatch.setenv("TERM", "dumb")
    with TrainingProgress(100) as shown:
        clock.now += 20
        shown.show(60, RECORD)
    if terminal == "dumb":
        assert screen.getvalue().startswith("step 60/100  loss 0.1235")


def test_a_terminal_that_goes_away_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with TrainingProgress(100) as shown:
        shown.show(60, RECORD)
        monkeypatch.setattr(screen, "write", refuse)
    assert "step 0/100" in screen.getvalue()


def refuse(text: str) -> int:
    raise OSError(errno.EIO, "Input/output error")


def test_lines_come_now_and_then_and_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingProgress(40) as shown:
        for step in range(1, 41):
            clock.now += 1
            shown.show(step, RECORD)
    steps = re.findall(r"^step (\d+)/40 ", capsys.readouterr().err, re.MULTILINE)
    assert steps == ["10", "20", "30", "40"]


def test_hours_are_written_as_hours(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingProgress(100) as shown:
        clock.now += 110
        shown.show(1, {"loss": 1.0})
    # 99 steps of 110 s: 10,890 s.
    assert capsys.readouterr().err == "step 1/100  loss 1  3:01:30 left\n"


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_a_bar_with_the_same(
    images: Path, tmp_path: Path, columns: int
) -> None:
    out, shown = run_on_terminal(
        train_words(tmp_path / "run", images, log_every=1), columns
    )
    assert out == ""
    # What a terminal would show, frame after frame: without colours and movements.
    frames = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
    last = [frame for frame in frames if frame.startswith("step 8/8 ")][-1]
    bar = " ━+" if columns > 90 else ""
    assert re.fullmatch(
        rf"step 8/8{bar} loss [\d.]+ nmse [\d.]+ perplexity [\d.]+ images/s \d[\d.]* "
        r"\d\d:\d\d left *",
        last,
    ), frames
    assert frames[-2].startswith("done: ")


@pytest.mark.parametrize("columns", [50, 80, 100, 120])
def test_the_longest_numbers_fit(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    library("rich")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    small = 1.2345e-5  # as long as a number can get
    record = {"loss": small, "nmse": small, "batch_perplexity": 8191.5}
    with TrainingProgress(20_000) as bar:
        bar.show(12_345, {**record, "images_per_second": 12345.6})
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    lines = text.rsplit("\r", 1)[-1].splitlines()
    assert all(len(line) <= columns for line in lines)
    assert lines[0].startswith("step 12345/20000 ")
    assert lines[0].endswith("--:-- left")
    words = " ".join(lines).split()
    for word in ("loss", "nmse", "1.23e-05", "perplexity", "8192", "images/s", "12346"):
        assert word in words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_on_terminal(words: list[str], columns: int) -> tuple[str, str]:
    """Run tinyvq with its standard error on a terminal; what it wrote out and there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    surroundings = {**environment(), "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        surroundings.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-m", "tinyvq", *words],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = bytearray()
        while piece := read_terminal(ours):
            shown += piece
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return out, shown.decode()


def read_terminal(fd: int) -> bytes:
    try:
        return os.read(fd, 2**16)
    except OSError:  # EIO: the other end is closed
        return b""


# Compiling.


def test_compiling_is_announced_with_what_is_compiled(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    import tinyvq_kernels

    def warm_up(training: bool) -> object:
        assert training
        for name in ("conv2d", "adam"):
            yield name, 2
            clock.now += 15

    monkeypatch.setattr(tinyvq_kernels, "is_warm", lambda training: False)
    monkeypatch.setattr(tinyvq_kernels, "warm_up", warm_up)
    compile_kernels()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "compiling the kernels for this machine: once, about half a minute",
        "  conv2d",
        "  adam",
        "compiled in 30 s",
    ]


def test_compiled_kernels_are_no_reason_to_speak(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tinyvq_kernels

    monkeypatch.setattr(tinyvq_kernels, "is_warm", lambda training: True)
    monkeypatch.setattr(tinyvq_kernels, "warm_up", pytest.fail)
    compile_kernels()
    assert capsys.readouterr().err == ""


def test_what_only_draws_compiles_no_gradients(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tinyvq_kernels

    asked = []
    monkeypatch.setattr(tinyvq_kernels, "is_warm", lambda training: False)
    monkeypatch.setattr(
        tinyvq_kernels, "warm_up", lambda training: asked.append(training) or []
    )
    make_ready("cpu")
    make_ready("cpu", training=True)
    assert asked == [False, True]
    assert "about twenty seconds" in capsys.readouterr().err
