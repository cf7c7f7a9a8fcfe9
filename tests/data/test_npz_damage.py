"""An .npz that is damaged, lies, or means harm."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.data_examples import npy, pixels, problem, problem_and_memory, written, zipped

from tinyvq.data import _npz, read_npz


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.npz"


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_pickled_objects_are_refused_and_no_code_of_theirs_runs(
    path: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "the code ran"
    np.savez(path, images=np.array([Canary(mark)], dtype=object))
    # The same file, read as NumPy reads it if told to, does run it.
    np.load(path, allow_pickle=True)["images"]
    assert mark.exists()
    mark.unlink()

    where = f"{path}, 'images.npy',"
    expected = f"{where} holds pickled Python objects, which are not read"
    assert problem(read_npz, path) == expected
    # And so for objects within records, and a pickle in an array's place.
    body = pickle.dumps(Canary(mark))
    zipped(path, ("images.npy", npy("(1,)", "[('a', '|O'), ('b', '<f4')]", body)))
    assert problem(read_npz, path) == expected
    zipped(path, ("images.npy", body))
    expected = f"{where} is not a NumPy array, or is damaged"
    assert problem(read_npz, path) == expected
    assert not mark.exists()


@pytest.mark.parametrize(
    ("shape", "descr", "declared"),
    [
        ("(1099511627776, 36)", "'|u1'", 36 * 2**40),
        ("(4398046511104,)", "'<f8'", 2**45),
        ("(2, 3)", "'|u1'", 6),
        ("(3, 5)", "'|u1'", 15),
        ("(-1,)", "'|u1'", -1),
        ("(0, 5)", "'|u1'", 0),
        ("(2,)", "'<f4'", 8),
        ("(1000000000, 1000000000000)", "'<U1000'", 4 * 10**24),
    ],
)
def test_a_header_that_declares_more_or_less_than_there_is_is_refused(
    path: Path, shape: str, descr: str, declared: int
) -> None:
    zipped(path, ("images.npy", npy(shape, descr, bytes(7))), method=0)
    assert path.stat().st_size < 300
    message, peak = problem_and_memory(read_npz, path)
    assert message.startswith(f"{path}, 'images.npy', declares {declared} bytes of ")
    assert message.endswith(", but holds 7")
    assert peak < 2**20


@pytest.mark.parametrize(
    ("shape", "descr", "body"),
    [
        ("(-1, -7)", "'|u1'", bytes(7)),
        ("(3,)", "'|S0'", b""),
        (f"(0, {2**62}, {2**62})", "'|u1'", b""),
        (f"(0, {2**70})", "'|u1'", b""),
        ("(2,)", "('<f4', (3,))", bytes(24)),
        ("(" + "1, " * 100 + ")", "'|u1'", bytes(1)),
        ("(2,", "'|u1'", bytes(2)),
        ("(2,)", "'''", bytes(2)),
        ("(2,)", "'no such type'", bytes(2)),
        ("(2,)", "__import__('os')", bytes(2)),
        ("[2]", "'|u1'", bytes(2)),
        ("(2.0,)", "'|u1'", bytes(2)),
        ("(" * 5000, "'|u1'", bytes(2)),
        ("(" + "1" * 5000 + ",)", "'|u1'", bytes(2)),
        ("(2," + " " * 60_000 + ")", "'|u1'", bytes(2)),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_header_that_describes_no_array_is_refused(
    path: Path, shape: str, descr: str, body: bytes
) -> None:
    zipped(path, ("images.npy", npy(shape, descr, body)))
    message = problem(read_npz, path)
    assert "damaged" in message
    assert str(path) in message


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_more_than_the_limit_is_refused_unread(
    path: Path, monkeypatch: pytest.MonkeyPatch, packed: int
) -> None:
    """An honest bomb: zeros that are there, each array below the limit."""
    size = 2**20
    arrays = [(f"{name}.npy", npy(f"({size},)", body=bytes(size))) for name in "abc"]
    zipped(path, *arrays, method=packed)
    total = sum(len(data) for _, data in arrays)
    monkeypatch.setattr(_npz, "MAX_BYTES", total)
    assert [array.nbytes for array in read_npz(path).values()] == [size] * 3
    monkeypatch.setattr(_npz, "MAX_BYTES", total - 1)
    message, peak = problem_and_memory(read_npz, path)
    expected = f"{path} declares {total} bytes, at most {total - 1} are read"
    assert message == expected
    assert peak < size / 2


def forged(path: Path, at: int, field: str, value: int) -> None:
    """Change a field of both headers of the only member: its local one, its entry."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    for start in (at, entry + at + 2):  # the entry has two more bytes before these
        struct.pack_into(field, data, start, value)
    path.write_bytes(data)


FLAGS, METHOD, CRC, PACKED, PLAIN = 6, 8, 14, 18, 22  # places in the local header


def test_an_archive_that_lies_about_its_sizes_is_refused(path: Path) -> None:
    """4 GiB less 2 bytes declared three times over, but nothing like it is there."""
    declared = 2**32 - 2
    held = declared - len(npy(f"({declared},)"))
    for method in (0, 8):
        for places in ([PLAIN], [PACKED], [PACKED, PLAIN]):
            zipped(path, ("x.npy", npy(f"({held:10},)")), method=method)
            for place in places:
                forged(path, place, "<I", declared)
            message, peak = problem_and_memory(read_npz, path)
            assert message.startswith(f"{path}")
            assert peak < 2**20


def test_an_encrypted_array_is_refused(path: Path) -> None:
    forged(zipped(path, ("x.npy", npy("(1,)", body=b"\0"))), FLAGS, "<H", 1)
    assert problem(read_npz, path) == f"{path}, 'x.npy', is encrypted"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 6, 99])
def test_another_way_of_packing_is_refused(path: Path, method: int) -> None:
    known = method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    zipped(path, ("x.npy", npy("(1,)", body=b"\0")), method=method if known else 8)
    if not known:
        forged(path, METHOD, "<H", method)
    assert problem(read_npz, path) == (
        f"{path}, 'x.npy', is packed by method {method}, expected 0 (stored) or 8 "
        "(deflate)"
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_cut_at_any_length_is_refused(path: Path, save) -> None:
    save(path, images=pixels(2, 3, 4), labels=np.arange(2))
    whole = path.read_bytes()
    for length in range(len(whole)):
        written(path, whole[:length])
        assert problem(read_npz, path).startswith(f"{path} ")


@pytest.mark.parametrize("method", [0, 8])
def test_a_flipped_bit_of_the_values_is_refused(path: Path, method: int) -> None:
    array = pixels(64)
    zipped(path, ("x.npy", npy("(64,)", body=array.tobytes())), method=method)
    whole = path.read_bytes()
    end = whole.index(b"PK\x01\x02")
    if method == 8:
        end -= 2  # bits after all values are out: the mark of the end, and padding
    for at in range(end - 64, end):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        written(path, damaged)
        assert "damaged" in problem(read_npz, path)


def test_two_arrays_of_one_name_are_refused(path: Path) -> None:
    one = npy("(1,)", body=b"\0")
    zipped(path, ("x.npy", one), ("x", one))
    assert problem(read_npz, path) == f"{path} holds two arrays named 'x'"
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped(path, ("x.npy", one), ("x.npy", one))
    assert problem(read_npz, path) == f"{path} holds two arrays named 'x'"


@pytest.mark.parametrize("content", [b"", b"text\n" * 50, b"PK\x03\x04", bytes(500)])
def test_what_is_no_archive_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message = problem(read_npz, path)
    assert message == f"{path} is not a .npz, or is damaged: File is not a zip file"


def test_a_member_that_is_no_array_is_refused(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, pixels(3))
    for name, content in (
        ("readme.txt", b"some text that is longer than a header"),
        ("empty.npy", b""),
        ("folder/", b""),
        ("new.npy", buffer.getvalue().replace(b"NUMPY\x01", b"NUMPY\x07")),
    ):
        zipped(path, (name, content))
        expected = f"{path}, {name!r}, is not a NumPy array, or is damaged"
        assert problem(read_npz, path) == expected


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert problem(read_npz, tmp_path) == f"cannot read {tmp_path}: it is not a file"
    missing = tmp_path / "missing.npz"
    expected = f"cannot read {missing}: No such file or directory"
    assert problem(read_npz, missing) == expected
