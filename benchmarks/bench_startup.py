"""How long until it works: the import, the first step of a run, the first compilation.

Each reading is a process of its own, with bytecode cached as pip caches it. The first
step is that of `tinyvq train vqvae` as it is typed, from before the process is there to
the end of the step, whose number is looked at. Only compiling has a toy size.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tinyvq_kernels import is_warm, warm_up

from benchmarks.children import Found, found_by_child, run_child, tell
from benchmarks.harness import OURS, Case, Work
from benchmarks.record import ROOT

BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}  # is kept, whatever is set here
IMPORT = """
import numba, time
began = time.perf_counter()
import tinyvq
print(time.perf_counter() - began, tinyvq.__file__)
"""


def imported(toy: bool) -> Found:
    """Import tinyvq where numba has been; what shows it is the file that was read."""
    seconds, file = run_child("-c", IMPORT, **BYTECODE).split(maxsplit=1)
    return Found(float(seconds), file.strip())


def first_step(toy: bool) -> Found:
    """Train up to the first step; what shows it is the number of the step."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("benchmarks.bench_startup", folder, str(time.time()))
        return found_by_child(*words, **BYTECODE)


def compiled(toy: bool) -> Found:
    """Compile all kernels into a new cache; what shows it is how many caches are full.

    For a toy size the cache is the present one.
    """
    with tempfile.TemporaryDirectory() as folder:
        cache = {} if toy else {"TINYVQ_CACHE_DIR": folder}
        began = time.perf_counter()
        run_child("-m", "tinyvq", "compile", **BYTECODE, **cache)
        seconds = time.perf_counter() - began
        full = [*Path(folder).rglob("complete-float32-*")]
    return Found(seconds, int(is_warm()) if toy else len(full))


def build(
    run: Callable[[bool], Found], expected: Any, toy: bool, **limits: int
) -> Work:
    """Make the readings, all kernels being compiled; they must show `expected`.

    limits  as Work takes them
    """
    for _ in warm_up():
        pass

    def check(found: Mapping[str, Found]) -> None:
        for name, each in found.items():
            assert each.result == expected, f"{name}: {each.result}, not {expected}"

    return Work({OURS: partial(run, toy)}, check, unit="s", **limits)


def main() -> None:
    """Train in this process up to the first step; tell how long ago it was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("typed", type=float, help="seconds since 1970")
    asked = parser.parse_args()
    from tinyvq.cli import main as command
    from tinyvq.training.measures import Measures
    from tinyvq.training.vqvae import VQVAETask

    whole_step = VQVAETask.step

    def only_step(self: VQVAETask, step: int) -> Measures:
        whole_step(self, step)
        tell(Found(time.time() - asked.typed, step))
        sys.exit()

    VQVAETask.step = only_step  # type: ignore[method-assign]
    words = ("train", "vqvae", "--data", "fashion-mnist-5k", "--out")
    sys.exit(command([*words, str(asked.folder / "run")]))


CASES = [
    Case(
        "startup/import",
        "`import tinyvq` after `import numba`",
        partial(build, imported, str(ROOT / "tinyvq" / "__init__.py")),
        promise=0.1,
    ),
    Case(
        "startup/first-step",
        "`tinyvq train vqvae` up to its first step, kernels compiled before",
        partial(build, first_step, 1),
        promise=3.0,
    ),
    Case(
        "startup/compile",
        "`tinyvq compile`, the very first run on a machine",
        partial(build, compiled, 1, most_rounds=3),
        promise=45.0,
    ),
]

if __name__ == "__main__":
    main()
