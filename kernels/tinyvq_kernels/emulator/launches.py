"""A launch in each mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvq_kernels.emulator import device
from tinyvq_kernels.emulator.device import Array, Counts, Program, RawFinding
from tinyvq_kernels.emulator.findings import Finding, Launch, Report, Size, element
from tinyvq_kernels.emulator.memory import Guarded
from tinyvq_kernels.emulator.symbols import shared_arrays
from tinyvq_kernels.emulator.translation import Translation

# What is held against each other, and how it is told.
ORDERS = (
    ("forward", 0, "in order"),
    ("reverse", 0, "in reverse"),
    ("random", 1, "at random"),
    ("random", 2, "at random"),
)


@dataclass(frozen=True)
class Asked:
    """A launch that was asked for, of a kernel of the file `path`."""

    program: Program
    path: str
    grid: Size
    block: Size
    arguments: Sequence[Any]
    reached: Sequence[Array] = ()  # through addresses that stand in an argument

    @property
    def arrays(self) -> tuple[Any, ...]:
        """All that it may write to, and scalars."""
        return (*self.arguments, *self.reached)

    @property
    def names(self) -> list[str]:
        """Name them."""
        more = (f"reached[{i}]" for i in range(len(self.reached)))
        return [*self.program.signature("fast"), *more]

    def run(
        self, mode: str, order: str = "forward", seed: int = 0
    ) -> tuple[Counts, list[RawFinding]]:
        """Run it on copies of its arrays, between guards, and copy back."""
        guarded = Guarded(self.arrays, len(self.arguments))
        found = device.run(
            self.program,
            mode,
            self.grid,
            self.block,
            self.arguments,
            order=order,
            seed=seed,
            regions=guarded.regions,
        )
        guarded.write_back()
        return found

    def outputs(self) -> dict[int, Array]:
        """Copy the arrays that it may write to."""
        return {
            i: given.copy()
            for i, given in enumerate(self.arrays)
            if isinstance(given, np.ndarray) and given.flags.writeable
        }

    def restore(self, before: dict[int, Array]) -> None:
        """Put back what stood in them."""
        for i, array in before.items():
            self.arrays[i][...] = array


def run(asked: Asked, report: Report) -> bool:
    """Run a launch in the report's mode, and report; return whether it had to stop."""
    before = asked.outputs() if report.mode == "all" else {}
    if report.mode in ("checked", "all"):
        asked.program.check("checked", asked.arguments)
        counts, raw = asked.run("checked")
        _report(asked, "checked", counts, raw, report)
        outside = any(told.kind == "bounds" for told in report.findings)
        if report.mode == "checked" or counts.stopped or outside:
            return bool(counts.stopped)
        asked.restore(before)
    asked.program.check("fast", asked.arguments)
    if report.mode in ("orders", "all"):
        return _in_orders(asked, report)
    counts, raw = device.run(
        asked.program, "fast", asked.grid, asked.block, asked.arguments
    )
    _report(asked, "fast", counts, raw, report)
    return bool(counts.stopped)


def _in_orders(asked: Asked, report: Report) -> bool:
    before = asked.outputs()
    counts, raw = asked.run("fast")
    if report.mode == "orders":  # else the checked mode has told
        _report(asked, "fast", counts, raw, report)
    first = asked.outputs()
    for order, seed, told in ORDERS[1:]:
        asked.restore(before)
        asked.run("fast", order, seed)
        _compare(asked, first, asked.outputs(), told, report)
    asked.restore(first)
    return bool(counts.stopped)


def _compare(
    asked: Asked,
    first: dict[int, Array],
    after: dict[int, Array],
    order: str,
    report: Report,
) -> None:
    """Report the first value of each array that depends on the order of threads."""
    names = asked.names
    for i, one in first.items():
        other = after[i]
        differ = (one != other) & ~((one != one) & (other != other))  # NaN is NaN
        if not differ.any():
            continue
        index = tuple(int(k) for k in np.unravel_index(differ.argmax(), one.shape))
        what = (
            f"{element(names[i], index)} is {one[index]} with threads in order, "
            f"{other[index]} with threads {order}"
        )
        report.add(
            Finding(
                *("orders", asked.program.name, asked.path, 0, what, names[i], index),
                count=int(differ.sum()),
            )
        )


def _report(
    asked: Asked,
    mode: str,
    counts: Counts,
    raw: list[RawFinding],
    report: Report,
) -> None:
    found = asked.program
    mine = [a for a in shared_arrays(found.path(mode)) if a.function == found.name]
    report.launches.append(
        Launch(
            *(found.name, asked.path, asked.grid, asked.block),
            *(sum(a.bytes for a in mine), counts.barriers),
            *(counts.shared_reads, counts.shared_writes),
            *(counts.global_reads, counts.global_writes),
        )
    )
    told = Translation(found, mode, asked.path, asked.arrays, asked.names)
    for one in raw:
        report.add(told.finding(one))
