"""A run folder: what was asked for, what happened, and how to go on.

config.json       the command, its options, the data, the versions
metrics.jsonl     a line a logged step
checkpoints/      step-00001000.safetensors and .json
samples/          pictures made on the way
"""

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyvq import files
from tinyvq.errors import FileError, RunError

SCHEMA = 1
_CONFIG_LIMIT = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Run:
    """A run folder that exists.

    kind     what it trains: "vqvae"
    options  what the user chose
    facts    what training found out: the data's digest, the pixels' variance, ...
    """

    folder: Path
    kind: str
    options: dict[str, Any]
    facts: dict[str, Any]

    @property
    def checkpoints(self) -> Path:
        """Where the state is saved."""
        return self.folder / "checkpoints"

    @property
    def samples(self) -> Path:
        """Where pictures go."""
        return self.folder / "samples"

    @property
    def metrics(self) -> Path:
        """The log."""
        return self.folder / "metrics.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here; RunError where one does already.

        The operating system lets the lock go with the process, however that ends.
        """
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process trains in {self.folder}") from None
            yield
        finally:
            os.close(fd)


def create(
    folder: Path, kind: str, options: Mapping[str, Any], facts: Mapping[str, Any]
) -> Run:
    """Make a new run folder; RunError where one stands there already."""
    config = folder / "config.json"
    if config.exists():
        raise RunError(
            f"{folder} holds a run already; add --resume to go on with it, "
            "or choose another --out"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not an empty folder; choose another --out")
    files.make_folder(folder / "samples")
    files.make_folder(folder / "checkpoints")
    content = {
        "schema": SCHEMA,
        "kind": kind,
        "options": dict(options),
        "facts": dict(facts),
        "versions": versions(),
    }
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    files.write_atomically(config, text.encode())
    return open_run(folder)


def open_run(folder: Path) -> Run:
    """Open a run folder; RunError where it is not one."""
    config = folder / "config.json"
    if not config.is_file():
        raise RunError(f"{folder} is not a run folder: it has no config.json")
    try:
        content = files.parse_json(files.read_bytes(config, _CONFIG_LIMIT))
        match content:
            case {
                "schema": int(schema),
                "kind": str(kind),
                "options": dict(options),
                "facts": dict(facts),
            } if schema <= SCHEMA:
                return Run(folder, kind, options, facts)
            case {"schema": int(schema)} if schema > SCHEMA:
                raise RunError(f"{config} was written by a newer tinyvq")
    except (ValueError, RecursionError, FileError) as error:
        raise RunError(f"{config} cannot be read: {error}") from error
    raise RunError(f"{config} is not the configuration of a run")


def versions() -> dict[str, str]:
    """Name the versions and the machine that results depend on."""
    import llvmlite
    import numba
    import numpy as np

    import tinyvq

    return {
        "tinyvq": tinyvq.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }
