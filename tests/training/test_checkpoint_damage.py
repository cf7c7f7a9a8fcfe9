"""What is damaged is not loaded, and is reported."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from required import library
from training.checkpoint_examples import (
    bits,
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


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a run with checkpoints at the steps 100 and 200 (seeds 1 and 2)."""
    folder = tmp_path / "run"
    with injected():
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
