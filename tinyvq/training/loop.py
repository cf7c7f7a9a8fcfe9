"""The training loop: what every trained model shares.

A `Task` knows its model, its data and its optimisers; it does one step when asked. The
loop counts, logs, saves, stops and resumes. The state of a run is what the task gives
as arrays, and the step; data order and all randomness are functions of the seed and the
step. So a run that is resumed does, bit for bit, what it would have done.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType, MappingProxyType
from typing import Any, Protocol

import numpy.typing as npt
from tinyvq_kernels import keep_freed_memory, use_kernels

from tinyvq.errors import CheckpointError
from tinyvq.files import make_folder, names_in, remove_leftovers
from tinyvq.messages import say
from tinyvq.training import checkpoint
from tinyvq.training.guard import check_state, finite_values
from tinyvq.training.metrics_log import MetricsLog
from tinyvq.training.progress import TrainingProgress
from tinyvq.training.run import Run

State = dict[str, npt.NDArray[Any]]


class Task(Protocol):
    """What can be trained."""

    batch_size: int

    def step(self, step: int) -> Mapping[str, float]:
        """Do training step `step`, counted from 1; return what it measured.

        A measure is asked for before the next step, if at all: see `measures`.

        Raises NonFiniteError where a value is not finite.
        """

    def validate(self) -> dict[str, float]:
        """Measure the model on the validation split."""

    def state(self) -> State:
        """Return all that moves, as arrays."""

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore what `state` gave."""


@dataclass(frozen=True)
class Schedule:
    """When the loop does what, in steps; the last step does it all."""

    steps: int
    log_every: int = 10
    validate_every: int = 250
    checkpoint_every: int = 250
    picture_every: int = 250

    def due(self, every: int, step: int) -> bool:
        """Tell whether it is time for what is done so often."""
        return step % every == 0 or step == self.steps


class Stopped(Exception):
    """Training was asked to stop; the checkpoint is written."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


def train(
    task: Task,
    run: Run,
    schedule: Schedule,
    *,
    draw: Callable[[int], None] = lambda step: None,
    kernels: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Train until schedule.steps, from the run's newest checkpoint on.

    draw(step)  makes the pictures of a step
    kernels     that steps run in the place of the default ones: operation -> variant
    ->          the number of steps done in this call

    Ctrl-C (or SIGTERM), unless ignored, finishes the step, saves, and raises Stopped; a
    second one interrupts at once. Raises NonFiniteError with the last good checkpoint
    kept.
    """
    keep_freed_memory()
    with run.locked(), stop_signals() as asked:
        return _train(task, run, schedule, draw, kernels, asked)


def _train(
    task: Task,
    run: Run,
    schedule: Schedule,
    draw: Callable[[int], None],
    kernels: Mapping[str, str],
    asked: list[int],
) -> int:
    for folder in (run.folder, run.samples, run.checkpoints):
        make_folder(folder)
        remove_leftovers(folder)  # of a process that was killed
    step = start = resume(task, run, schedule)
    log = MetricsLog(run.metrics, enough=start)
    if start == 0 and log.last_step > schedule.checkpoint_every:
        raise CheckpointError(
            f"{run.folder} has logged {log.last_step} steps, and no checkpoint is in "
            f"{run.checkpoints}: put one back, or train in another --out"
        )
    log.truncate_after(start)
    pace = Pace()
    with TrainingProgress(schedule.steps, start) as progress:
        for step in range(start + 1, schedule.steps + 1):
            with finite_values(step):
                with use_kernels(**kernels):
                    measures = task.step(step)
                pace.add(task.batch_size)

                look = schedule.due(schedule.validate_every, step)
                picture = schedule.due(schedule.picture_every, step)
                logged = look or schedule.due(schedule.log_every, step)
                record: dict[str, float] = {"step": step, **measures} if logged else {}
                with pace.aside():
                    if look or picture:
                        check_state(task.state())
                    if look:
                        record |= task.validate()
                if logged:
                    record["images_per_second"] = pace.rate()
                    log.append(record)
                    progress.show(step, record)
                with pace.aside():
                    if picture:
                        draw(step)
                    stop = bool(asked)  # read once: a signal may come at any moment
                    if stop or schedule.due(schedule.checkpoint_every, step):
                        _save(task, run, log, step, schedule.steps)
            if stop:
                break
    if asked:
        raise Stopped(step, asked[0])
    return max(0, schedule.steps - start)


class Pace:
    """Images a second of training alone: what stands between steps does not count."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._images = 0

    def add(self, images: int) -> None:
        """Count the images of a step."""
        self._images += images

    def rate(self) -> float:
        """Compute the images a second since the last time; begin anew."""
        now = time.perf_counter()
        rate = self._images / (now - self._began)
        self._began, self._images = now, 0
        return rate

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let the time that a block takes not count."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began


def _save(task: Task, run: Run, log: MetricsLog, step: int, steps: int) -> None:
    state = task.state()
    check_state(state)
    log.sync()
    checkpoint.save(run.checkpoints, step, state, {"kind": run.kind, "steps": steps})


def resume(task: Task, run: Run, schedule: Schedule) -> int:
    """Load the newest good checkpoint into the task; return its step, 0 without one.

    The user is told where the schedule ends at another step than when it was saved.
    """
    if not any(name.endswith(".json") for name in names_in(run.checkpoints)):
        return 0
    saved = checkpoint.load_latest(run.checkpoints)
    for name, reason in saved.rejected:
        say(f"passing over checkpoint {name}: {reason}")
    try:
        task.load_state(saved.arrays)
    except ValueError as error:
        raise CheckpointError(f"{saved.path} does not fit this run: {error}") from error
    if saved.step > schedule.steps:
        say(
            f"{run.folder} is at step {saved.step}, beyond --steps {schedule.steps}: "
            "to go on as it was going, type its --steps and --cooldown again"
        )
    elif saved.info.get("steps", schedule.steps) != schedule.steps:
        say(
            f"{run.folder} was going to step {saved.info['steps']}, now it goes to "
            f"{schedule.steps}: a learning rate that falls is as if it always had been"
        )
    return saved.step


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the first SIGINT or SIGTERM instead of dying of it; the second kills."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for caught, handler in before.items():
            signal.signal(caught, handler)
        # A print that is interrupted in its midst refuses another one inside it.
        with suppress(RuntimeError):
            say("stopping after this step; once more to stop at once")

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of `nohup`, or `&`
            before[number] = signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
