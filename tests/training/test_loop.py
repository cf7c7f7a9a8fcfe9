"""The loop logs, looks, saves and goes on when it should."""

import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from required import library
from tinyvq_kernels import kernels, resolve, use_kernels
from training.checkpoint_examples import names, names_of
from training.faults import Fault, injected
from training.toy_task import ToyTask, toy_run, value_after

from tinyvq.errors import (
    CheckpointError,
    ConfigError,
    FileError,
    NonFiniteError,
    RunError,
)
from tinyvq.training import checkpoint, loop
from tinyvq.training.loop import Schedule, train
from tinyvq.training.metrics_log import read
from tinyvq.training.run import Run
from tinyvq.training.vqvae import VQVAEOptions

library("safetensors")

EVERY_2 = Schedule(7, log_every=2, validate_every=3, checkpoint_every=2)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return toy_run(tmp_path / "run")


def logged(run: Run) -> list[int]:
    return [record["step"] for record in read(run.metrics)]


def test_everything_is_done_at_its_steps_and_at_the_last(run: Run) -> None:
    task, drawn = ToyTask(), []
    schedule = Schedule(7, 2, 3, 5, picture_every=4)
    assert train(task, run, schedule, draw=drawn.append) == 7
    assert task.done == [
        *["step 1", "step 2", "step 3", "validate", "step 4", "step 5"],
        *["step 6", "validate", "step 7", "validate"],
    ]
    # What was measured on the validation split is logged, whether or not it is time.
    assert logged(run) == [2, 3, 4, 6, 7]
    assert [r["step"] for r in read(run.metrics) if "val_nmse" in r] == [3, 6, 7]
    assert drawn == [4, 7]
    assert names(run.checkpoints) == names_of(5, 7)


def test_a_logged_line_has_the_step_its_measures_and_the_pace(run: Run) -> None:
    train(ToyTask(), run, EVERY_2)
    for record in read(run.metrics):
        assert record["loss"] == value_after(record["step"])[0]
        assert record["images_per_second"] > 0
        expected = {"step", "loss", "images_per_second"}
        if record["step"] in (3, 6, 7):
            expected |= {"val_nmse"}
        assert record.keys() == expected


def test_the_pace_is_of_steps_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second, all else a minute."""
    now = [0.0]

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return now[0]

    def take(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(loop, "time", Clock)
    waits = {f"step {step}": lambda: take(1) for step in range(1, 8)}
    task = ToyTask({**waits, "validate": lambda: take(60)})
    schedule = Schedule(7, 2, 3, 5, picture_every=4)
    train(task, run, schedule, draw=lambda step: take(60))
    rates = {record["images_per_second"] for record in read(run.metrics)}
    assert rates == {task.batch_size}


def test_it_goes_on_from_the_newest_checkpoint(run: Run) -> None:
    whole = toy_run(run.folder.with_name("whole"))
    train(ToyTask(), whole, EVERY_2)
    task = ToyTask({"step 6": interrupt})
    with pytest.raises(KeyboardInterrupt):
        train(task, run, EVERY_2)
    assert logged(run) == [2, 3, 4]
    task = ToyTask()
    assert train(task, run, EVERY_2) == 3
    assert task.done[0] == "step 5"
    np.testing.assert_array_equal(task.value, value_after(7))
    assert logged(run) == logged(whole) == [2, 3, 4, 6, 7]


def interrupt() -> None:
    raise KeyboardInterrupt


def test_lines_after_the_checkpoint_are_dropped(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(ToyTask({"step 4": interrupt}), run, EVERY_2)
    assert logged(run) == [2, 3]  # of which 3 is after the last checkpoint
    train(ToyTask(), run, Schedule(2, log_every=1))
    assert logged(run) == [2]


def test_a_finished_run_has_nothing_left_to_do(run: Run) -> None:
    train(ToyTask(), run, EVERY_2)
    before = {path: path.read_bytes() for path in run.folder.rglob("*.*")}
    task = ToyTask()
    assert train(task, run, EVERY_2) == 0
    assert task.done == []
    np.testing.assert_array_equal(task.value, value_after(7))
    assert {path: path.read_bytes() for path in run.folder.rglob("*.*")} == before


def test_more_steps_may_be_asked_for(run: Run) -> None:
    train(ToyTask(), run, EVERY_2)
    task = ToyTask()
    assert train(task, run, Schedule(9, 2, 3, 2)) == 2
    np.testing.assert_array_equal(task.value, value_after(9))
    # The line of step 7 stays: it is a true one.
    assert logged(run) == [2, 3, 4, 6, 7, 8, 9]


def test_another_end_than_before_is_told(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    train(ToyTask(), run, EVERY_2)
    capsys.readouterr()
    train(ToyTask(), run, replace(EVERY_2, steps=9))
    said = "was going to step 7, now it goes to 9: a learning rate that falls is as if"
    assert said in capsys.readouterr().err
    train(ToyTask(), run, replace(EVERY_2, steps=9))
    assert "was going to" not in capsys.readouterr().err


def test_checkpoints_that_are_gone_are_missed(run: Run) -> None:
    """Else the run would begin anew, and its log be cut to nothing."""
    train(ToyTask(), run, EVERY_2)
    for path in run.checkpoints.iterdir():
        path.unlink()
    before = run.metrics.read_bytes()
    task = ToyTask()
    with pytest.raises(CheckpointError, match="has logged 7 steps, and no checkpoint"):
        train(task, run, EVERY_2)
    assert (task.done, run.metrics.read_bytes()) == ([], before)


def test_a_kill_before_the_first_checkpoint_is_no_loss(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(ToyTask({"step 2": interrupt}), run, replace(EVERY_2, log_every=1))
    assert logged(run) == [1]
    assert train(ToyTask(), run, EVERY_2) == 7


def test_only_one_process_trains_in_a_folder(run: Run) -> None:
    task = ToyTask()
    with (
        run.locked(),
        pytest.raises(RunError, match=r"another process trains in .*run$"),
    ):
        train(task, run, EVERY_2)
    assert task.done == []
    assert names(run.folder) == ["checkpoints", "config.json", "samples"]
    train(task, run, EVERY_2)  # the lock is gone


def test_what_a_killed_process_left_behind_goes(run: Run) -> None:
    for folder in (run.folder, run.samples, run.checkpoints):
        (folder / ".x.png.12345678.tinyvq-tmp").write_bytes(b"half a pic")
    train(ToyTask(), run, EVERY_2)
    assert not list(run.folder.rglob("*tinyvq-tmp"))


def test_a_folder_that_another_process_fills_stays(run: Run) -> None:
    filled = run.folder / ".share.0123abcd.tinyvq-tmp"
    filled.mkdir()
    train(ToyTask(), run, EVERY_2)
    assert filled.is_dir()


def test_folders_that_were_removed_are_made_again(run: Run) -> None:
    shutil.rmtree(run.samples)
    shutil.rmtree(run.checkpoints)
    train(ToyTask(), run, EVERY_2, draw=lambda step: None)
    assert names(run.folder) == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "samples",
    ]


# Checkpoints that cannot be used.


def test_a_damaged_newest_checkpoint_is_passed_over_and_named(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    train(ToyTask(), run, EVERY_2)
    newest = run.checkpoints / "step-00000007.safetensors"
    good = newest.read_bytes()
    newest.write_bytes(good[:-1])
    capsys.readouterr()
    task = ToyTask()
    assert train(task, run, EVERY_2) == 1
    said = capsys.readouterr().err
    assert f"passing over checkpoint step-00000007: {newest.name} holds" in said
    np.testing.assert_array_equal(task.value, value_after(7))
    assert newest.read_bytes() == good
    assert logged(run) == [2, 3, 4, 6, 7]


def test_without_any_good_checkpoint_nothing_is_done(run: Run) -> None:
    train(ToyTask(), run, EVERY_2)
    for path in run.checkpoints.glob("*.safetensors"):
        path.write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in run.folder.rglob("*.*")}
    task = ToyTask()
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in .* can be used\. step"
    ):
        train(task, run, EVERY_2)
    assert task.done == []
    assert {path: path.read_bytes() for path in run.folder.rglob("*.*")} == before


def test_a_checkpoint_of_another_model_is_refused(run: Run) -> None:
    train(ToyTask(), run, EVERY_2)
    task = ToyTask()
    task.value = np.zeros(4)
    with pytest.raises(
        CheckpointError,
        match=r"step-00000007\.safetensors does not fit this run: value",
    ):
        train(task, run, EVERY_2)


def test_damaged_metrics_are_named_by_their_line(run: Run) -> None:
    train(ToyTask(), run, EVERY_2)
    lines = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is damaged"):
        train(ToyTask(), run, Schedule(9, 2, 3, 2))


# Values that are not finite.


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("due", ["checkpoint", "picture", "validation", "stop"])
def test_a_spoilt_state_is_never_saved_nor_shown(
    run: Run, bad: float, due: str
) -> None:
    task = ToyTask()

    def spoil() -> None:
        task.value = np.array([1.0, bad, 1.0])
        if due == "stop":
            os.kill(os.getpid(), signal.SIGINT)

    task.hooks = {"step 4": spoil}
    schedule = Schedule(
        9,
        log_every=100,
        validate_every=4 if due == "validation" else 100,
        checkpoint_every=2 if due == "checkpoint" else 3,
        picture_every=4 if due == "picture" else 100,
    )
    drawn: list[int] = []
    with pytest.raises(NonFiniteError) as caught:
        train(task, run, schedule, draw=drawn.append)
    assert str(caught.value).startswith("step 4: value is not finite after the update")
    assert drawn == []
    assert "validate" not in task.done
    last = 2 if due == "checkpoint" else 3
    assert checkpoint.load_latest(run.checkpoints).step == last
    assert np.isfinite(checkpoint.load_latest(run.checkpoints).arrays["value"]).all()


def test_a_kernel_that_refuses_a_value_stops_the_run_with_its_step(run: Run) -> None:
    def refuse() -> None:
        raise ValueError("nearest_code: row 3 of z has NaN or inf")

    with pytest.raises(NonFiniteError) as caught:
        train(ToyTask({"step 5": refuse}), run, EVERY_2)
    assert str(caught.value) == (
        "step 5: nearest_code: row 3 of z has NaN or inf; training stopped, the "
        "checkpoints are good. A lower --lr may help"
    )
    assert checkpoint.load_latest(run.checkpoints).step == 4


@pytest.mark.parametrize("kind", [FileError, RunError])
def test_an_error_of_ours_keeps_its_kind(run: Run, kind: type[Exception]) -> None:
    def fail() -> None:
        raise kind("no space")

    with pytest.raises(kind, match=r"^no space$"):
        train(ToyTask({"step 5": fail}), run, EVERY_2)


# The order on the disk.


def test_metrics_are_on_the_disk_before_their_checkpoint(run: Run) -> None:
    with injected() as faulty:
        train(ToyTask(), run, Schedule(2, 1, 1, 1))
    calls = [f"{call.kind} {Path(call.path).name}" for call in faulty.calls]
    synced = [i for i, call in enumerate(calls) if call == "fsync metrics.jsonl"]
    written = [i for i, c in enumerate(calls) if c.startswith("write .step-0000000")]
    appended = [i for i, call in enumerate(calls) if call == "write metrics.jsonl"]
    assert len(synced) == len(appended) == 2
    assert appended[0] < synced[0] < written[0] < appended[1] < synced[1] < written[2]


def test_a_full_disk_loses_no_line_that_a_checkpoint_counts_on(run: Run) -> None:
    with injected("write metrics.jsonl", Fault.FULL), pytest.raises(FileError):
        train(ToyTask(), run, EVERY_2)
    train(ToyTask(), run, EVERY_2)
    assert logged(run) == [2, 3, 4, 6, 7]
    assert all(json.loads(line) for line in run.metrics.read_text().splitlines())


def test_steps_alone_run_the_kernels_that_are_asked_for(run: Run) -> None:
    ran: list[str] = []

    class Convolving(ToyTask):
        def step(self, step: int) -> Mapping[str, float]:
            _convolve(ran)
            return super().step(step)

        def validate(self) -> dict[str, float]:
            _convolve(ran)
            return super().validate()

    train(Convolving(), run, Schedule(1), kernels={"conv2d": "reference"})
    assert ran == ["tinyvq_kernels.convolution.reference", FASTEST]


FASTEST = "tinyvq_kernels.convolution.fastest"


def _convolve(ran: list[str]) -> None:
    """Note the module of the kernel that a convolution would run."""
    kernel = resolve("conv2d", np.ones((1, 1, 1, 1), np.float32))
    ran.append(kernel.__module__)


def test_definitions_can_stand_in_for_all_kernels() -> None:
    asked = VQVAEOptions(reference=True).kernels()
    assert asked["conv2d"] == asked["nearest_code"] == asked["adam"] == "reference"
    assert asked.keys() == {k.op for k in kernels() if k.backend == "cpu"}
    with pytest.raises(ConfigError, match="--reference and --tf32 name different"):
        VQVAEOptions(reference=True, tf32=True, backend="cuda")


def test_tf32_is_for_a_gpu() -> None:
    with pytest.raises(ConfigError, match=r"--tf32 .* needs --backend cuda"):
        VQVAEOptions(tf32=True)
    asked = VQVAEOptions(tf32=True, backend="cuda").kernels()
    assert set(asked.values()) == {"tensor_cores"}
    assert set(asked) == {"conv2d", "conv2d_input_grad", "conv2d_weight_grad"}
    with use_kernels(**asked):  # there are such kernels
        pass
    assert VQVAEOptions(backend="cuda").kernels() == {}
