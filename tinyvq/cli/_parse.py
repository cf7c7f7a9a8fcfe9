"""Typed dataclasses are the command line."""

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(
    kind: type[T],
    args: Sequence[str],
    command: str,
    default: Any = None,
    what: str | None = None,
) -> T:
    """Parse the arguments of `tinyvq COMMAND`; exits with status 2 on wrong usage.

    default  an instance whose values stand where nothing is typed
    what     one line about the command; the dataclass's own by default
    """
    more: dict[str, Any] = {"config": (tyro.conf.FlagCreatePairsOff,)}
    if default is not None:  # with a flag set there, it may be typed again
        more = {"default": default}
    parsed: T = tyro.cli(
        kind,
        args=list(args),
        prog=f"tinyvq {command}",
        description=what,
        **more,
    )
    return parsed
