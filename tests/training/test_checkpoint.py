"""What is saved comes back, and the newest checkpoints stay."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from required import library
from training.checkpoint_examples import (
    Arrays,
    bits,
    example_info,
    example_state,
    found,
    names,
    names_of,
    save_example,
)
from training.faults import injected

from tinyvq.errors import CheckpointError
from tinyvq.training import checkpoint


@pytest.fixture(autouse=True, scope="module")
def _safetensors() -> None:
    library("safetensors")


# What goes in comes out.

DTYPES = [
    *["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"],
    *["float16", "float32", "float64"],
]


@st.composite
def any_array(draw: st.DrawFn) -> npt.NDArray[Any]:
    """Draw any dtype, shape (also none and empty), bits (also NaNs) and strides."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
    if array.ndim == 0:
        return array
    axes = draw(st.permutations(range(array.ndim)))
    strides = st.sampled_from([1, 2, -1, -2])
    cut = tuple(slice(None, None, draw(strides)) for _ in range(array.ndim))
    return array.transpose(axes)[cut]


@settings(deadline=None)  # a disk may be busy
@given(arrays=st.dictionaries(st.text().filter("__metadata__".__ne__), any_array()))
def test_arrays_come_back_bit_for_bit(arrays: Arrays) -> None:
    before = bits(arrays)
    with tempfile.TemporaryDirectory() as folder, injected():
        checkpoint.save(folder, 1, arrays, {})
        loaded = checkpoint.load_latest(folder).arrays
    assert bits(loaded) == before == bits(arrays)
    assert all(array.flags.writeable for array in loaded.values())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None)  # a disk may be busy
@given(info=st.dictionaries(st.text(), json_values))
def test_info_comes_back(info: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, injected():
        checkpoint.save(folder, 1, {}, info)
        back = checkpoint.load_latest(folder).info
    assert json.dumps(back, sort_keys=True) == json.dumps(info, sort_keys=True)


def test_keys_and_tuples_of_info_become_those_of_json(tmp_path: Path) -> None:
    info: Any = {"size": (28, 28), "weights": {10: 1.0, 9: 2.0}}
    checkpoint.save(tmp_path, 1, {}, info)
    back = checkpoint.load_latest(tmp_path).info
    assert back == {"size": [28, 28], "weights": {"10": 1.0, "9": 2.0}}


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    state, info = example_state(3), example_info(3)
    state["encoder.weight"] = np.asfortranarray(state["encoder.weight"])
    turned = dict(reversed(state.items())), dict(reversed(info.items()))
    checkpoint.save(tmp_path / "a", 5, example_state(3), example_info(3))
    checkpoint.save(tmp_path / "b", 5, *turned)
    assert names(tmp_path / "a") == names(tmp_path / "b") == names_of(5)
    for name in names_of(5):
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes()


def test_the_files_are_what_other_tools_can_read(tmp_path: Path) -> None:
    path = save_example(tmp_path, 1000, seed=3)
    assert path == tmp_path / "step-00001000.safetensors"
    from safetensors.numpy import load_file

    assert bits(load_file(path)) == bits(example_state(3))
    record = json.loads(path.with_suffix(".json").read_bytes())
    data = path.read_bytes()
    assert record["schema"] == 1
    assert record["step"] == 1000
    assert record["length"] == len(data)
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["info"] == example_info(3)
    assert "replaces" not in record


def test_load_takes_one(tmp_path: Path) -> None:
    path = save_example(tmp_path, 1, seed=3)
    save_example(tmp_path, 2, seed=4)
    loaded = checkpoint.load(path)
    assert (loaded.step, loaded.path, loaded.rejected) == (1, path, [])
    assert bits(loaded.arrays) == bits(example_state(3))


@pytest.mark.parametrize("name", ["step-1.safetensors", "step-00000001.json", "", "/"])
def test_load_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="expected a checkpoint such as step-"):
        checkpoint.load(tmp_path / name)


def test_load_of_a_missing_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "step-00000001.safetensors"
    with pytest.raises(CheckpointError, match=r"cannot be used: cannot list .*No such"):
        checkpoint.load(path)
    path.parent.mkdir()
    with pytest.raises(CheckpointError, match="unfinished: there is no step-00000001"):
        checkpoint.load(path)


# Which checkpoints stay.


def test_the_newest_two_stay(tmp_path: Path) -> None:
    for step in range(5):
        save_example(tmp_path, step, seed=step)
        assert found(tmp_path) == (step, step)
    assert names(tmp_path) == names_of(3, 4)


def test_older_ones_go_last_and_the_json_before_the_data(tmp_path: Path) -> None:
    for step in (1, 2):
        save_example(tmp_path, step, seed=step)
    with injected() as faulty:
        save_example(tmp_path, 3, seed=3)
    *saving, json_gone, data_gone = faulty.calls
    assert [Path(call.path).name for call in (json_gone, data_gone)] == names_of(1)
    assert "unlink" not in [call.kind for call in saving]


def test_more_stay_if_asked(tmp_path: Path) -> None:
    for step in range(5):
        save_example(tmp_path, step, seed=step, keep=3)
    assert names(tmp_path) == names_of(2, 3, 4)


def test_a_damaged_one_does_not_push_out_a_sound_one(tmp_path: Path) -> None:
    for step in (1, 2):
        save_example(tmp_path, step, seed=step)
    (tmp_path / "step-00000002.safetensors").write_bytes(b"cut")
    save_example(tmp_path, 3, seed=3)
    assert names(tmp_path) == names_of(1, 2, 3)
    save_example(tmp_path, 4, seed=4)
    assert names(tmp_path) == names_of(3, 4)


def test_later_steps_are_left_alone(tmp_path: Path) -> None:
    for step in (1000, 2000, 100, 200, 300):
        save_example(tmp_path, step, seed=step)
    assert names(tmp_path) == names_of(200, 300, 1000, 2000)


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    for seed in (1, 2, 2, 3):
        save_example(tmp_path, 10, seed)
        assert found(tmp_path) == (10, seed)
        assert names(tmp_path) == names_of(10)
    checkpoint.save(tmp_path, 10, example_state(3), {"other": True})
    assert checkpoint.load_latest(tmp_path).info == {"other": True}


# What cannot be saved.


@pytest.mark.parametrize(
    "array",
    [np.array([None]), np.array(["a"]), np.array([1j]), np.array([1.0], dtype=">f8")],
    ids=lambda array: str(array.dtype),
)
def test_other_dtypes_are_refused(tmp_path: Path, array: npt.NDArray[Any]) -> None:
    with pytest.raises(CheckpointError, match=r"cannot save 'x' of dtype .*: expected"):
        checkpoint.save(tmp_path, 1, {"x": array}, {})
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_names_that_the_format_has_not_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot save"):
        checkpoint.save(tmp_path, 1, {name: np.zeros(2)}, {})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "value", [float("nan"), object(), b"bytes", np.float32(1), "long" * 2**22]
)
def test_info_that_json_has_not_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckpointError, match="info "):
        checkpoint.save(tmp_path, 1, {}, {"value": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (1, 1), (1, 0)])
def test_step_and_keep_have_a_range(tmp_path: Path, step: int, keep: int) -> None:
    with pytest.raises(CheckpointError, match=f"got step {step} and keep {keep}"):
        checkpoint.save(tmp_path, step, {}, {}, keep=keep)
