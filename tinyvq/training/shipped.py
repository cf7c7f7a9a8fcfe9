"""Runs that come with tinyvq, each known by a name: exported, see `export`.

They lie in the package, which may be installed where nothing can be written.
"""

from pathlib import Path

from tinyvq.errors import RunError

FOLDER = Path(__file__).parent.parent / "shipped"


def names() -> list[str]:
    """List the names of the runs that come with tinyvq, sorted."""
    return sorted(config.parent.name for config in FOLDER.glob("*/config.json"))


def find(folder: Path) -> Path:
    """Find the run folder that is meant: what exists comes before a shipped run."""
    name = str(folder)
    return FOLDER / name if name in names() and not folder.exists() else folder


def check_there(folder: Path) -> None:
    """Raise RunError where a folder is neither there nor the name of a shipped run.

    For what is done with one's own runs alone: no names are told.
    """
    if not find(folder).exists():
        raise RunError(f"there is no {folder}")


def known(folder: Path) -> str:
    """Name what is shipped, for a folder that is not there and may be a name, or ""."""
    found = names()
    if folder.exists() or str(folder) != folder.name or not found:
        return ""
    return f"; the runs that come with tinyvq are {', '.join(found)}"
