"""Typed dataclasses are the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import tyro
from tyro.conf import Positional, arg

from tinyvq.errors import ConfigError
from tinyvq.training.options import option

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
    more: dict[str, Any] = {"config": (*shown, tyro.conf.FlagCreatePairsOff)}
    if default is not None:  # with a flag set there, it may be typed again
        more = {"config": shown, "default": default}
    parsed: T = tyro.cli(
        kind,
        args=list(args),
        prog=f"tinyvq {command}",
        description=what,
        **more,
    )
    return parsed


def check_counts(**counts: int) -> None:
    """Raise ConfigError unless each of some options is at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{option(name)} must be at least 1, got {count}")


def check_picture(out: Path | None) -> None:
    """Raise ConfigError where a PNG would bear the name of another kind of file."""
    if out is not None and out.suffix.lower() not in ("", ".png"):
        raise ConfigError(f"--out must end in .png, got {out}")
