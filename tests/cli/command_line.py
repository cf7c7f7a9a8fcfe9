"""Run a tinyvq command in this process, and hold what it said."""

import contextlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from required import library

from tinyvq.cli import main
from tinyvq.rng import Stream


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


def tinyvq(*words: object) -> Result:
    """Run `tinyvq WORDS`; an exception other than an exit fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:  # of the parser: help, and wrong usage
            status = int(str(stop.code))
    return Result(status, out.getvalue(), err.getvalue())


def succeeds(*words: object) -> Result:
    result = tinyvq(*words)
    assert result.status == 0, result.err
    return result


def fails(*words: object) -> str:
    """Run a command that must fail as a problem of its user's; what it said."""
    result = tinyvq(*words)
    assert result.status == 1
    assert result.out == ""
    lines = result.err.splitlines()
    while lines and "passing over" in lines[0]:
        lines = lines[1:]
    assert 1 <= len(lines) <= 2, result.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.err
    return "\n".join(lines)


def misused(*words: object) -> str:
    """Run a command that must fail as wrong usage; what it said, on one line."""
    result = tinyvq(*words)
    assert (result.status, result.out) == (2, ""), result.err
    assert "Traceback" not in result.err
    return " ".join(re.sub("[╭╮╰╯│─]", " ", result.err).split())


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# Bad input, one function per kind: each writes what is bad and returns its place.


def noise(count: int, size: int = 16, channels: int = 1) -> np.ndarray:
    shape = (count, size, size, channels)
    return Stream(0, "noise").integers(256, shape).astype(np.uint8)


def splits(path: Path, size: int = 16, channels: int = 1) -> Path:
    images = noise(24, size, channels)
    np.savez(path, train=images[:12], val=images[12:18], test=images[18:])
    return path


def idx_header(*shape: int) -> bytes:
    axes = b"".join(n.to_bytes(4, "big") for n in shape)
    return bytes([0, 0, 8, len(shape)]) + axes


def truncated_idx(folder: Path) -> Path:
    path = folder / "images-idx3-ubyte"
    path.write_bytes(idx_header(10, 16, 16) + bytes(100))
    return path


def labels_idx(folder: Path) -> Path:
    path = folder / "labels-idx1-ubyte"
    path.write_bytes(idx_header(10) + bytes(10))
    return path


def labels_npz(folder: Path) -> Path:
    np.savez(folder / "labels.npz", images=np.arange(10))
    return folder / "labels.npz"


def text_picture(folder: Path) -> Path:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_text("not a picture")
    return folder / "pictures"


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def other_files(folder: Path) -> Path:
    (folder / "texts").mkdir()
    (folder / "texts" / "notes.txt").write_text("notes")
    return folder / "texts"


def pickled_npz(folder: Path) -> Path:
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(folder / "pickled.npz", images=objects)
    return folder / "pickled.npz"


def terabytes_npz(folder: Path) -> Path:
    """Write an .npz of some hundred bytes that declares 32 TiB."""
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (2**21, 4096, 4096)}
    np.lib.format.write_array_header_1_0(header, fields)  # type: ignore[arg-type]
    with zipfile.ZipFile(folder / "huge.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    return folder / "huge.npz"


def not_a_zip(folder: Path) -> Path:
    (folder / "text.npz").write_text("not a zip")
    return folder / "text.npz"


def missing(folder: Path) -> Path:
    return folder / "missing"


def pictures(folder: Path, *sizes: int, suffix: str = ".png") -> Path:
    folder.mkdir(exist_ok=True)
    for number, size in enumerate(sizes):
        picture = library("PIL.Image").fromarray(noise(number + 1, size)[-1, ..., 0])
        picture.save(folder / f"{number:03d}{suffix}")
    return folder


BAD_DATA = {
    truncated_idx: "declares 2560 bytes of (10, 16, 16), but holds 100",
    labels_idx: "labels, it seems, where images",
    labels_npz: "labels, it seems, where images",
    text_picture: "a.png is not a PNG, JPEG or WebP picture",
    empty_folder: "holds no PNG, JPEG or WebP pictures",
    other_files: "holds no PNG, JPEG or WebP pictures",
    pickled_npz: "holds pickled Python objects, which are not read",
    terabytes_npz: "declares 35184372088832 bytes",
    not_a_zip: "is not a .npz, or is damaged",
    missing: "is neither a file or folder nor a name",
}


def figures(result: Result) -> dict[str, float]:
    """Parse standard output as one JSON object on one line."""
    assert result.out.count("\n") == 1
    found: dict[str, float] = json.loads(result.out)
    return found
