"""The smallest thing that the loop can train: a vector that each step moves."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.errors import ModuleError
from tinyvq.training.run import Run, create

State = Mapping[str, npt.NDArray[Any]]


class ToyTask:
    """A task whose state after a step depends on all steps before.

    hooks   what else happens in a step or a validation: {"step 3": function, ...}
    """

    batch_size = 4

    def __init__(self, hooks: Mapping[str, Callable[[], object]] | None = None) -> None:
        self.value = np.zeros(3)
        self.hooks = hooks or {}
        self.done: list[str] = []

    def step(self, step: int) -> dict[str, float]:
        self.value = self.value * 0.5 + step
        self._do(f"step {step}")
        return {"loss": float(self.value[0])}

    def validate(self) -> dict[str, float]:
        self._do("validate")
        return {"val_nmse": float(self.value[0]) / 2}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        return {"value": self.value.copy()}

    def load_state(self, state: State) -> None:
        if state["value"].shape != self.value.shape:
            raise ModuleError(f"value has shape {state['value'].shape}")
        self.value = state["value"].copy()

    def _do(self, name: str) -> None:
        self.done.append(name)
        self.hooks.get(name, contextlib.nullcontext)()


def toy_run(folder: Path) -> Run:
    return create(folder, "toy", {}, {})


def value_after(steps: int) -> npt.NDArray[np.float64]:
    task = ToyTask()
    for step in range(1, steps + 1):
        task.step(step)
    return task.value
