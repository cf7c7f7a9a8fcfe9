"""Readings from processes of their own: what stood there before is known."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.record import ROOT


@dataclass(frozen=True)
class Found:
    """What a child has found.

    reading  in the unit of its case
    result   what shows that it did the job: numbers or text, as JSON can write them
    """

    reading: float
    result: Any


def run_child(*words: str, **environment: str) -> str:
    """Run Python with `words`, in this environment but for some of it; -> its output.

    Raises RuntimeError with what it said where it fails.
    """
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{done.stderr}")
    return done.stdout


def found_by_child(module: str, *words: str, **environment: str) -> Found:
    """Run a module with `words` as a child; return what it found, see `tell`."""
    return Found(**json.loads(run_child("-m", module, *words, **environment)))


def tell(found: Found) -> None:
    """Print what was found, for the parent."""
    print(json.dumps(asdict(found)))
