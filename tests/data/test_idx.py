"""idx files: what is read, and what is refused without being trusted."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import LABELS, idx, pixels, problem, problem_and_memory, written

from tinyvq.data import _arrays, _idx, load, read_idx


@pytest.mark.parametrize("shape", [(7,), (3, 5), (3, 5, 4), (3, 5, 4, 3)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_bytes_come_back_as_they_were(tmp_path: Path, shape, pack) -> None:
    array = pixels(*shape)
    found = read_idx(written(tmp_path / "some", pack(idx(array))))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("shape", [(40, 8, 4), (40, 8, 4, 1), (40, 8, 4, 3)])
def test_an_idx_file_is_a_set_of_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = pixels(*shape)
    data = load(str(written(tmp_path / "images", gzip.compress(idx(array)))))
    assert data.image_shape == (8, 4, shape[3] if len(shape) == 4 else 1)
    assert set(data.splits) == {"train", "val", "test"}
    found = data.everything().images
    np.testing.assert_array_equal(found, array.reshape(found.shape))


@pytest.mark.parametrize("length", range(4 + 12 + 60))
def test_a_file_cut_at_any_length_is_refused(tmp_path: Path, length: int) -> None:
    path = written(tmp_path / "cut", idx(pixels(3, 5, 4))[:length])
    message = problem(read_idx, path)
    if length < 4:
        assert message.startswith(f"{path} is not an idx file: it begins with b'")
    elif length < 16:
        assert message == f"{path} is cut short: it ends within its header"
    else:
        holds = length - 16
        assert message == f"{path} declares 60 bytes of (3, 5, 4), but holds {holds}"


def test_a_gzipped_file_cut_at_any_length_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(idx(pixels(3, 5, 4)))
    for length in range(2, len(whole)):
        path = written(tmp_path / "cut.gz", whole[:length])
        assert problem(read_idx, path).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_bytes_after_the_last_value_are_refused(tmp_path: Path, pack) -> None:
    path = written(tmp_path / "longer", pack(idx(pixels(3, 5, 4)) + b"\0"))
    expected = f"{path} declares 60 bytes of (3, 5, 4), but holds more"
    assert problem(read_idx, path) == expected


@pytest.mark.parametrize("kind", [0, 9, 11, 12, 13, 14, 255])
def test_values_that_are_not_bytes_are_refused(tmp_path: Path, kind: int) -> None:
    path = written(tmp_path / "other", idx(pixels(3, 5, 4), kind))
    expected = f"{path} holds values of type {kind}, expected bytes (8)"
    assert problem(read_idx, path) == expected


@pytest.mark.parametrize(
    "start", [b"\0\0\x08\0", b"\0\0\x08\x05", b"\x01\0\x08\x03", b"\0\x01\x08\x03"]
)
def test_other_magic_numbers_are_refused(tmp_path: Path, start: bytes) -> None:
    path = written(tmp_path / "other", start + bytes(100))
    expected = f"{path} is not an idx file: it begins with {start!r}"
    assert problem(read_idx, path) == expected


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 4, (2**31, 2**14, 1, 1)], ids=str)
def test_terabytes_that_are_declared_are_refused(tmp_path: Path, pack, sizes) -> None:
    header = b"\0\0\x08\x04" + b"".join(size.to_bytes(4, "big") for size in sizes)
    path = written(tmp_path / "huge", pack(header + bytes(100)))
    message = problem(read_idx, path)
    assert message.startswith(f"{path} declares {np.prod(sizes, dtype=object)} bytes")
    assert message.endswith(f"at most {_arrays.MAX_BYTES} are read")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_memory_is_taken_for_what_is_there(tmp_path: Path, pack) -> None:
    """4 GiB declared, below the limit: 100 bytes are there, so megabytes must do."""
    header = b"\0\0\x08\x01" + (2**32 - 1).to_bytes(4, "big")
    path = written(tmp_path / "large", pack(header + bytes(100)))
    message, peak = problem_and_memory(read_idx, path)
    assert message.endswith("but holds 100")
    assert peak < 64 * 2**20  # it reads in pieces of 16 MiB


def test_a_gzip_bomb_is_unpacked_no_further_than_it_declares(tmp_path: Path) -> None:
    bomb = gzip.compress(idx(pixels(4)) + bytes(100 * 2**20))
    message, peak = problem_and_memory(read_idx, written(tmp_path / "bomb", bomb))
    assert message.endswith("declares 4 bytes of (4,), but holds more")
    assert peak < 2**20


def test_a_flipped_bit_of_a_gzipped_file_is_refused_or_harmless(tmp_path: Path) -> None:
    array = pixels(3, 5, 4)
    whole = gzip.compress(idx(array))
    refused = 0
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path = written(tmp_path / "flipped", bytes(damaged))
        try:
            found = read_idx(path)
        except ValueError:
            problem(read_idx, path)
            refused += 1
        else:  # of the file's name, its time, or the system that made it
            np.testing.assert_array_equal(found, array)
    assert refused >= len(whole) - 10  # the header has 10 bytes


def test_a_gzipped_file_with_a_wrong_checksum_is_damaged(tmp_path: Path) -> None:
    whole = gzip.compress(idx(pixels(3, 5, 4)))
    path = written(tmp_path / "wrong.gz", whole[:-8] + bytes(4) + whole[-4:])
    assert problem(read_idx, path).startswith(f"{path} is damaged: CRC check failed")


@pytest.mark.parametrize("shape", [(0, 28, 28), (5, 0, 28), (0,)], ids=str)
def test_a_file_without_values_is_refused(tmp_path: Path, shape) -> None:
    path = written(tmp_path / "none", idx(np.empty(shape, np.uint8)))
    assert problem(read_idx, path) == f"{path} holds no values: it declares {shape}"


def test_labels_where_images_were_meant_are_named_as_such(tmp_path: Path) -> None:
    path = written(tmp_path / "labels", idx(pixels(50)))
    message = problem(load, str(path))
    assert message.startswith(f"{path} holds (50,) uint8: {LABELS}")


def test_rows_of_pixels_are_not_taken_for_images(tmp_path: Path) -> None:
    path = written(tmp_path / "rows", idx(pixels(10, 784)))
    message = problem(load, str(path))
    assert message.startswith(f"{path} holds (10, 784) uint8, expected images (N,H,W)")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert problem(read_idx, tmp_path) == f"cannot read {tmp_path}: it is not a file"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it would wait for ever
    assert problem(read_idx, pipe) == f"cannot read {pipe}: it is not a file"
    missing = tmp_path / "missing"
    expected = f"cannot read {missing}: No such file or directory"
    assert problem(read_idx, missing) == expected


def test_a_file_that_cannot_be_read_is_reported() -> None:
    """This one cannot be read at its start by anyone, root included."""
    path = Path("/proc/self/mem")
    assert problem(read_idx, path) == f"cannot read {path}: Input/output error"


def test_a_file_larger_than_memory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(_idx, "_read_up_to", no_memory)
    path = written(tmp_path / "large", idx(pixels(3, 5, 4)))
    assert problem(read_idx, path) == f"cannot read {path}: not enough memory"
