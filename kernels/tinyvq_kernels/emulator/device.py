"""Load compiled kernels and run launches on NumPy arrays."""

import ctypes
import mmap
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq_kernels.emulator.build import build
from tinyvq_kernels.emulator.symbols import shared_arrays

Array = npt.NDArray[Any]
u32, u64, i32, i64 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32, ctypes.c_int64
ORDERS = {"forward": 0, "reverse": 1, "random": 2}
MOST_THREADS, STACK = 1024, 64 << 10  # as in runtime.h
MOST_FINDINGS = 64  # different ones, of a launch
_turn = threading.RLock()  # a library holds the state of one launch


def _fields(text: str) -> list[tuple[str, Any]]:
    """Read the fields of a struct: "u32 x, y; i64 offset"."""
    kinds: dict[str, Any] = {"u32": u32, "u64": u64, "i32": i32, "i64": i64}
    kinds |= {"pointer": ctypes.c_void_p, "Index": Index}
    fields = []
    for group in text.split(";"):
        kind, _, names = group.strip().partition(" ")
        fields += [(name.strip(), kinds[kind]) for name in names.split(",")]
    return fields


class Index(ctypes.Structure):
    """Three coordinates, of a thread or a block."""

    _fields_ = [("x", u32), ("y", u32), ("z", u32)]


class Region(ctypes.Structure):
    """An array argument's memory."""

    _fields_ = _fields("u64 begin, bytes, guard, fresh")


class RawFinding(ctypes.Structure):
    """A finding as the runtime leaves it."""

    _fields_ = _fields(
        "u32 kind; i32 array; i64 offset;"
        "u32 bytes, writes, other_writes, line, other_line, count; u64 where, other;"
        "Index block, thread, other_block, other_thread; i64 index; u64 file, type"
    )


class Counts(ctypes.Structure):
    """What a launch did."""

    _fields_ = _fields(
        "u64 barriers, shared_reads, shared_writes, global_reads, global_writes,"
        "findings, stopped"
    )


class Variable(ctypes.Structure):
    """Where a __shared__ array is in the library."""

    _fields_ = _fields("u64 offset, bytes")


class RawLaunch(ctypes.Structure):
    """What the runtime is asked for."""

    _fields_ = _fields(
        "pointer call, values; Index grid, block; u32 order, seed; pointer regions;"
        "u32 arguments, room; pointer findings, counts, variables; u32 variable_count;"
        "pointer stacks"
    )


@cache
def _stacks() -> tuple[mmap.mmap, int]:
    """Reserve a stack a thread, for all libraries; what is touched takes memory."""
    memory = mmap.mmap(-1, MOST_THREADS * STACK)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Program:
    """A kernel of a compiled file."""

    def __init__(self, file: Path, defines: tuple[tuple[str, str], ...], name: str):
        self.file, self.defines, self.name = file, defines, name

    @cache  # noqa: B019 - as long-lived as the program
    def library(self, mode: str) -> ctypes.CDLL:
        """Compile and load it."""
        return ctypes.CDLL(str(self.path(mode)))

    @cache  # noqa: B019
    def path(self, mode: str) -> Path:
        """Compile it; where the library is."""
        return build(self.file, self.defines, mode)

    def text(self, mode: str, what: str) -> tuple[str, ...]:
        """Ask the library for words that it holds."""
        function = self.library(mode)[what]
        function.restype = ctypes.c_char_p
        words: bytes = function()
        return tuple(words.decode().split())

    @cache  # noqa: B019
    def signature(self, mode: str) -> dict[str, str]:
        """Describe each parameter: "f4" a float, "Pf4" an array of them to write to."""
        if self.name not in (names := self.text(mode, "emulated_kernels")):
            raise ValueError(
                f"{self.file.name} has no kernel {self.name!r}; there is: "
                f"{', '.join(names)}"
            )
        names = self.text(mode, f"emulated_parameters_{self.name}")
        words = self.text(mode, f"emulated_signature_{self.name}")
        return dict(zip(names, words, strict=True))

    def check(self, mode: str, arguments: Sequence[Any]) -> None:
        """Raise TypeError unless the arguments are what the kernel takes."""
        signature = self.signature(mode)
        if len(arguments) != len(signature):
            raise TypeError(
                f"{self.name} takes {len(signature)} arguments "
                f"({', '.join(signature)}), got {len(arguments)}"
            )
        for (name, word), given in zip(signature.items(), arguments, strict=True):
            if not _fits(word, given):
                raise TypeError(
                    f"{self.name}: {name} is {_told(word)}, got {_kind(given)}"
                )


def _fits(word: str, given: Any) -> bool:
    is_array = isinstance(given, np.ndarray)
    if is_array != (word[0] in "pP"):
        return False
    if word[0] == "P" and not given.flags.writeable:
        return False
    kind, size = word.lstrip("pP")[0], int(word.lstrip("pP")[1:])
    if kind == "v":  # float4 and the like
        return bool(size % given.dtype.itemsize == 0)
    given_kind = "u" if given.dtype.kind == "b" else given.dtype.kind
    return bool(given_kind == kind and given.dtype.itemsize == size)


def _told(word: str) -> str:
    kinds = {"f": "float", "i": "int", "u": "uint", "v": "vector"}
    plain = word.lstrip("pP")
    size = int(plain[1:])
    name = f"{kinds[plain[0]]}{8 * size}"
    return {"p": f"an array of {name}", "P": f"a writable array of {name}"}.get(
        word[0], f"a scalar {name}"
    )


def _kind(given: Any) -> str:
    return f"{'array' if isinstance(given, np.ndarray) else 'scalar'} {given.dtype}"


@cache
def program(file: Path, defines: tuple[tuple[str, str], ...], name: str) -> Program:
    """Find a kernel, once."""
    return Program(file, defines, name)


def run(
    found: Program,
    mode: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    arguments: Sequence[Any],
    *,
    order: str = "forward",
    seed: int = 0,
    regions: Any = None,
) -> tuple[Counts, list[RawFinding]]:
    """Run one launch; return what it did and what was wrong with it.

    regions  a Region for each argument, and for each array that is reached through one
    """
    library = found.library(mode)
    values = (ctypes.c_void_p * len(arguments))()
    kept = []
    for i, given in enumerate(arguments):
        if isinstance(given, np.ndarray):
            where = regions[i].begin if regions is not None else given.ctypes.data
            holder = np.array([where], np.uint64)
        else:
            holder = np.array([given])
        kept.append(holder)
        values[i] = holder.ctypes.data
    shared = shared_arrays(found.path(mode)) if mode == "checked" else ()
    variables = (Variable * len(shared))(*(Variable(a.offset, a.bytes) for a in shared))
    counts, findings = Counts(), (RawFinding * MOST_FINDINGS)()
    asked = RawLaunch(
        ctypes.cast(library[f"emulated_call_{found.name}"], ctypes.c_void_p),
        ctypes.addressof(values),
        *(Index(*grid), Index(*block), ORDERS[order], seed),
        None if regions is None else ctypes.addressof(regions),
        *(len(arguments) if regions is None else len(regions), MOST_FINDINGS),
        *(ctypes.addressof(findings), ctypes.addressof(counts)),
        *(ctypes.addressof(variables), len(variables), _stacks()[1]),
    )
    with _turn:
        done = library.emulated_run(ctypes.byref(asked))
    if not done:
        raise MemoryError(f"no memory to emulate {found.name}")
    return counts, list(findings[: counts.findings])
