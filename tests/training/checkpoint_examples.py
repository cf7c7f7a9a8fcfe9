"""Example states for the tests of checkpoints, and what is found of them again."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.errors import CheckpointError
from tinyvq.training import checkpoint

Arrays = dict[str, npt.NDArray[Any]]


def example_state(seed: int) -> Arrays:
    """Arrays of the kinds that a run has: other ones for another seed."""
    return {
        "encoder.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / (seed + 1),
        "quantizer.cluster_size": np.linspace(0, seed, 5),
        "optimizer.step": np.array(seed, dtype=np.int64),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }


def example_info(seed: int) -> dict[str, Any]:
    return {"seed": seed, "learning_rate": 3e-4, "name": "conv", "best": None}


def save_example(folder: Path, step: int, seed: int, keep: int = 2) -> Path:
    return checkpoint.save(
        folder, step, example_state(seed), example_info(seed), keep=keep
    )


def bits(arrays: Arrays) -> dict[str, tuple[Any, ...]]:
    return {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in arrays.items()}


def found(folder: Path) -> tuple[int, int] | None:
    """Load the newest example: its (step, seed), or None; anything else fails."""
    try:
        loaded = checkpoint.load_latest(folder)
    except CheckpointError:
        return None
    seed = loaded.info["seed"]
    assert loaded.info == example_info(seed)
    assert bits(loaded.arrays) == bits(example_state(seed))
    return loaded.step, seed


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def names_of(*steps: int) -> list[str]:
    ends = ("json", "safetensors")
    return [f"step-{step:08d}.{end}" for step in steps for end in ends]
