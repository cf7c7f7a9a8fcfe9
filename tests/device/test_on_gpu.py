"""Training on a real GPU: what it does on the CPU, within rounding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.device_examples import STEPS, TASKS, make_task
from gpu_device import real_cupy
from tinyvq_kernels import Captured

pytestmark = pytest.mark.gpu
every_task = pytest.mark.parametrize("name", TASKS)
# Of the length of an array. Adam moves a weight whose gradient is all but 0 by its sign
# alone, so a few weights of a step may differ by as much as they moved.
SAME = 1e-2


def assert_close(
    ours: dict[str, Any], theirs: dict[str, Any], weights_alone: bool
) -> None:
    """Compare two states array by array.

    weights_alone  a bias before a batch norm has no gradient but what rounding leaves,
                   and Adam makes whole steps of that: compare what has more axes
    """
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        other = theirs[name]
        assert type(array) is type(other) is np.ndarray, name
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        if weights_alone and array.ndim < 2:
            continue
        off = np.linalg.norm(np.subtract(array, other, dtype=np.float64))
        assert off <= SAME * np.linalg.norm(array.astype(np.float64)) + 1e-6, name


@every_task
def test_trains_as_the_cpu_does(name: str, tmp_path: Path) -> None:
    real_cupy()
    here, there = (make_task(name, tmp_path, b) for b in ("cpu", "cuda"))
    for step in range(1, STEPS + 1):
        mine, its = dict(here.step(step)), dict(there.step(step))
        assert mine.keys() == its.keys()
        assert its["loss"] == pytest.approx(mine["loss"], rel=1e-3)
    weights_alone = name in ("gan", "noise-vqgan")
    assert_close(here.state(), there.state(), weights_alone)
    assert here.validate() == pytest.approx(there.validate(), rel=2e-2, abs=1e-3)


@every_task
def test_a_state_moves_to_the_gpu_and_back(name: str, tmp_path: Path) -> None:
    real_cupy()
    first = make_task(name, tmp_path, "cuda")
    first.step(1)
    state = first.state()
    for backend in ("cpu", "cuda"):
        other = make_task(name, tmp_path, backend)
        other.load_state(state)
        assert {k: v.tobytes() for k, v in other.state().items()} == {
            k: v.tobytes() for k, v in state.items()
        }
    again = make_task(name, tmp_path, "cuda")
    again.load_state(state)
    assert dict(first.step(2)) == dict(again.step(2))
    assert_same(first.state(), again.state())


@every_task
def test_captured_steps_are_those_that_are_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: a graph repeats the same kernels on the same numbers."""
    real_cupy()
    captured, plain = (make_task(name, tmp_path, "cuda") for _ in range(2))
    with monkeypatch.context() as without:
        without.setattr(Captured, "__call__", lambda self, key=None: self.run())
        for step in range(1, 8):
            plain.step(step)
    for step in range(1, 8):
        captured.step(step)
    assert_same(plain.state(), captured.state())


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Compare bit for bit: a GPU makes the same from the same, each time."""
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name
