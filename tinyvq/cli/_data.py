"""Which images are known by name, and how to get them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from tinyvq import data
from tinyvq.cli._parse import parse
from tinyvq.errors import ConfigError


@dataclass(frozen=True)
class List:
    """List the image sets that are known by name, and where they are."""


def list_sets(args: Sequence[str]) -> int:
    """List the image sets that are known by name."""
    parse(List, args, "data list")
    for name, known in data.CATALOG.items():
        place = data.locate(name)
        print(f"{name}\n  {known.what}\n  licence: {known.licence}")
        print(f"  {place or _how_to_get(name)}\n")
    return 0


def _how_to_get(name: str) -> str:
    recipe = data.CATALOG[name].recipe
    if recipe is None:
        return f"not here yet: tinyvq data fetch {name}"
    if lacking := recipe.lacking():
        return f"cannot be built: {lacking}"
    return f"can be built from what is installed: tinyvq data fetch {name}"


@dataclass(frozen=True)
class Fetch:
    """Download an image set, checking its checksums, or build it."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Its name, as `tinyvq data list` shows it."""


def fetch(args: Sequence[str]) -> int:
    """Download or build an image set unless it is here already."""
    name = parse(Fetch, args, "data fetch").name
    if name not in data.CATALOG:
        raise ConfigError(f"no set {name!r}; there is: {', '.join(data.CATALOG)}")
    print(data.locate(name) or data.fetch(name))
    return 0
