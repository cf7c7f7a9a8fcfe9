"""Typed dataclasses are the command line."""

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], args: Sequence[str], command: str, default: Any = None) -> T:
    """Parse the arguments of `tinyvq COMMAND`; exits with status 2 on wrong usage.

    default  an instance whose values stand where nothing is typed
    """
    more = {} if default is None else {"default": default}
    parsed: T = tyro.cli(
        kind,
        args=list(args),
        prog=f"tinyvq {command}",
        config=(tyro.conf.FlagCreatePairsOff,),
        **more,
    )
    return parsed
