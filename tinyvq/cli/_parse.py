"""Typed dataclasses are the command line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import tyro
from tyro.conf import Positional, arg

from tinyvq.errors import ConfigError, FileError
from tinyvq.files import make_folder
from tinyvq.messages import either
from tinyvq.training.options import LARGEST, option

T = TypeVar("T")
RunFolder: TypeAlias = Annotated[Positional[Path], arg(metavar="RUN")]
MOST_IMAGES = 10_000  # in one picture


def parse(
    kind: type[T],
    args: Sequence[str],
    command: str,
    default: Any = None,
    what: str | None = None,
) -> T:
    """Parse the arguments of `tinyvq COMMAND`; exits with status 2 on wrong usage.

    That includes values that `kind` refuses in its `__post_init__`, by a ConfigError.

    default  an instance whose values stand where nothing is typed
    what     one line about the command; the dataclass's own by default
    """
    shown: tuple[Any, ...] = (tyro.conf.DisallowNone,)  # STR, and not {None}|STR
    more: dict[str, Any] = {} if default is None else {"default": default}
    if default is None:  # with one, each --flag may be taken back by its --no-flag
        shown = (*shown, tyro.conf.FlagCreatePairsOff)
    parsed: T = tyro.cli(
        kind,
        args=list(args),
        prog=f"tinyvq {command}",
        description=what,
        config=shown,
        **more,
    )
    return parsed


def peek(kind: type[T], args: Sequence[str], command: str) -> T:
    """Parse the options of `kind` alone, whatever else is typed."""
    parsed, _ = tyro.cli(
        kind, args=list(args), prog=f"tinyvq {command}", return_unknown_args=True
    )
    return parsed


def check_counts(**counts: int) -> None:
    """Raise ConfigError unless each of some options is at least 1, and no monster."""
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{option(name)} must be at least 1, got {count}")
        if count > LARGEST:
            raise ConfigError(f"{option(name)} must be at most {LARGEST}, got {count}")


def check_size(count: int) -> None:
    """Raise ConfigError where one picture would hold too many images."""
    if count > MOST_IMAGES:
        raise ConfigError(f"one picture holds at most {MOST_IMAGES:,} images")


def check_new(out: Path, told: str = "choose another --out") -> None:
    """Raise ConfigError where something stands already that would be lost."""
    if os.path.lexists(out):
        raise ConfigError(f"{out} is there already; {told}")


def check_suffix(out: Path | None, *suffixes: str) -> None:
    """Raise ConfigError where a file would bear the name of another kind."""
    if out is not None and out.suffix.lower() not in ("", *suffixes):
        raise ConfigError(f"--out must end in {either(suffixes)}, got {out}")


def check_picture(out: Path | None) -> None:
    """Raise ConfigError where a PNG would bear the name of another kind of file."""
    check_suffix(out, ".png")


def make_room(out: Path) -> None:
    """Make the folder of a file that is to be written: before the work, not after it.

    Raises FileError where that fails, or where something else is in the file's place.
    """
    make_folder(out.parent)
    if out.is_dir():
        raise FileError(f"cannot write {out}: it is there and is not a file")
