"""The memory that a checked launch works on: copies of its arrays, between guards.

A write beyond an array then lands in a guard, where it is seen and harms nothing.
Arrays that overlap stay so, and each begins as far from a multiple of 256 bytes as it
does from the beginning of the allocation that it is part of, as on a device.
"""

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyvq_kernels.emulator.device import Array, Region

POISON = np.uint32(0xFFFADEAD)  # NaN as a float32, and twice as a float64
ALIGNED = 256  # bytes: what a device's allocations begin at
LEAST_GUARD, MOST_GUARD = 4096, 1 << 20

_fresh: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """Make an array that is full of POISON, and known to be written by nobody."""
    made = np.empty(shape, dtype)
    poison(made.reshape(-1).view(np.uint8))
    _fresh[id(made)] = made
    return made


def poison(raw: Array) -> None:
    """Fill bytes with POISON."""
    raw[: raw.size // 4 * 4].view(np.uint32)[:] = POISON


def is_fresh(array: Array) -> bool:
    """Whether `empty` made it (or what it is a view of)."""
    return _fresh.get(id(array)) is array or (
        isinstance(array.base, np.ndarray) and is_fresh(array.base)
    )


class Guarded:
    """Copies of the arrays of a launch, each between guards.

    Those from the `given`-th on are reached through addresses in int64 arrays of the
    others; there stand, in the copies, the addresses of copies.
    """

    def __init__(self, arguments: Sequence[Any], given: int) -> None:
        self.regions = (Region * len(arguments))()
        self.groups: list[tuple[Array, int, list[Array]]] = []
        arrays = [
            (i, a)
            for i, a in enumerate(arguments)
            if isinstance(a, np.ndarray) and a.size
        ]
        arrays.sort(key=lambda pair: pair[1].ctypes.data)
        together: list[tuple[int, Array]] = []
        end = 0
        for i, array in arrays:
            begin = array.ctypes.data
            if together and begin >= end:
                self._copy(together)
                together = []
            together.append((i, array))
            end = max(end if len(together) > 1 else 0, begin + array.nbytes)
        if together:
            self._copy(together)
        moved = {a.ctypes.data: self.regions[i].begin for i, a in arrays if i >= given}
        for i, array in arrays:
            if moved and i < given and array.dtype == np.int64:
                self._redirect(self.regions[i], moved)

    @staticmethod
    def _redirect(table: Region, moved: dict[int, int]) -> None:
        """Replace the addresses in a copy of a table."""
        words = (ctypes.c_int64 * (table.bytes // 8)).from_address(table.begin)
        for k, word in enumerate(words):
            words[k] = moved.get(word, word)

    def _copy(self, together: list[tuple[int, Array]]) -> None:
        first = together[0][1]
        begin = first.ctypes.data
        end = max(a.ctypes.data + a.nbytes for _, a in together)
        size = end - begin
        guard = min(max(LEAST_GUARD, size), MOST_GUARD)
        memory = np.empty(size + 2 * guard + 2 * ALIGNED, np.uint8)
        poison(memory)
        at = (
            guard + (-(memory.ctypes.data + guard)) % ALIGNED + _offset(first) % ALIGNED
        )
        for i, array in together:
            here = at + array.ctypes.data - begin
            memory[here : here + array.nbytes] = _bytes(array)
            self.regions[i] = Region(
                memory.ctypes.data + here, array.nbytes, guard, is_fresh(array)
            )
        self.groups.append((memory, at - begin, [array for _, array in together]))

    def write_back(self) -> None:
        """Copy what the launch wrote to the arrays."""
        for memory, shift, arrays in self.groups:
            for array in arrays:
                if array.flags.writeable:
                    here = array.ctypes.data + shift
                    _bytes(array)[:] = memory[here : here + array.nbytes]


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


def _offset(array: Array) -> int:
    """How far it begins behind the beginning of the allocation that it is part of."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    offset: int = array.ctypes.data - root.ctypes.data
    return offset
