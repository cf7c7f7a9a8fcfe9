"""The one place where compile options are set, and where compiled code is cached.

A kernel is a plain function, compiled by assignment:

    def _scale(x, factor, out): ...
    scale = jit(_scale, parallel=True)

so that it can be stepped through, changed and tested as the Python function it is.

Compiled code is cached on disk. Numba's own cache looks at the time and size of the
file that *defines* a function alone, so an edit of the vector vocabulary in `_simd.py`
would leave stale kernels elsewhere. Here the folder of the cache is named by a hash of
all kernel sources, of Numba's version and of the processor, and a stale hit is
impossible.
"""

import atexit
import hashlib
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core import config as numba_config

config: Any = numba_config
P = ParamSpec("P")
R = TypeVar("R")


def _sources_key() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for word in (numba.__version__, llvmlite.__version__, platform.python_version()):
        digest.update(word.encode())
    digest.update(llvm.get_host_cpu_name().encode())
    digest.update(llvm.get_host_cpu_features().flatten().encode())
    return digest.hexdigest()


def _choose_cache_dir() -> Path:
    """TINYVQ_CACHE_DIR, or the user's cache folder; where it can't be, one for now."""
    named = os.environ.get("TINYVQ_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(named) if named else Path(home) / "tinyvq"
    folder = folder / f"kernels-{_sources_key()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as problem:
        instead = Path(tempfile.mkdtemp(prefix="tinyvq-kernels-"))
        atexit.register(shutil.rmtree, instead, ignore_errors=True)
        warnings.warn(
            f"{folder.parent} cannot be written ({problem.strerror}): kernels are "
            "compiled anew in each process; TINYVQ_CACHE_DIR names another folder",
            RuntimeWarning,
            stacklevel=2,
        )
        return instead


CACHE_DIR = _choose_cache_dir()


def jit(
    function: Callable[P, R],
    *,
    parallel: bool = False,
    inline: bool = False,
    allocates: bool = False,
) -> Callable[P, R]:
    """Compile a function for the CPU on its first call with each set of types.

    parallel   its `prange` loops run on all threads
    inline     its body is put into its caller, which a register tile needs
    allocates  it makes arrays, as a parallel one may

    No `fastmath`: the order of every sum is part of a kernel's contract. A function
    that makes no arrays counts no references: its caller holds what it is given. The
    counts are atomic, and eight of them around each register tile of 32 steps cost two
    thirds of what its products do (see docs/kernels.md).
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if not (parallel or allocates):
        options["_nrt"] = False
    if inline:
        return numba.njit(function, forceinline=True, **options)  # type: ignore[no-any-return]
    before = config.CACHE_DIR
    config.CACHE_DIR = str(CACHE_DIR)  # read once, while the function is decorated
    try:
        return numba.njit(function, cache=True, parallel=parallel, **options)  # type: ignore[no-any-return]
    finally:
        config.CACHE_DIR = before


prange = numba.prange
