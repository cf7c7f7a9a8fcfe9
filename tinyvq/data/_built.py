"""Image sets that are built here, from what the user's system has installed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyvq.data._images import Split
from tinyvq.data._npz import packed
from tinyvq.errors import DataError, FileError
from tinyvq.files import make_folder, write_atomically
from tinyvq.messages import say


@dataclass(frozen=True)
class Recipe:
    """How a set is built: the same files give the same bytes.

    lacking  say in one line what is not installed; "" where nothing is missing
    make     make its splits; DataError where a file is damaged
    """

    lacking: Callable[[], str]
    make: Callable[[], dict[str, Split]]


def build(name: str, recipe: Recipe, folder: Path, licence: str) -> Path:
    """Build a set into `folder`/`name`.npz, whole or not at all -> the folder."""
    if lacking := recipe.lacking():
        raise DataError(f"cannot build {name}: {lacking}")
    path = folder / f"{name}.npz"
    say(f"building {name} into {path} (licence: {licence})")
    try:
        make_folder(folder)  # before the work, should it be impossible
        splits = recipe.make()
        counts = ", ".join(f"{len(split)} {side}" for side, split in splits.items())
        say(f"writing {name}: {counts}")
        write_atomically(path, packed(splits))
    except FileError as error:
        raise DataError(f"cannot build {name}: {error}") from error
    return folder
