"""A run that is killed, anywhere, and resumed is the run that was never stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyvq.rng import Stream
from tinyvq.training import checkpoint
from tinyvq.training.metrics_log import read

STEPS = 24
OPTIONS = (
    f"--steps {STEPS} --batch-size 8 --hidden 8 --code-dim 4 --num-codes 16 "
    "--log-every 2 --validate-every 8 --checkpoint-every 4 --picture-every 12 --seed 3"
).split()
TIMED = {"images_per_second"}  # all that a run's log may differ in


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "images.npz"
    values = Stream(0, "kill test").integers(256, (60, 16, 16)).astype(np.uint8)
    np.savez(path, train=values[:40], val=values[40:50], test=values[50:])
    return path


def start(run: Path, images: Path, *more: str, at: int = -1) -> subprocess.Popen[str]:
    command = ["train", "vqvae", "--data", str(images), "--out", str(run), *OPTIONS]
    return subprocess.Popen(
        [sys.executable, "-m", "training.killed_run", str(at), *command, *more],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def never_stopped(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    run = tmp_path_factory.mktemp("runs") / "never-stopped"
    out, err = (process := start(run, images)).communicate()
    assert process.returncode == 0, err
    return run, json.loads(out.splitlines()[-1])


def resume_flag(run: Path) -> list[str]:
    return ["--resume"] if (run / "config.json").exists() else []


def finish(run: Path, images: Path) -> None:
    process = start(run, images, *resume_flag(run))
    _, err = process.communicate()
    assert process.returncode == 0, err


def assert_same_run(run: Path, expected: Path) -> None:
    ours = checkpoint.load_latest(run / "checkpoints")
    theirs = checkpoint.load_latest(expected / "checkpoints")
    assert ours.step == theirs.step == STEPS
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in ours.arrays.items():
        np.testing.assert_array_equal(array, theirs.arrays[name], err_msg=name)
        assert array.dtype == theirs.arrays[name].dtype
    lines, wanted = read(run / "metrics.jsonl"), read(expected / "metrics.jsonl")
    for ours_, theirs_ in zip(lines, wanted, strict=True):
        assert {k: v for k, v in ours_.items() if k not in TIMED} == {
            k: v for k, v in theirs_.items() if k not in TIMED
        }
    for name in ("reconstructions.png", "codebook.png"):
        assert (run / name).read_bytes() == (expected / name).read_bytes()


def kill_at_calls(calls: list[int], images: Path, run: Path) -> list[int]:
    """Kill a process at each of these of its calls, one after another; the signals."""
    ends = []
    for at in calls:
        process = start(run, images, *resume_flag(run), at=at)
        _, err = process.communicate()
        assert "Traceback" not in err, err
        ends.append(-process.returncode)
        if (run / "config.json").exists():
            for path in (run / "checkpoints").glob("*.json"):
                checkpoint.load(path.with_suffix(".safetensors"))
    return ends


def inside_saves(calls: list[str]) -> list[int]:
    return [i for i, call in enumerate(calls) if "/checkpoints/" in call]


def test_killed_five_times_and_resumed_bit_for_bit(
    images: Path, never_stopped: tuple[Path, list[str]], tmp_path: Path
) -> None:
    expected, calls = never_stopped
    saves = inside_saves(calls)
    # The first save, a later one, the log, and whatever else a resumed run meets there.
    chosen = [saves[3], saves[8], len(calls) // 3, saves[5], 20]
    ends = kill_at_calls(chosen, images, run := tmp_path / "run")
    assert ends == [signal.SIGKILL] * 5
    finish(run, images)
    assert_same_run(run, expected)


def test_ctrl_c_saves_and_exits_130(
    images: Path, never_stopped: tuple[Path, list[str]], tmp_path: Path
) -> None:
    process = start(run := tmp_path / "run", images)
    # Training has begun once the first line of metrics stands.
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "checkpoint written; --resume goes on" in err
    assert "Traceback" not in err
    finish(run, images)
    assert_same_run(run, never_stopped[0])


@pytest.mark.deep
def test_killed_a_hundred_times_thirty_inside_a_save(
    images: Path, never_stopped: tuple[Path, list[str]], tmp_path: Path
) -> None:
    expected, calls = never_stopped
    rng = Stream(0, "kills")
    saves = inside_saves(calls)
    in_saves = [saves[i] for i in rng.integers(len(saves), 40)]
    anywhere = rng.integers(len(calls), 60).tolist()
    killed = 0
    for round_ in range(20):
        run = tmp_path / f"run-{round_}"
        mine = in_saves[round_ * 2 : round_ * 2 + 2]
        mine += anywhere[round_ * 3 : round_ * 3 + 3]
        ends = kill_at_calls(mine, images, run)
        killed += ends.count(signal.SIGKILL)
        finish(run, images)
        assert_same_run(run, expected)
    assert killed >= 90  # a resumed run may end before it comes to its call
