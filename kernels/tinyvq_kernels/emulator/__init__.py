"""Runs the CUDA kernels on the CPU, and watches what they do.

    with use_kernels(matmul="cuda_emulated"):     # a .cu file, on NumPy arrays
        c = matmul(a, b)

    with emulation("checked") as report, use_kernels(matmul="cuda_emulated"):
        c = matmul(a, b)
    for found in report.findings:
        print(found)

Modes:

    fast      as fast as it goes; only a barrier that not all threads reach is told
    checked   every access to memory is watched: races, reads of what nobody wrote,
              accesses outside of an array, misaligned vectors
    orders    each launch runs with its threads and blocks forward, in reverse and at
              random; what it writes must be the same every time
    all       checked, then orders

Nothing here is imported unless a CUDA kernel is launched on a NumPy array.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tinyvq_kernels.emulator import device
from tinyvq_kernels.emulator.build import (
    CompilationFailed,
    CompilerMissing,
    compiler,
)
from tinyvq_kernels.emulator.findings import KINDS, Finding, Launch, Report, Size
from tinyvq_kernels.emulator.launches import Asked, run
from tinyvq_kernels.emulator.memory import empty

if TYPE_CHECKING:
    from tinyvq_kernels._cuda import Source

__all__ = [
    "KINDS",
    "CompilationFailed",
    "CompilerMissing",
    "EmulationError",
    "Finding",
    "Launch",
    "Report",
    "empty",
    "emulation",
    "is_available",
    "launch",
]

MODES = ("fast", "checked", "orders", "all")


class EmulationError(RuntimeError):
    """A kernel did what no launch can go on from."""


_REPORT: ContextVar[Report | None] = ContextVar("report", default=None)


def is_available() -> bool:
    """Whether there is a compiler to emulate with."""
    try:
        compiler()
    except CompilerMissing:
        return False
    return True


@contextmanager
def emulation(mode: str) -> Iterator[Report]:
    """Emulate in a mode inside the block, and report.

    A finding after which a launch cannot go on, such as an access outside of all
    arrays, leaves the block: what follows it does not run, and the report has it.
    """
    if mode not in MODES:
        raise ValueError(f"there is no mode {mode!r}; there is: {', '.join(MODES)}")
    report = Report(mode)
    token = _REPORT.set(report)
    try:
        yield report
    except EmulationError:
        pass
    finally:
        _REPORT.reset(token)


def launch(
    source: "Source",
    kernel: str,
    grid: Size,
    block: Size,
    arguments: tuple[Any, ...],
    reached: tuple[Any, ...] = (),
) -> None:
    """Run a launch on NumPy arrays, in the mode of the `emulation` that we are in.

    reached  arrays that are no arguments, but whose addresses stand in one

    Raises TypeError for arguments that are not what the kernel takes, CompilerMissing,
    CompilationFailed; EmulationError where it stopped, or outside of any `emulation`
    where something was found.
    """
    report = _REPORT.get()
    told = Report("fast") if report is None else report
    found = device.program(source.file, source.macros, kernel)
    stopped = run(Asked(found, source.path, grid, block, arguments, reached), told)
    if stopped or (report is None and told.findings):
        raise EmulationError("\n".join(map(str, told.findings)))
