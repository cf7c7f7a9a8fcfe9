"""What the runtime found, in terms of a kernel's source and of its arrays."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyvq_kernels.emulator.device import Index, Program, RawFinding
from tinyvq_kernels.emulator.findings import KINDS, Finding, Size, element
from tinyvq_kernels.emulator.symbols import GUARD, line_of, shared_arrays

SHARED = -1  # as in runtime.h


class Translation:
    """Turns what a launch's runtime left into findings."""

    def __init__(
        self,
        found: Program,
        mode: str,
        path: str,
        arguments: Sequence[Any],
        names: Sequence[str],
    ) -> None:
        self.kernel, self.path, self.arguments = found.name, path, arguments
        self.library = found.path(mode)
        self.names = names
        self.declared = found.text(mode, "emulated_arrays")

    def finding(self, raw: RawFinding) -> Finding:
        """Say it in words."""
        kind = KINDS[raw.kind - 1]
        array, index = self._element(raw)
        line, other_line = self._lines(raw)
        what = {
            "race": self._race,
            "uninitialised": self._uninitialised,
            "bounds": self._bounds,
            "alignment": self._alignment,
            "divergence": self._divergence,
            "division": self._division,
        }[kind]
        paired = kind in ("race", "divergence")
        return Finding(
            kind=kind,
            kernel=self.kernel,
            file=self.path,
            line=line,
            what=f"{_who(raw)} {what(raw, element(array, index), other_line)}",
            array=array,
            index=index,
            block=_size(raw.block),
            thread=_size(raw.thread),
            other_block=_size(raw.other_block) if kind == "race" else None,
            other_thread=_size(raw.other_thread) if paired else None,
            other_line=other_line,
            count=raw.count,
        )

    def _lines(self, raw: RawFinding) -> tuple[int, int]:
        """Find both lines, which the compiler left, or which stand for addresses."""
        line, other = raw.line, raw.other_line
        if not line and raw.where:
            line = line_of(self.library, raw.where)
        if not other and raw.other:
            other = line_of(self.library, raw.other)
        return line, other

    def _element(self, raw: RawFinding) -> tuple[str, tuple[int, ...]]:
        """Name the array and the element that a finding is about."""
        if raw.array >= 0:
            given = self.arguments[raw.array]
            shape, at = given.shape, raw.offset // given.itemsize
            return self.names[raw.array], _index(at, shape)
        if raw.array == SHARED:
            for array in shared_arrays(self.library):
                beyond = raw.offset - array.offset
                if 0 <= beyond < array.bytes + GUARD:
                    shape = array.shape(self.declared)
                    size = array.bytes // max(int(np.prod(shape)), 1) if shape else 4
                    return array.name, _index(beyond // size, shape)
        return "", ()

    def _race(self, raw: RawFinding, what: str, other_line: int) -> str:
        other = f"thread {_told(raw.other_thread)}"
        apart = _size(raw.block) != _size(raw.other_block)
        if apart:
            other += f" of block {_told(raw.other_block)}"
        line = f" in line {other_line}" if other_line else ""
        return (
            f"{'writes' if raw.writes else 'reads'} {what}, which "
            f"{other} {'writes' if raw.other_writes else 'reads'}{line}: "
            + ("blocks run in any order" if apart else "no barrier lies between")
        )

    def _uninitialised(self, raw: RawFinding, what: str, other_line: int) -> str:
        return f"reads {what}, which nobody has written"

    def _bounds(self, raw: RawFinding, what: str, other_line: int) -> str:
        does = "writes" if raw.writes else "reads"
        if raw.type:
            return f"takes element {raw.index} of {_text(raw.type)}; the launch ended"
        if not what:
            return f"{does} outside of all arrays; the launch ended"
        if raw.array >= 0:
            return f"{does} {what}, of {self.arguments[raw.array].size} elements"
        return f"{does} {what}, beyond its end"

    def _alignment(self, raw: RawFinding, what: str, other_line: int) -> str:
        return (
            f"takes {_text(raw.type)} from {raw.index % 16} bytes beyond a multiple of "
            "16; the launch ended"
        )

    def _division(self, raw: RawFinding, what: str, other_line: int) -> str:
        return "divides by zero; the launch ended"

    def _divergence(self, raw: RawFinding, what: str, other_line: int) -> str:
        there = f"waits in line {other_line}" if other_line else "has left the kernel"
        return (
            f"waits at a barrier, while thread {_told(raw.other_thread)} {there}; "
            "the launch ended"
        )


def _index(at: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Index as one writes it; counted from the array's begin where it is outside."""
    if not 0 <= at < int(np.prod(shape)) or not shape:
        return (int(at),)
    return tuple(int(i) for i in np.unravel_index(at, shape))


def _size(index: Index) -> Size:
    return index.x, index.y, index.z


def _told(index: Index) -> str:
    return f"({index.x}, {index.y}, {index.z})"


def _who(raw: RawFinding) -> str:
    return f"thread {_told(raw.thread)} of block {_told(raw.block)}"


def _text(address: int) -> str:
    return ctypes.string_at(address).decode(errors="replace")
