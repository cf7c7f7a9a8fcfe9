"""Folders of pictures, as `decode` and `augment` write them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from tinyvq.errors import FileError
from tinyvq.files import make_folder, new_folder
from tinyvq.report import Picture, png_bytes, save_png

Write: TypeAlias = Callable[[str, Picture], None]


@contextmanager
def picture_folder(out: Path) -> Iterator[Write]:
    """Give what writes pictures (H,W,C) as PNG files into a folder, by their names.

    A new folder stands there whole or not at all, and is on the disk as one; into an
    old one each picture is written so. Raises FileError where one cannot be.
    """
    if os.path.lexists(out):
        yield lambda name, picture: _save(out / name, picture)
        return
    with new_folder(out) as made:
        yield lambda name, picture: _write(out, made / name, picture)
        os.sync()  # all at once: file by file it takes longer than to draw them


def _save(path: Path, picture: Picture) -> None:
    make_folder(path.parent)
    save_png(path, picture)


def _write(out: Path, path: Path, picture: Picture) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(picture))
    except OSError as error:
        raise FileError(f"cannot write into {out}: {error.strerror}") from error
