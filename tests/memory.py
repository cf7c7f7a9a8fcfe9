"""How much memory a call needs at its peak."""

import tracemalloc
from collections.abc import Callable

import pytest


def resident(key: str) -> int:
    """Read a figure of this process's memory in bytes, "VmRSS" now or "VmHWM" peak."""
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith(key)]
    return int(line.split()[1]) * 1024


def peak_memory(run: Callable[[], object]) -> int:
    """Measure what a call needs at most, in bytes.

    The larger of what Python's and NumPy's allocators were asked for and of what the
    system had to give: compiled kernels allocate for themselves.
    """
    try:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # the peak is what stands now
        before = resident("VmRSS")
    except OSError:
        pytest.skip("this system does not tell the peak of memory")
    tracemalloc.start()
    try:
        run()
        traced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return max(traced, resident("VmHWM") - before)
