"""Small runs of each kind of run beside the VQ-VAE; see `run_examples`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.run_examples import STEPS, TIMED

from tinyvq.nn import Parameter
from tinyvq.rng import Stream
from tinyvq.training import checkpoint
from tinyvq.training.metrics_log import read

SCHEDULE: dict[str, Any] = {
    "steps": STEPS,
    "batch_size": 4,
    "log_every": 2,
    "validate_every": 4,
    "checkpoint_every": 2,
    "picture_every": 4,
    "seed": 3,
}
ADVERSARY: dict[str, Any] = {
    "discriminator_width": 4,
    "discriminator_norm": "batch",  # its running means are to be watched too
    "lecam_weight": 0.5,
    "feature_matching": 0.5,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "vqvae": {**SCHEDULE, "hidden": 4, "code_dim": 2, "num_codes": 6},
    "vqgan": {
        **SCHEDULE,
        **ADVERSARY,
        "hidden": 4,
        "code_dim": 2,
        "num_codes": 6,
        "adversarial_start": 4,
        "adversarial_ramp": 2,
        "head_start": 2,
    },
    "noise-vqgan": {
        **SCHEDULE,
        **ADVERSARY,
        "hidden": 4,
        "code_dim": 2,
        "num_codes": 6,
        "noise_dim": 5,
    },
    "vae": {**SCHEDULE, "hidden": 4, "grid_dim": 2, "latent_dim": 3},
    "gan": {
        **SCHEDULE,
        **ADVERSARY,
        "hidden": 4,
        "code_dim": 2,
        "noise_dim": 5,
    },
    "prior": {**SCHEDULE, "width": 8, "heads": 2, "layers": 1, "warmup": 2},
}


def write_labelled(path: Path, count: int = 24, size: int = 12) -> Path:
    """Write an .npz of noise with three classes: half train, a quarter val, test."""
    shape = (count, size, size, 1)
    images = Stream(0, "noise").integers(256, shape).astype(np.uint8)
    labels = np.arange(count) % 3
    parts = [slice(0, count // 2), slice(count // 2, count * 3 // 4), slice(-6, None)]
    arrays: dict[str, Any] = {}
    for name, part in zip(("train", "val", "test"), parts, strict=True):
        arrays[name], arrays[f"{name}_labels"] = images[part], labels[part]
    np.savez(path, **arrays)
    return path


def words_of(kind: str, run: Path, source: Path, **changes: Any) -> list[str]:
    """Write the command that trains a kind; `source`: images, or a prior's tokenizer.

    With --resume where the run exists already.
    """
    options = {"out": run, **OPTIONS[kind], **changes}
    options["tokenizer" if kind == "prior" else "data"] = source
    words = ["train", kind]
    for name, value in options.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    return [*words, "--resume"] if (run / "config.json").exists() else words


def assert_same(run: Path, expected: Path, pictures: tuple[str, ...]) -> None:
    """Compare final states bit for bit, the metrics, and the pictures."""
    ours, theirs = (
        checkpoint.load_latest(folder / "checkpoints") for folder in (run, expected)
    )
    assert ours.step == theirs.step == STEPS
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in ours.arrays.items():
        assert array.tobytes() == theirs.arrays[name].tobytes(), name
    logs = [read(folder / "metrics.jsonl") for folder in (run, expected)]
    for record in (*logs[0], *logs[1]):
        assert record.pop(TIMED) > 0
    assert logs[0] == logs[1]
    samples = sorted(path.name for path in (expected / "samples").iterdir())
    assert sorted(path.name for path in (run / "samples").iterdir()) == samples
    for name in (*pictures, *(f"samples/{sample}" for sample in samples)):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name


@contextmanager
def spoilt_before_step(
    monkeypatch: pytest.MonkeyPatch,
    kind: type,
    number: int,
    parameter_of: Callable[[Any], Parameter],
    value: float = np.inf,
) -> Iterator[None]:
    """Fill a parameter of each task of a kind with a value, right before a step."""
    real = kind.step  # type: ignore[attr-defined]

    def step(self: Any, at: int) -> Any:
        if at == number:
            with parameter_of(self).mutate() as array:
                array[...] = value
        return real(self, at)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "step", step)
        yield


def first_of(side: str) -> Callable[[Any], Parameter]:
    """Choose the first parameter of a task's "generator" or "discriminator"."""

    def choose(task: Any) -> Parameter:
        module = task.model if side == "generator" else task.adversary.discriminator
        return module.parameters()[0]  # type: ignore[no-any-return]

    return choose
