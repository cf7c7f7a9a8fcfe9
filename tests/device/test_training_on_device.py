"""Training on a GPU's arrays does, bit for bit, what it does on NumPy's."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from device.device_examples import STEPS, TASKS, assert_same_state, make_task
from strict_device import Graph, StrictArray

from tinyvq.errors import NonFiniteError

every_task = pytest.mark.parametrize("name", TASKS)


@every_task
def test_three_steps_on_a_gpu_are_three_on_a_cpu(
    cupy: Any, tmp_path: Path, name: str
) -> None:
    here, there = (make_task(name, tmp_path, b) for b in ("cpu", "cuda"))
    assert_same_state(here.state(), there.state())
    restarted = 0.0
    for step in range(1, STEPS + 1):
        mine, its = dict(here.step(step)), dict(there.step(step))
        assert mine == its
        assert all(isinstance(value, float | int) for value in its.values())
        restarted += mine.get("codes_restarted", 0)
    assert_same_state(here.state(), there.state())
    assert here.validate() == there.validate()
    assert restarted > 0 or "restarts" not in name
    slots = [array for arrays in there.optimizer.slots.values() for array in arrays]
    assert all(isinstance(array, StrictArray) for array in slots)


@every_task
def test_a_state_moves_between_backends(cupy: Any, tmp_path: Path, name: str) -> None:
    """Step on one, step on the other, and back, as a run that is resumed does."""
    whole = make_task(name, tmp_path, "cpu")
    state = whole.state()
    for step, backend in enumerate(("cuda", "cpu", "cuda"), start=1):
        part = make_task(name, tmp_path, backend)
        part.load_state(state)
        part.step(step)
        whole.step(step)
        state = part.state()
        assert_same_state(whole.state(), state)


# A step waits for the GPU only where Python must know a value to go on.
GUARD = "tinyvq.training.guard.GuardedBackward.__call__: get"  # all is finite
RESTART = "tinyvq.quantizers._vector.VectorQuantizer.settle: get"  # has a code died
WHICH = "tinyvq.quantizers._vector.VectorQuantizer._restart: flatnonzero"
WAITS = {
    "vqvae": {GUARD: 1, RESTART: 1},
    "vqvae restarts": {GUARD: 1, RESTART: 1, WHICH: 1},
    "vqvae gradient": {GUARD: 1, RESTART: 1, WHICH: 1},
    "vqvae soft": {GUARD: 1},
    "vqvae dense": {GUARD: 1, RESTART: 1, WHICH: 1},
    "vqgan": {GUARD: 2, RESTART: 1},
    "vqgan rotation": {GUARD: 2, RESTART: 1},
    "vae": {GUARD: 1},
    "vae small": {GUARD: 1},
    "gan": {GUARD: 2},
    "noise-vqgan": {GUARD: 2, RESTART: 1},
    "prior": {GUARD: 1},
    "prior pixelcnn": {GUARD: 1},
}


@every_task
def test_a_step_waits_for_what_it_must_know_alone(
    cupy: Any, tmp_path: Path, name: str
) -> None:
    task = make_task(name, tmp_path, "cuda")
    task.step(1)  # places the codebook
    cupy.synchronisations.clear()
    measures = task.step(2)
    # The reference kernels, which define and do not hurry, wait as they like.
    waits = [w for w in cupy.synchronisations if not w.startswith("tinyvq_kernels.")]
    assert Counter(waits) == WAITS[name]
    cupy.synchronisations.clear()
    assert len(measures) > 0
    assert cupy.synchronisations == []
    dict(measures)
    assert len(cupy.synchronisations) <= len(measures)


@pytest.mark.parametrize("name", ["vqvae", "prior"])
def test_the_first_bad_value_is_found_on_a_gpu(
    cupy: Any, tmp_path: Path, name: str
) -> None:
    told = []
    for backend in ("cpu", "cuda"):
        task = make_task(name, tmp_path, backend)
        model = task.parts()["prior" if name == "prior" else "model"]
        with model.parameters()[-1].mutate() as array:
            array.fill(math.nan)
        with pytest.raises(NonFiniteError) as caught:
            task.step(1)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert "the first bad value of the step" in told[0]


LATER = {"adversarial_start": 5, "adversarial_ramp": 2, "head_start": 2}


@pytest.mark.parametrize("name", [n for n in TASKS if not n.startswith("prior")])
def test_captured_steps_are_those_of_a_cpu(
    cupy: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs are recorded from the third step on, and for what begins later, later."""
    launched = []
    launch = Graph.launch
    monkeypatch.setattr(
        Graph, "launch", lambda self: launched.append(self) or launch(self)
    )
    if name == "vqgan":
        monkeypatch.setitem(TASKS, name, replace(TASKS[name], **LATER))
    here, there = (make_task(name, tmp_path, b) for b in ("cpu", "cuda"))
    for step in range(1, 12):
        assert dict(here.step(step)) == dict(there.step(step))
    assert_same_state(here.state(), there.state())
    assert len(launched) > 2 * len(set(launched)) > 0
