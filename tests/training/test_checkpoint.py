import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import require
from training.faults import (
    Fault,
    Job,
    example_info,
    example_state,
    injected,
    run_jobs,
    save_example,
    states_after_power_loss,
)

from tinyvq.errors import CheckpointError, FileError
from tinyvq.training import checkpoint

Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture(autouse=True, scope="module")
def _safetensors() -> None:
    require("safetensors")


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


# What stands before the save of step 100 with seed 7.


def nothing(folder: Path) -> None:
    pass


def two_older_and_rubbish(folder: Path) -> None:
    for step in (25, 50, 75):
        save_example(folder, step, seed=1, keep=3)
    (folder / "step-00000025.json").unlink()  # killed between two removals
    (folder / ".step-00000075.json.12345678.tinyvq-tmp").write_bytes(b"{")


def the_same_step_otherwise(folder: Path) -> None:
    save_example(folder, 100, seed=1)


def the_same_step_half_replaced(folder: Path) -> None:
    """Killed after the .json that accepts both, before the data."""
    save_example(folder, 100, seed=1)
    with injected() as faulty:
        save_example(folder.with_name("count"), 100, seed=1)
        start = len(faulty.calls)
        save_example(folder.with_name("count"), 100, seed=2)
    kinds = [call.kind for call in faulty.calls[start:]]
    first_fsync = kinds.index("fsync folder")
    with injected(first_fsync + 2, Fault.DEAD), pytest.raises(FileError):
        save_example(folder, 100, seed=2)
    record = json.loads((folder / "step-00000100.json").read_bytes())
    assert "replaces" in record


def the_same_step_again(folder: Path) -> None:
    save_example(folder, 100, seed=7)


Scenario = Callable[[Path], None]
SCENARIOS: list[Scenario] = [
    nothing,
    two_older_and_rubbish,
    the_same_step_otherwise,
    the_same_step_half_replaced,
    the_same_step_again,
]
NEW = (100, 7)


def prepared(tmp_path: Path, scenario: Scenario) -> tuple[Path, int]:
    """Make the folder before the save, and count the calls that the save makes."""
    before = tmp_path / "before" / scenario.__name__
    counted = tmp_path / "counted" / scenario.__name__
    for folder in (before, counted):
        folder.parent.mkdir(exist_ok=True)
    with injected():
        scenario(before)
    copy(before, counted)
    with injected() as faulty:
        save_example(counted, *NEW)
    kinds = [call.kind for call in faulty.calls]
    writes = 3 if "otherwise" in before.name or "half" in before.name else 2
    for kind in ("open", "write", "fsync", "replace", "fsync folder"):
        assert kinds.count(kind) >= writes
    assert "mkdir" in kinds or before.exists()
    assert "unlink" in kinds or scenario is not two_older_and_rubbish
    assert len(set(kinds)) >= 7
    return before, len(kinds)


def copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    if source.exists():
        shutil.copytree(source, target)
    return target


def the_next_save_works_and_cleans_up(folder: Path) -> None:
    before = found(folder)
    with injected():
        save_example(folder, 200, seed=8)
    assert found(folder) == (200, 8)
    kept = [] if before is None else [before[0]]
    assert names(folder) == names_of(*kept, 200)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.KILL])
def test_a_fault_at_any_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, scenario: Scenario, fault: Fault
) -> None:
    before, calls = prepared(tmp_path, scenario)
    old = found(before)
    seen = set()
    for at in range(calls):
        folder = copy(before, tmp_path / "run")
        with injected(at, fault) as faulty:
            if fault is Fault.SHORT:
                save_example(folder, *NEW)
            else:
                with pytest.raises(FileError, match=r"cannot .*: (Input|No space)"):
                    save_example(folder, *NEW)
        assert len(faulty.calls) > at, "the fault was never reached"
        after = found(folder)
        assert after in (old, NEW), (at, faulty.calls[at])
        seen.add(after)
        if folder.exists() and fault not in (Fault.DEAD, Fault.SHORT):
            ours = [name for name in names(folder) if name.startswith(".")]
            assert ours == [] or faulty.calls[at].path.endswith(ours[0])
        the_next_save_works_and_cleans_up(folder)
    assert seen == ({NEW} if fault is Fault.SHORT else {old, NEW})


def test_a_kill_at_any_call_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    jobs, olds = [], []
    for scenario in SCENARIOS:
        before, calls = prepared(tmp_path, scenario)
        for at in range(calls):
            folder = copy(before, tmp_path / scenario.__name__ / str(at))
            jobs.append(Job(str(folder), *NEW, kill_at=at))
            olds.append(found(before))
    outcomes = run_jobs(jobs)
    assert {outcome.signal for outcome in outcomes} == {9}
    seen = set()
    for job, old in zip(jobs, olds, strict=True):
        folder = Path(job.folder)
        after = found(folder)
        assert after in (old, NEW), job
        seen.add(after == NEW)
        the_next_save_works_and_cleans_up(folder)
    assert seen == {False, True}


@pytest.mark.parametrize("scenario", SCENARIOS[1:])
def test_power_loss_at_any_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, scenario: Scenario
) -> None:
    before, _ = prepared(tmp_path, scenario)
    old = found(before)
    folder = copy(before, tmp_path / "run")
    content = {name: (before / name).read_bytes() for name in names(before)}
    with injected() as faulty:
        save_example(folder, *NEW)
    seen = set()
    for done, state in states_after_power_loss(content, faulty.calls):
        key = frozenset(state.items())
        if (done == len(faulty.calls), key) in seen:
            continue
        seen.add((done == len(faulty.calls), key))
        lost = copy(tmp_path / "none", tmp_path / "lost")
        lost.mkdir()
        for name, data in state.items():
            (lost / name).write_bytes(data)
        allowed = [NEW] if done == len(faulty.calls) else [old, NEW]
        assert found(lost) in allowed, (done, sorted(state))
    assert len(seen) >= 8  # that many are there even if nothing changes


def test_nothing_goes_around_the_injector(tmp_path: Path) -> None:
    before, _ = prepared(tmp_path, two_older_and_rubbish)
    folders = [before, tmp_path / "fresh"]
    outcomes = run_jobs([Job(str(folder), *NEW, audit=True) for folder in folders])
    for outcome in outcomes:
        assert outcome.audited == outcome.counted
        assert len(outcome.counted) >= 5


def test_a_full_disk_keeps_the_old_state(tmp_path: Path) -> None:
    size = save_example(tmp_path / "size", *NEW).stat().st_size
    limits = [0, 1, size // 2, size - 1]
    folders = [copy(tmp_path / "size", tmp_path / str(limit)) for limit in limits]
    jobs = [
        Job(str(folder), 200, 8, file_size_limit=limit)
        for folder, limit in zip(folders, limits, strict=True)
    ]
    for folder, outcome in zip(folders, run_jobs(jobs), strict=True):
        path = folder / "step-00000200.safetensors"
        assert outcome.error == f"cannot write {path}: File too large"
        assert found(folder) == NEW
        assert names(folder) == names_of(100)


@pytest.mark.parametrize("place", ["/proc/tinyvq", "file", "file/below"])
def test_an_unwritable_place_is_a_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileError, match=r"cannot make the folder .*(tinyvq|file): "):
        save_example(tmp_path / place, *NEW)
    assert (tmp_path / "file").read_bytes() == b"mine"


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


# What is damaged is not loaded, and is reported.


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a run with checkpoints at the steps 100 and 200 (seeds 1 and 2)."""
    folder = tmp_path / "run"
    save_example(folder, 100, seed=1)
    save_example(folder, 200, seed=2)
    return folder


def data_of(folder: Path) -> Path:
    return folder / "step-00000200.safetensors"


def record_of(folder: Path) -> Path:
    return folder / "step-00000200.json"


def reason(folder: Path) -> str:
    """Load the older one, as is right here, and say why the newer was refused."""
    assert found(folder) == (100, 1)
    ((name, why),) = checkpoint.load_latest(folder).rejected
    assert name == "step-00000200"
    assert "\n" not in why
    return why


def test_data_cut_at_any_length_is_refused(run: Path) -> None:
    data = data_of(run).read_bytes()
    for length in range(len(data)):
        data_of(run).write_bytes(data[:length])
        assert f"holds {length} bytes, expected {len(data)}" in reason(run)
    data_of(run).write_bytes(data + b"\0")
    assert f"it holds {len(data) + 1} bytes, expected at most" in reason(run)
    data_of(run).write_bytes(data)
    assert found(run) == (200, 2)


def test_a_flipped_bit_of_the_data_is_refused(run: Path) -> None:
    data = data_of(run).read_bytes()
    for index in range(len(data)):
        flipped = bytearray(data)
        flipped[index] ^= 1 << index % 8
        data_of(run).write_bytes(flipped)
        assert "has sha256 " in reason(run)


def test_a_json_cut_at_any_length_is_refused(run: Path) -> None:
    text = record_of(run).read_bytes()
    assert text.endswith(b"}\n")
    for length in range(len(text) - 1):
        record_of(run).write_bytes(text[:length])
        assert "step-00000200.json is damaged" in reason(run)


def test_a_flipped_bit_of_the_json_never_gives_another_state(run: Path) -> None:
    text = record_of(run).read_bytes()
    refused = 0
    for index in range(len(text)):
        flipped = bytearray(text)
        flipped[index] ^= 1 << index % 8
        record_of(run).write_bytes(flipped)
        # Some flips mean nothing, as from 3e-4 to 3E-4.
        refused += found(run) == (100, 1) or found(run) != (200, 2)
        assert found(run) in ((100, 1), (200, 2))
    assert refused > 0.95 * len(text)


@pytest.mark.parametrize(
    "text",
    [
        *[b"", b"null", b"7", b"[]", b"{}", b'"seal"', b"\xff\xfe{", b"[" * 100_000],
        *[b'{"a":' * 100_000, b"9" * 10_000, b"NaN", b'{"seal": null}', b"\0" * 500],
    ],
    ids=lambda text: repr(text[:9]),
)
def test_a_json_that_is_not_one_is_refused(run: Path, text: bytes) -> None:
    record_of(run).write_bytes(text)
    assert "step-00000200.json is damaged: " in reason(run)


def test_a_huge_json_is_refused_unread(run: Path) -> None:
    with open(record_of(run), "wb") as file:
        file.truncate(2**40)  # sparse
    assert "it holds 1099511627776 bytes, expected at most 16777216" in reason(run)


def test_the_json_of_another_step_is_refused(run: Path) -> None:
    shutil.copy(run / "step-00000100.json", record_of(run))
    assert "is of step 100, expected schema 1 and step 200" in reason(run)
    shutil.copy(run / "step-00000100.safetensors", data_of(run))
    assert "is of step 100, expected schema 1 and step 200" in reason(run)


def test_missing_files_are_reported(run: Path) -> None:
    record = record_of(run).read_bytes()
    record_of(run).unlink()
    assert reason(run) == "unfinished: there is no step-00000200.json"
    record_of(run).write_bytes(record)
    data_of(run).unlink()
    assert "cannot read" in reason(run)
    assert "No such file or directory" in reason(run)


def test_folders_pipes_and_dead_links_are_refused(run: Path) -> None:
    for path in (record_of(run), data_of(run)):
        kept = path.read_bytes()
        for make in (os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)):
            path.unlink()
            make(path)
            assert "cannot read" in reason(run)
            path.rmdir() if path.is_dir() else path.unlink()
            path.write_bytes(kept)


def test_other_files_in_the_folder_do_not_matter(run: Path) -> None:
    others = ["notes.txt", "step-abc.json", "step-900.json", "step-000000900.json"]
    others += ["step-00000900.json.bak", ".step-00000900.json.1.tinyvq-tmp", "step-"]
    for name in others:
        (run / name).write_bytes(b"mine")
    (run / "step-00000900").mkdir()
    assert found(run) == (200, 2)
    assert checkpoint.load_latest(run).rejected == []
    save_example(run, 300, seed=3)
    kept = [name for name in others if not name.endswith("tmp")]
    assert names(run) == sorted([*kept, "step-00000900", *names_of(200, 300)])


def forge(folder: Path, data: bytes, **changes: Any) -> None:
    """Write a checkpoint that is sealed as it should be and has the given fields."""
    data_of(folder).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    fields = {"schema": 1, "step": 200, "length": len(data), "sha256": sha256}
    fields |= {"info": {}} | changes
    fields = {name: value for name, value in fields.items() if value is not ...}
    text = json.dumps(fields, sort_keys=True).encode()
    fields["seal"] = hashlib.sha256(text).hexdigest()
    record_of(folder).write_text(json.dumps(fields))


def tensors(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(dtype: str, shape: list[int], size: int) -> bytes:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
    return tensors({"x": entry}, b"\0" * min(size, 16))


def test_the_forger_can_make_a_sound_one(run: Path) -> None:
    forge(run, tensor("F32", [4], 16))
    loaded = checkpoint.load_latest(run)
    assert bits(loaded.arrays) == bits({"x": np.zeros(4, np.float32)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not tensors",
        (2**63).to_bytes(8, "little") + b"{}",
        tensors(b"[" * 100_000),
        tensors(b"{"),
        tensors({"x": 1}),
        tensor("F32", [2**40], 2**42),
        tensor("F32", [0, 2**63], 0),
        tensor("F32", [0, 2**62, 2**62], 0),
        tensor("U8", [1] * 100, 1),
        tensor("BF16", [1], 2),
        tensor("F32", [5], 16),
        tensors({"x": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_tensors_that_lie_about_themselves_are_refused(run: Path, data: bytes) -> None:
    forge(run, data)
    assert reason(run).startswith(("it is not a safetensors file", "it holds an array"))


@pytest.mark.parametrize(
    "changes",
    [
        {"length": -1},
        {"length": 10**30},
        {"length": 2.5},
        {"length": ...},
        {"sha256": ...},
        {"sha256": 3},
        {"info": []},
        {"info": ...},
        {"replaces": None},
        {"replaces": {"length": 1}},
        {"schema": 0},
        {"schema": "2"},
        {"schema": ...},
        {"step": "200"},
        {"step": ...},
    ],
    ids=str,
)
def test_a_json_with_wrong_fields_is_refused(
    run: Path, changes: dict[str, Any]
) -> None:
    forge(run, tensor("F32", [4], 16), **changes)
    assert reason(run)


def test_a_newer_schema_is_an_error_and_not_a_way_back(run: Path) -> None:
    forge(run, tensor("F32", [4], 16), schema=2)
    message = "step-00000200.safetensors cannot be used: it has schema 2, this tinyvq"
    for load in (checkpoint.load_latest, lambda run: checkpoint.load(data_of(run))):
        with pytest.raises(CheckpointError, match=message):
            load(run)


def test_nothing_usable_says_what_was_looked_for_and_why(tmp_path: Path) -> None:
    def message(folder: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            checkpoint.load_latest(folder)
        return str(caught.value)

    run = tmp_path / "run"
    missing = f"no checkpoint in {run}: cannot list {run}: No such file or directory"
    assert message(run) == missing
    run.mkdir()
    assert message(run) == f"no checkpoint in {run}: no step-*.json is there"
    save_example(run, 100, seed=1)
    save_example(run, 200, seed=2)
    record_of(run).unlink()
    (run / "step-00000100.safetensors").write_bytes(b"cut")
    assert message(run).startswith(
        f"no checkpoint in {run} can be used. "
        "step-00000200: unfinished: there is no step-00000200.json; "
        "step-00000100: step-00000100.safetensors holds 3 bytes, expected "
    )
