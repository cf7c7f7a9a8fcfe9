"""A run folder: what was asked for, what happened, and how to go on.

config.json       the command, its options, the data, the versions
metrics.jsonl     a line per logged step
checkpoints/      step-00001000.safetensors and .json
samples/          pictures made on the way

An exported run has its config.json, and one checkpoint of weights alone: see `export`.
"""

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tinyvq import files
from tinyvq.errors import FileError, RunError
from tinyvq.training import shipped

SCHEMA = 1
CONFIG = "config.json"
T = TypeVar("T")
_CONFIG_LIMIT = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Run:
    """A run folder that exists.

    kind      what it trains: "vqvae", "vqgan", "prior", "vae", "gan", "noise-vqgan"
    options   what the user chose
    facts     what training found out: the data's digest, the pixels' variance, ...
    versions  of what it was begun with, and the machine
    exported  whether it is of weights alone: to be used, not to be resumed
    """

    folder: Path
    kind: str
    options: dict[str, Any]
    facts: dict[str, Any]
    versions: dict[str, Any] = field(default_factory=dict)
    exported: bool = False

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
        try:
            fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise RunError(f"cannot open {self.folder}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process trains in {self.folder}") from None
            except OSError as error:  # a network disk without locks, say
                raise RunError(
                    f"cannot lock {self.folder}: {error.strerror}"
                ) from error
            yield
        finally:
            os.close(fd)


def create(
    folder: Path, kind: str, options: Mapping[str, Any], facts: Mapping[str, Any]
) -> Run:
    """Make a new run folder; RunError where one stands there already.

    What a kill left of an attempt to make it is no obstacle.
    """
    check_new_run(folder)
    files.make_folder(folder)
    run = Run(folder, kind, dict(options), dict(facts), versions())
    with run.locked():
        check_new_run(folder)
        files.make_folder(run.samples)
        files.make_folder(run.checkpoints)
        write_config(run)
    return open_run(folder)


def write_config(run: Run) -> None:
    """Write what a run is into its folder."""
    content = {
        "schema": SCHEMA,
        "kind": run.kind,
        "options": run.options,
        "facts": run.facts,
        "versions": run.versions,
    }
    if run.exported:
        content["exported"] = True
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    files.write_atomically(run.folder / CONFIG, text.encode())


def check_new_run(folder: Path) -> None:
    """Raise RunError where `create` would: to be told before the work it takes."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; choose another --out")
    names = files.names_in(folder)
    if CONFIG in names:
        raise RunError(
            f"{folder} holds a run already; add --resume to go on with it, "
            "or choose another --out"
        )
    for name in names:
        path = folder / name
        made = name in ("samples", "checkpoints") and path.is_dir()
        if made and not files.names_in(path):
            continue  # `create` was killed there
        if not files.is_leftover(name, CONFIG):
            raise RunError(f"{folder} is not an empty folder; choose another --out")


def open_run(folder: Path) -> Run:
    """Open a run folder, or a shipped run by its name; RunError where it is neither."""
    folder = shipped.find(folder)
    config = folder / CONFIG
    if not config.is_file():
        if not folder.exists():
            raise RunError(f"there is no {folder}{shipped.known(folder)}")
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
                versions = content.get("versions")
                begun_with = versions if isinstance(versions, dict) else {}
                exported = content.get("exported") is True
                return Run(folder, kind, options, facts, begun_with, exported)
            case {"schema": int(schema)} if schema > SCHEMA:
                raise RunError(f"{config} was written by a newer tinyvq")
    except (ValueError, RecursionError, FileError) as error:
        raise RunError(f"{config} cannot be read: {error}") from error
    raise RunError(f"{config} is not the configuration of a run")


def typed(options: Mapping[str, Any], kind: type[T]) -> T:
    """Make the dataclass of options that were saved; TypeError where they do not fit.

    JSON has no types of ours, and a file may be damaged or edited.
    """
    for name, hint in get_type_hints(kind).items():
        if name in options and not _is(options[name], hint):
            raise TypeError(f"{name} cannot be {options[name]!r}")
    return kind(**options)


def _is(value: object, hint: Any) -> bool:
    choices = get_args(hint)
    if get_origin(hint) is Literal:
        return any(type(value) is type(c) and value == c for c in choices)
    if choices:  # a union
        return any(_is(value, choice) for choice in choices)
    return type(value) is hint or (hint is float and type(value) is int)


def versions() -> dict[str, str]:
    """Name the versions and the machine that results depend on."""
    import llvmlite
    import numba
    import numpy as np

    import tinyvq

    return {
        **_version_of_cupy(),
        "tinyvq": tinyvq.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _version_of_cupy() -> dict[str, str]:
    """Name it where it has been loaded: then the run is on a GPU."""
    cupy = sys.modules.get("cupy")
    return {} if cupy is None else {"cupy": cupy.__version__}
