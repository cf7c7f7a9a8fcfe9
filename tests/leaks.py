"""Global state that a test must leave as it found it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from tinyvq_kernels import _cuda, _table, emulator

from tinyvq import function, tensor


def global_state() -> dict[str, Any]:
    """Everything that a context manager or a setter of ours (or NumPy's) can change."""
    return {
        "kernel overrides (use_kernels)": _table._OVERRIDES.get(),
        "watch over kernels (watch_kernels)": _table._WATCH.get(),
        "sources (use_source)": _cuda._SOURCES.get(),
        "flags read later (deferred_checks)": _cuda._CHECKS.get(),
        "emulation": emulator._REPORT.get(),
        "recording (no_grad)": tensor._recording.get(),
        "observer (observe)": function.observer.get(),
        "numba's number of threads": numba.get_num_threads(),
        "NumPy's error handling": np.geterr(),
    }


@contextmanager
def no_leaks() -> Iterator[None]:
    """Raise AssertionError naming what the block has left changed, and put it back."""
    before = global_state()
    yield
    after = global_state()
    _table._OVERRIDES.set(before["kernel overrides (use_kernels)"])
    _table._WATCH.set(before["watch over kernels (watch_kernels)"])
    _cuda._SOURCES.set(before["sources (use_source)"])
    _cuda._CHECKS.set(before["flags read later (deferred_checks)"])
    emulator._REPORT.set(before["emulation"])
    tensor._recording.set(before["recording (no_grad)"])
    function.observer.set(before["observer (observe)"])
    numba.set_num_threads(before["numba's number of threads"])
    np.seterr(**before["NumPy's error handling"])
    leaked = [name for name in before if before[name] != after[name]]
    assert not leaked, f"the test has left changed: {', '.join(leaked)}"
