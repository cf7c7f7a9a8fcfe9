"""A run so small that hundreds of them fit into a test, and what must be equal in two.

The images are noise: what is learned does not matter here, only that it is the same.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tinyvq.rng import Stream
from tinyvq.training import checkpoint
from tinyvq.training.metrics_log import read

STEPS = 8
OPTIONS = {
    "--steps": STEPS,
    "--batch-size": 4,
    "--hidden": 4,
    "--code-dim": 2,
    "--num-codes": 6,
    "--log-every": 2,
    "--validate-every": 4,
    "--checkpoint-every": 2,
    "--picture-every": 4,
    "--seed": 3,
}
TIMED = "images_per_second"  # all that the logs of equal runs may differ in
PICTURES = ("reconstructions.png", "codebook.png")  # the curve may differ in a line


def write_images(path: Path, count: int = 24, size: int = 8, channels: int = 1) -> Path:
    """Write an .npz of noise: half of it train, a quarter val, a quarter test."""
    shape = (count, size, size, channels)
    values = Stream(0, "noise").integers(256, shape).astype(np.uint8)
    train, val, test = np.split(values, [count // 2, count * 3 // 4])
    np.savez(path, train=train, val=val, test=test)
    return path


def train_words(run: Path, images: Path, *more: str, **changes: Any) -> list[str]:
    """Write the command that trains the example; changes=steps=4, say, replace."""
    options: dict[str, Any] = {"--data": images, "--out": run, **OPTIONS}
    for name, value in changes.items():
        options["--" + name.replace("_", "-")] = value
    words = [str(word) for pair in options.items() for word in pair]
    return ["train", "vqvae", *words, *more]


def resume_words(run: Path, images: Path, *more: str, **changes: Any) -> list[str]:
    """Write the command again, with --resume where the run exists already."""
    flag = ["--resume"] if (run / "config.json").exists() else []
    return train_words(run, images, *more, *flag, **changes)


def environment(threads: int = 1) -> dict[str, str]:
    """Make the environment of a process that can import what this one can."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NUMBA_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",  # a process that forks must have one thread
        "PYTHONWARNINGS": "error",
    }


def start(words: list[str], *, threads: int = 1) -> "subprocess.Popen[str]":
    """Start a tinyvq command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tinyvq", *words],
        env=environment(threads),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_same_run(run: Path, expected: Path, steps: int = STEPS) -> None:
    """Compare the final weights bit for bit, the metrics, and the pictures."""
    assert_same_state(run, expected, steps)
    assert untimed(run) == untimed(expected)
    for name in PICTURES:
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    assert picture_names(run) == picture_names(expected)
    for name in picture_names(expected):
        ours, theirs = run / "samples" / name, expected / "samples" / name
        assert ours.read_bytes() == theirs.read_bytes(), name


def assert_same_state(run: Path, expected: Path, steps: int = STEPS) -> None:
    ours = checkpoint.load_latest(run / "checkpoints")
    theirs = checkpoint.load_latest(expected / "checkpoints")
    assert ours.rejected == theirs.rejected == []
    assert ours.step == theirs.step == steps
    assert ours.info == theirs.info
    assert ours.arrays.keys() == theirs.arrays.keys()
    assert any("quantizer" in name for name in ours.arrays)
    assert any(name.startswith("adam.v") for name in ours.arrays)
    for name, array in ours.arrays.items():
        other = theirs.arrays[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        assert array.tobytes() == other.tobytes(), name


def untimed(run: Path) -> list[dict[str, Any]]:
    """Read the metrics of a run without the times in them."""
    records = read(run / "metrics.jsonl")
    assert all(record.pop(TIMED) > 0 for record in records)
    return records


def picture_names(run: Path) -> list[str]:
    return sorted(os.listdir(run / "samples"))


def assert_no_broken_checkpoint(run: Path) -> None:
    """Load every checkpoint that is there, and find no sign of the others."""
    for path in (run / "checkpoints").glob("*.json"):
        checkpoint.load(path.with_suffix(".safetensors"))


def config_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "config.json").read_text())
    return content
