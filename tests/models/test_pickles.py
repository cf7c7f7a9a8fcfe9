"""Pickles of other people: arrays come out of them, and nothing runs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require
from pretrained_examples import problem

from tinyvq.models._pickles import (
    TORCH_MAGIC,
    TORCH_PROTOCOL,
    read_numpy_pickle,
    read_torch_tensors,
)

Array = npt.NDArray[Any]
READERS = {"numpy": read_numpy_pickle, "torch": read_torch_tensors}
TORCH_HEAD = b"".join(
    pickle.dumps(part, 2)
    for part in (TORCH_MAGIC, TORCH_PROTOCOL, {"little_endian": True})
)
HEADS = {"numpy": b"", "torch": TORCH_HEAD}
each_reader = pytest.mark.parametrize("kind", READERS)


def read(kind: str, body: bytes) -> dict[str, Any]:
    return READERS[kind](HEADS[kind] + body, "weights.pkl")


class Calls:
    """An object whose pickle asks for a call when it is read."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def value(thing: Any) -> bytes:
    """Instructions that put a value on the stack."""
    return pickle.dumps(thing, 2)[2:-1]


def torch_file(
    offset: int = 0,
    shape: tuple[Any, ...] = (2, 3),
    strides: tuple[Any, ...] = (1, 2),
    length: int = 6,
    promised: int | None = None,
    kind: str = "FloatStorage",
) -> bytes:
    """Write a file with the tensor "w" in it, as torch.save did before 1.6."""
    promised = length if promised is None else promised
    storage = value("storage") + f"ctorch\n{kind}\n".encode()
    storage += value("key") + value("cpu") + value(promised) + b"N"
    places = value(offset) + value(shape) + value(strides)
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQ" + places
    tensor += hooks + b"tR"
    state = b"\x80\x02ccollections\nOrderedDict\n)R" + value("w") + tensor + b"s."
    numbers = np.arange(length, dtype="<f4" if kind == "FloatStorage" else "<i8")
    values = length.to_bytes(8, "little") + numbers.tobytes()
    return TORCH_HEAD + state + pickle.dumps(["key"], 2) + values


def numpy_file() -> bytes:
    """Write a pickle as NumPy 1 did."""
    arrays = {"conv": [np.arange(6, dtype="f4").reshape(2, 3), np.ones(2, "f4")]}
    return pickle.dumps(arrays, 3).replace(b"numpy._core.", b"numpy.core.")


def test_arrays_of_numpy_come_out_as_they_went_in() -> None:
    found = read_numpy_pickle(numpy_file(), "weights.pkl")
    first, second = found["conv"]
    np.testing.assert_array_equal(first, np.arange(6, dtype="f4").reshape(2, 3))
    np.testing.assert_array_equal(second, np.ones(2, "f4"))
    assert first.dtype == np.float32


@pytest.mark.parametrize(("kind", "dtype"), [("Float", "f4"), ("Long", "i8")])
def test_a_tensor_comes_out_as_the_view_that_it_was(kind: str, dtype: str) -> None:
    data = torch_file(1, (2, 2), (1, 3), kind=f"{kind}Storage")
    found = read_torch_tensors(data, "weights.pth")["w"]
    np.testing.assert_array_equal(found, np.array([[1, 4], [2, 5]], dtype))
    assert found.dtype == dtype


@pytest.mark.torch
def test_what_pytorch_saves_is_read_as_pytorch_reads_it(tmp_path: Path) -> None:
    torch = require("torch")
    whole = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "whole": whole,
        "turned": whole.permute(2, 0, 1),  # a view of the same storage
        "part": whole[1, 1:],
        "own": torch.randn(5, 1),
        "count": torch.tensor(7),
    }
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    found = read_torch_tensors(path.read_bytes(), str(path))
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), strict=True)


@each_reader
@pytest.mark.parametrize(
    ("asked", "attack"),
    [
        ("posix.system", b"cposix\nsystem\n(Vtouch PLACE\ntR."),
        ("os.system", b"cos\nsystem\n(Vtouch PLACE\ntR."),
        ("builtins.eval", b"cbuiltins\neval\n(Vopen('PLACE', 'w')\ntR."),
        ("subprocess.Popen", b"csubprocess\nPopen\n((Vtouch\nVPLACE\nltR."),
        ("numpy.load", b"cnumpy\nload\n(VPLACE\ntR."),
        ("collections.namedtuple", b"ccollections\nnamedtuple\n."),
    ],
)
def test_a_pickle_that_asks_for_a_call_is_refused(
    kind: str, asked: str, attack: bytes, tmp_path: Path
) -> None:
    place = tmp_path / "touched"
    body = attack.replace(b"PLACE", str(place).encode())
    message = problem(lambda: read(kind, body))
    assert f"asks for {asked!r}" in message
    assert "weights.pkl" in message
    assert not place.exists()


@each_reader
def test_an_object_that_reduces_to_a_call_is_refused(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "made"
    attack = pickle.dumps({"conv": [Calls(Path.mkdir, place)]})
    assert "asks for" in problem(lambda: read(kind, attack))
    assert not place.exists()
    pickle.loads(attack)  # and it would have worked
    assert place.exists()


@each_reader
def test_the_head_of_a_file_is_read_as_carefully(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "made"
    attack = pickle.dumps(Calls(Path.mkdir, place)) + torch_file()
    assert "asks for" in problem(lambda: READERS[kind](attack, "weights.pkl"))
    assert not place.exists()


@each_reader
def test_a_file_cut_short_anywhere_is_refused(kind: str) -> None:
    whole = {"numpy": numpy_file(), "torch": torch_file()}[kind]
    READERS[kind](whole, "weights.pkl")
    for end in range(len(whole)):
        assert "weights.pkl" in problem(
            lambda end=end: READERS[kind](whole[:end], "weights.pkl")
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (2, 4)},
        {"strides": (1, 3)},
        {"strides": (-1, 2)},
        {"shape": (2**40, 2**40), "strides": (0, 0)},
        {"shape": (2, 3, 1)},
        {"shape": ("2", 3)},
        {"promised": 7},
        {"promised": 5},
        {"promised": 6, "length": 7},
        {"shape": (7, 1), "strides": (0, 0)},
    ],
    ids=str,
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    wrong: dict[str, Any],
) -> None:
    message = problem(lambda: read_torch_tensors(torch_file(**wrong), "weights.pth"))
    assert "is damaged, or not a file of weights" in message


@pytest.mark.parametrize(
    "content",
    [
        {"conv": [1.0]},
        {"conv": [np.ones(2, "f8")]},
        {"conv": [np.ones(2, "i4")]},
        {"conv": [np.ones(2, ">f4")]},
        {"conv": [np.ones((3, 2), "f4").T]},
        [np.ones(2, "f4")],
        {"conv": 3},
        None,
    ],
    ids=["number", "f8", "i4", ">f4", "columns first", "no dict", "no list", "nothing"],
)
def test_a_pickle_of_anything_else_is_refused(content: Any) -> None:
    data = pickle.dumps(content, 3).replace(b"numpy._core.", b"numpy.core.")
    message = problem(lambda: read_numpy_pickle(data, "weights.pkl"))
    assert "is damaged, or not a file of weights" in message


def test_a_newer_file_of_pytorch_is_refused() -> None:
    archive = b"PK\x03\x04" + bytes(100)
    assert "weights.pth" in problem(lambda: read_torch_tensors(archive, "weights.pth"))
    later = torch_file().replace(
        pickle.dumps(TORCH_PROTOCOL, 2), pickle.dumps(TORCH_PROTOCOL + 1, 2)
    )
    message = problem(lambda: read_torch_tensors(later, "weights.pth"))
    assert "does not begin as such files do" in message


def test_bytes_in_the_other_order_are_refused() -> None:
    data = torch_file().replace(
        pickle.dumps({"little_endian": True}, 2),
        pickle.dumps({"little_endian": False}, 2),
    )
    message = problem(lambda: read_torch_tensors(data, "weights.pth"))
    assert "other order" in message
