"""Progress on standard error: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from tinyvq.backends import Backend, array_module
from tinyvq.messages import on_terminal, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN = ("loss", "nmse", "batch_perplexity", "images_per_second")
LINE_EVERY = 10.0  # seconds between plain lines


class TrainingProgress:
    """Shows step, measures and the time left while training runs.

    `with TrainingProgress(total, at) as progress: progress.show(step, record)`.
    """

    def __init__(self, total: int, start: int = 0) -> None:
        self.total, self.start = total, start
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._began = self._last = time.monotonic()

    def __enter__(self) -> "TrainingProgress":
        if on_terminal():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.table import Column

            console = Console(stderr=True)
            room = console.width - 90  # which the words and numbers may take
            self._bar = Progress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                *([BarColumn(bar_width=min(room, 20))] if room > 3 else []),
                # The only one that may wrap: the others stay whole on any terminal.
                TextColumn("{task.description}", table_column=Column(no_wrap=False)),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=console,
                speed_estimate_period=86_400,  # seconds: a step may take minutes
            )
            with suppress(OSError):
                self._bar.start()
            self._task = self._bar.add_task("", total=self.total, completed=self.start)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone; the work is done
                self._bar.stop()

    def show(self, step: int, record: Mapping[str, float]) -> None:
        """Show a finished step and its measures."""
        if self._bar is not None and self._task is not None:
            measures = " ".join(_measures(record, digits=3))
            self._bar.update(self._task, completed=step, description=measures)
            return
        now = time.monotonic()
        if now - self._last >= LINE_EVERY or step == self.total:
            self._last = now
            pace = (now - self._began) / max(1, step - self.start)
            left = _clock((self.total - step) * pace)
            measures = "  ".join(_measures(record, digits=4))
            say(f"step {step}/{self.total}  {measures}  {left} left")


def make_ready(backend: Backend, training: bool = False) -> None:
    """Compile the CPU's kernels if need be; or find a GPU, or raise CudaUnavailable.

    training  whether gradients are needed, too
    """
    if backend == "cpu":
        compile_kernels(training)
    else:
        array_module(backend)


def compile_kernels(training: bool = True) -> None:
    """Compile the kernels if this machine has not yet, telling the user."""
    from tinyvq_kernels import is_warm, warm_up

    if is_warm(training=training):
        return
    span = "half a minute" if training else "twenty seconds"
    say(f"compiling the kernels for this machine: once, about {span}")
    began = time.monotonic()
    for name, _ in warm_up(training=training):
        say(f"  {name}")
    say(f"compiled in {time.monotonic() - began:.0f} s")


def _measures(record: Mapping[str, float], digits: int) -> list[str]:
    short = {"batch_perplexity": "perplexity", "images_per_second": "images/s"}
    return [
        f"{short.get(name, name)} {_number(record[name], digits)}"
        for name in SHOWN
        if name in record
    ]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    )
