"""Files that are written whole or not at all, and read with suspicion.

Every change that a save makes to the disk goes through this module's `os`, one call a
line, so that the tests can make each single one of them fail, cut short, or the last.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from tinyvq.errors import FileError

JSON: TypeAlias = (
    "Mapping[str, JSON] | Sequence[JSON] | str | int | float | bool | None"
)
FilePath: TypeAlias = str | os.PathLike[str]

TEMPORARY_SUFFIX = ".tinyvq-tmp"


def write_atomically(path: FilePath, data: bytes) -> None:
    """Write a file so that `path` holds its old bytes or the new ones, never a mix.

    That holds against errors, kill -9 and power loss; on return the new bytes are on
    the disk. A symlink is followed. Raises FileError if the disk is full, the place
    cannot be written, or `path` is something other than a file.
    """
    # Renaming over /dev/stdout must replace the file behind it, not the device node.
    target = Path(os.path.realpath(path))
    with _reporting("write", path):
        if target.exists() and not target.is_file():
            raise FileError(f"cannot write {path}: it is there and is not a file")
        # Not from tempfile: its files are readable by their owner alone.
        token = os.urandom(4).hex()
        temporary = target.with_name(f".{target.name}.{token}{TEMPORARY_SUFFIX}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                _write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _fsync_folder(target.parent)


def append(path: FilePath, data: bytes) -> None:
    """Add bytes to the end of a file, creating it if need be.

    On an error (FileError) what was added is taken back. A kill may leave the first
    part of `data`; a power loss may lose what no `sync` has followed.
    """
    with _reporting("write", path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            length = os.fstat(fd).st_size
            try:
                _write_all(fd, data)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, length)
                raise
        finally:
            os.close(fd)


def sync(path: FilePath) -> None:
    """Force what was appended to a file onto the disk."""
    with _reporting("write", path):
        fd = os.open(path, os.O_WRONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        _fsync_folder(Path(path).parent)


def make_folder(path: FilePath) -> None:
    """Make a folder, and the folders above it, that survive a power loss."""
    folder = Path(path)
    with _reporting("make the folder", path):
        if folder.is_dir():
            return
        if folder.parent != folder:
            make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        if not folder.is_dir():
            raise FileError(f"cannot make the folder {path}: a file is in its place")
        _fsync_folder(folder.parent)


@contextlib.contextmanager
def new_folder(path: FilePath) -> Iterator[Path]:
    """Fill a new folder that stands at `path` whole or not at all.

    Yields a temporary folder beside it; at the end of the block that takes its name,
    and if the block raises, it goes. Raises FileError where something stands at `path`
    already, or the folder cannot be made.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise FileError(f"cannot make the folder {path}: it is there already")
    make_folder(target.parent)
    token = os.urandom(4).hex()
    temporary = target.with_name(f".{target.name}.{token}{TEMPORARY_SUFFIX}")
    with _reporting("make the folder", path):
        os.mkdir(temporary)
    try:
        yield temporary
        with _reporting("make the folder", path):
            os.replace(temporary, target)  # of a folder: not over one that holds files
            _fsync_folder(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove(path: FilePath) -> None:
    """Remove a file; one that is not there is no error."""
    with _reporting("remove", path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_leftovers(folder: FilePath, name: str = "") -> None:
    """Remove the temporary files that a killed process left in a folder.

    Only those for the file `name`, if given. To be called where no other process
    writes: the temporary of a living one cannot be told from a leftover. Folders stay:
    an export, say, may be filling one.
    """
    for entry in names_in(folder):
        path = Path(folder, entry)
        if is_leftover(entry, name) and not path.is_dir():
            remove(path)


def is_leftover(entry: str, name: str = "") -> bool:
    """Tell whether a name in a folder is a temporary file, for `name` if given."""
    return entry.startswith(f".{name}") and entry.endswith(TEMPORARY_SUFFIX)


def names_in(folder: FilePath) -> list[str]:
    """List the names in a folder, sorted."""
    with _reporting("list", folder):
        return sorted(os.listdir(folder))


def read_bytes(path: FilePath, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; a larger one raises FileError unread."""
    with _reporting("read", path):
        status = os.stat(path)
        # Opening a pipe would wait for a writer that may never come.
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"cannot read {path}: it is not a file")
        if status.st_size > limit:
            raise FileError(
                f"cannot read {path}: it holds {status.st_size} bytes, "
                f"expected at most {limit}"
            )
        with open(path, "rb") as file:
            return file.read(status.st_size)


def parse_json(text: bytes) -> Any:
    """Parse strict JSON in UTF-8; whatever is wrong with it raises ValueError."""
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        # One call may take less than it was given, and never takes 2 GiB.
        rest = rest[os.write(fd, rest) :]


def _fsync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power loss."""
    # The names are in the folder: syncing the file alone does not keep them.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot sync a folder at all and answer EINVAL.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def _reporting(doing: str, path: FilePath) -> Iterator[None]:
    """Turn the operating system's errors into ours, with the path and the reason."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(f"cannot {doing} {path}: {reason}") from error
    except MemoryError as error:
        raise FileError(f"cannot {doing} {path}: not enough memory") from error
