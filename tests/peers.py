"""Optional packages that tests hold tinyvq against."""

import importlib
from types import ModuleType

from required import PEERS, absent


def require(name: str) -> ModuleType:
    """Import a peer; skip the test where it is absent, or fail where it must not be.

    TINYVQ_REQUIRE_TORCH=1 (set in CI) makes any missing peer a failure.
    """
    assert name.partition(".")[0] in PEERS, name
    try:
        return importlib.import_module(name)
    except ImportError:
        absent("TORCH", f"{name} is not installed")
