"""What tests need beside NumPy, Numba, pytest and Hypothesis: a skip, or a failure.

Where something is missing, the tests that need it are skipped with a reason. Where
TINYVQ_REQUIRE_<WHAT>=1 says that it must be there, they fail. CONTRIBUTING.md has the
table of all that can be demanded.
"""

import importlib
import os
from types import ModuleType
from typing import NoReturn

import pytest

# Dependencies that tinyvq imports where it uses them, by the names of their modules.
LIBRARIES = ("fontTools", "matplotlib", "PIL", "pooch", "rich", "safetensors", "tyro")

# What tinyvq is checked against and measured beside; SciPy comes along with some.
PEERS = ("faiss", "scipy", "skimage", "sklearn", "torch", "vector_quantize_pytorch")


def demanded(what: str) -> bool:
    """Tell whether TINYVQ_REQUIRE_<what>=1."""
    return os.environ.get(f"TINYVQ_REQUIRE_{what}") == "1"


def absent(what: str, problem: str) -> NoReturn:
    """Skip the test, or the module, for want of something; fail where it is demanded.

    what     TORCH, EMULATOR, ...
    problem  the reason: what is missing, and what mends that
    """
    if demanded(what):
        pytest.fail(f"{problem} (and TINYVQ_REQUIRE_{what}=1)")
    pytest.skip(problem, allow_module_level=True)


def library(name: str) -> ModuleType:
    """Import one of LIBRARIES, or a module of one; see `absent`.

    At the top of a module it is for all tests there, in a fixture or a function for
    those that use it. TINYVQ_REQUIRE_LIBRARIES=1 is set by the Makefile.
    """
    package = name.partition(".")[0]
    assert package in LIBRARIES, name
    try:
        return importlib.import_module(name)
    except ImportError:
        absent("LIBRARIES", f"{package} is not installed")


def command_line() -> None:
    """Need what commands parse, store, show and draw with."""
    for name in ("tyro", "safetensors", "rich", "PIL", "matplotlib"):
        library(name)
