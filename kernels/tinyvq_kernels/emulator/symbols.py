"""What a compiled kernel's debug information tells: shared arrays, and source lines."""

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GUARD = 256  # bytes ahead of each __shared__ array, as in cuda.h
SECTION = re.compile(r"^([0-9a-f]+) ([0-9a-f]+) \w (.*)$")


@dataclass(frozen=True)
class SharedArray:
    """A __shared__ array: the function that declares it, and where it stands."""

    function: str
    name: str
    offset: int
    bytes: int

    def shape(self, declared: Sequence[str]) -> tuple[int, ...]:
        """Find its shape among what the source declares, "name:4:16,20" (of 4 bytes).

        () where it is not told: a size that the text alone does not give.
        """
        for words in declared:
            name, size, dims = words.split(":")
            shape = tuple(int(n) for n in dims.split(","))
            if name == self.name and int(size) * math.prod(shape) == self.bytes:
                return shape
        return ()


def _ask(*command: str, text: str = "") -> list[str]:
    """Run a tool of binutils; no lines where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return []
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines() if done.returncode == 0 else []


@cache
def shared_arrays(library: Path) -> tuple[SharedArray, ...]:
    """List the __shared__ arrays of all kernels of a library."""
    lines = _ask("nm", "-S", "-C", "--defined-only", str(library))
    section = {line.split()[-1]: int(line.split()[0], 16) for line in lines}
    begin = section.get("__start_emulated_shared", 0)
    end = section.get("__stop_emulated_shared", 0)
    found = []
    for match in filter(None, map(SECTION.match, lines)):
        offset, size, name = int(match[1], 16), int(match[2], 16), match[3]
        if begin <= offset < end and size and "emulated_guard" not in name:
            function, _, plain = name.rpartition("::")
            found.append(SharedArray(function.partition("(")[0], plain, offset, size))
    return tuple(sorted(found, key=lambda array: array.offset))


@cache
def line_of(library: Path, offset: int) -> int:
    """Find the source line of an instruction; 0 where it is not known.

    Of what was inlined, the line in the innermost function.
    """
    lines = _ask("addr2line", "-e", str(library), hex(offset))
    number = lines[0].rpartition(":")[2].split()[0] if lines else "0"
    return int(number) if number.isdigit() else 0
