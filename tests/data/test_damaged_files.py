"""Files damaged at random: each is read, or refused by a DataError, and nothing else.

Seeded, so that a failure names the file to make again: `damaged(KINDS[kind](), seed)`.
"""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.data_examples import chunk, encoded, idx, npy, pixels, written
from required import library

from tinyvq.data import _folder, _idx, _npz, load, read_idx, read_npz, read_picture
from tinyvq.errors import DataError

Image = library("PIL.Image")

Mend = Callable[[bytes], bytes]


def damaged(whole: bytes, seed: int) -> bytes:
    """Change some bits and bytes; cut, double or exchange pieces."""
    draw = np.random.default_rng(seed)
    data = bytearray(whole)
    for _ in range(draw.integers(1, 4)):
        # More often near the start, where the headers are.
        at = int(len(data) * draw.random() ** draw.integers(1, 4))
        length = int(draw.integers(1, 9))
        match draw.integers(0, 7):
            case 0 | 1:
                data[at : at + 1] = bytes(
                    b ^ 1 << length % 8 for b in data[at : at + 1]
                )
            case 2:
                data[at : at + length] = draw.bytes(len(data[at : at + length]))
            case 3:
                extreme = draw.choice([0, 1, 127, 128, 255])
                data[at : at + length] = bytes([extreme]) * len(data[at : at + length])
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length]
            case 6:
                del data[at:]
    return bytes(data)


def picture(mode: str, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(8, 9, 3)).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = 6
    found[0x010E] = "a description"
    return found


def archive(*, packed: bool) -> bytes:
    buffer = io.BytesIO()
    save = np.savez_compressed if packed else np.savez
    save(buffer, train=pixels(6, 4, 4), train_labels=np.arange(6), test=pixels(2, 4, 4))
    return buffer.getvalue()


def wide_grey() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(72, dtype=np.uint16).reshape(8, 9) * 900).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def mend_png(data: bytes) -> bytes:
    """Give each chunk the checksum that it needs, so that what is in it is believed."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 8 : at + 8 + length]
        out += chunk(data[at + 4 : at + 8], body) if len(body) == length else data[at:]
        at += 12 + length
    return out + data[at:]


def archived(data: bytes) -> bytes:
    """Put an array into a sound archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("train.npy", data)
    return buffer.getvalue()


def as_is(data: bytes) -> bytes:
    return data


# The reader, a sound file, and what is done to it after the damage.
KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[], bytes], Mend]] = {
    "idx": (read_idx, lambda: idx(pixels(6, 4, 4)), as_is),
    "idx, gzipped": (
        read_idx,
        lambda: gzip.compress(idx(pixels(6, 4, 4)), mtime=0),
        as_is,
    ),
    "idx, gzipped after": (read_idx, lambda: idx(pixels(6, 4, 4)), gzip.compress),
    "npz, stored": (read_npz, lambda: archive(packed=False), as_is),
    "npz, deflated": (read_npz, lambda: archive(packed=True), as_is),
    "npz, archived after": (
        read_npz,
        lambda: npy("(6, 4, 4)", body=bytes(96)),
        archived,
    ),
    "set of npz": (
        lambda path: load(str(path.rename(path.with_suffix(".npz")))).everything(),
        lambda: npy("(6, 4, 4)", body=bytes(96)),
        archived,
    ),
    "png, grey": (read_picture, lambda: picture("L", "PNG"), as_is),
    "png, colour": (read_picture, lambda: picture("RGB", "PNG"), mend_png),
    "png, alpha": (read_picture, lambda: picture("RGBA", "PNG"), mend_png),
    "png, 1 bit": (read_picture, lambda: picture("1", "PNG"), mend_png),
    "png, 16 bits": (read_picture, wide_grey, mend_png),
    "png, palette": (
        read_picture,
        lambda: picture("P", "PNG", transparency=bytes(range(0, 250, 10)), exif=exif()),
        mend_png,
    ),
    "jpeg": (read_picture, lambda: picture("RGB", "JPEG", exif=exif()), as_is),
    "jpeg, grey": (read_picture, lambda: encoded(pixels(9, 8), "JPEG"), as_is),
    "jpeg, cmyk": (read_picture, lambda: picture("CMYK", "JPEG"), as_is),
    "jpeg, progressive": (
        read_picture,
        lambda: picture("RGB", "JPEG", progressive=True),
        as_is,
    ),
    "webp": (read_picture, lambda: picture("RGB", "WEBP"), as_is),
    "webp, alpha": (
        read_picture,
        lambda: picture("RGBA", "WEBP", lossless=True, exif=exif()),
        as_is,
    ),
}


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a file that asks for a lot is refused quickly."""
    for module in (_idx, _npz, _folder):
        monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    monkeypatch.setattr(_folder, "MAX_PIXELS", 2**18)


def attack(kind: str, folder: Path, seeds: range) -> int:
    """Read damaged files; count those that were refused."""
    read, make, mend = KINDS[kind]
    whole = make()
    path = folder / "some.file"
    read(written(path, mend(whole)))  # the sound one
    refused = 0
    for seed in seeds:
        written(path, mend(damaged(whole, seed)))
        try:
            read(path)
        except DataError as error:
            lines = str(error).splitlines()
            assert len(lines) == 1, (kind, seed, lines)
            assert "some." in lines[0], (kind, seed)
            refused += 1
        except BaseException as error:
            error.add_note(f"{kind}, seed {seed}")
            raise
    return refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("low_limits")
def test_a_damaged_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    # That most are refused shows that the damage is one.
    assert attack(kind, tmp_path, range(200)) > 40


@pytest.mark.deep
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("low_limits")
def test_many_damaged_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    assert attack(kind, tmp_path, range(200, 10_000)) > 2000
