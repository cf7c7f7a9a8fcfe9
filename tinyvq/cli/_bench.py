"""`tinyvq bench`: the benchmarks, which only a checkout has."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import tinyvq
from tinyvq.errors import ConfigError


def bench(args: Sequence[str]) -> int:
    """Run benchmarks against the peers."""
    root = Path(tinyvq.__file__).parent.parent
    if not (root / "benchmarks" / "__main__.py").exists():
        raise ConfigError(
            "the benchmarks are in the repository, not in the installed package: clone "
            "it, then `make bench`"
        )
    sys.path.insert(0, str(root))
    try:
        main = import_module("benchmarks.__main__").main
        return int(main(list(args)))
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"{missing.name} is not installed, a peer to measure against: `make peers` "
            'or pip install "tinyvq[peers]"'
        ) from missing
