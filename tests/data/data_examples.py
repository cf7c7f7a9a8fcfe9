"""Files of images as others make them, and as an attacker would."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from required import library

from tinyvq.errors import DataError

Bytes = npt.NDArray[np.uint8]

LABELS = "labels, it seems, where images"


def pixels(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def problem(call: Any, *args: Any, **kwargs: Any) -> str:
    """The text of the DataError that a call must raise: one or two lines."""
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert message.strip()
    assert len(message.splitlines()) <= 2
    return message


def problem_and_memory(call: Any, *args: Any) -> tuple[str, int]:
    """The text of the DataError, and the most memory in bytes that was taken for it."""
    tracemalloc.start()
    try:
        message = problem(call, *args)
        return message, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def written(path: Path, data: bytes) -> Path:
    """Write a file. Not over an old one, for which some file systems wait."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def idx(array: Bytes, kind: int = 8) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()


def npy(shape: str, descr: str = "'|u1'", body: bytes = b"", version: int = 1) -> bytes:
    """An array whose header says whatever it is told to say."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + body


def zipped(path: Path, *members: tuple[str, bytes], method: int = 8) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def png(width: int, height: int, body: bytes, depth: int = 8, kind: int = 0) -> bytes:
    """A PNG chunk by chunk, so that its header may lie."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum


def encoded(array: Bytes, format: str = "PNG", mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = library("PIL.Image").fromarray(array)
    picture.convert(mode).save(buffer, format)
    return buffer.getvalue()


def write_picture(path: Path, array: Bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    library("PIL.Image").fromarray(array).save(path)
    return path
