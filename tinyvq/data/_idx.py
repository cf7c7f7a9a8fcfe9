"""Read idx files, the format of MNIST: a header of sizes, then bytes.

0, 0, type (8 = uint8), number of axes; each axis as a big-endian uint32; the values.
Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from tinyvq.data._arrays import MAX_BYTES
from tinyvq.data._reading import opened
from tinyvq.errors import DataError

_UINT8 = 8


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one idx file of bytes, plain or gzipped; DataError where it is damaged."""
    with opened(path) as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return _parse(file, path)
        try:
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _parse(cast(IO[bytes], unzipped), path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}") from error


def _parse(file: IO[bytes], path: Path) -> npt.NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= 4:
        raise DataError(f"{path} is not an idx file: it begins with {magic!r}")
    if magic[2] != _UINT8:
        raise DataError(f"{path} holds values of type {magic[2]}, expected bytes (8)")
    axes = file.read(4 * magic[3])
    if len(axes) < 4 * magic[3]:
        raise DataError(f"{path} is cut short: it ends within its header")
    shape = struct.unpack(f">{magic[3]}I", axes)
    size = math.prod(shape)
    if size == 0:
        raise DataError(f"{path} holds no values: it declares {shape}")
    if size > MAX_BYTES:
        raise DataError(
            f"{path} declares {size} bytes of {shape}, at most {MAX_BYTES} are read"
        )
    data = _read_up_to(file, size + 1)  # one more, to see that nothing follows
    if len(data) != size:
        more = "more" if len(data) > size else len(data)
        raise DataError(f"{path} declares {size} bytes of {shape}, but holds {more}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_up_to(file: IO[bytes], size: int) -> bytearray:
    """Read in pieces: memory grows with what is there, not with what is declared."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(size - len(data), 2**24))
        if not piece:
            break
        data += piece
    return data
