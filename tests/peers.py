"""Optional packages that tests hold tinyvq against."""

import importlib
import os
from types import ModuleType

import pytest


def require(name: str) -> ModuleType:
    """Import a peer; skip the test where it is absent, or fail where it must not be.

    TINYVQ_REQUIRE_TORCH=1 (set in CI) makes any missing peer a failure.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("TINYVQ_REQUIRE_TORCH") == "1":
            raise
        pytest.skip(f"{name} is not installed", allow_module_level=True)
