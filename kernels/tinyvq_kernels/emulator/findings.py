"""What the emulator found, in words."""

from dataclasses import dataclass, field
from typing import Any

Size = tuple[int, int, int]
KINDS = (  # those of the checked mode in the order of runtime.h
    *("race", "uninitialised", "bounds", "alignment", "divergence", "division"),
    "orders",
)


def element(array: str, index: tuple[int, ...]) -> str:
    """Write an element as NumPy indexes it; "" where no array is known."""
    return f"{array}[{', '.join(map(str, index))}]" if array else ""


@dataclass(frozen=True)
class Finding:
    """Something wrong with a kernel.

    kind          one of KINDS
    kernel        its entry point; `file` and `line` say where (line 0: not known)
    what          what happened, in a line
    array         the array's name; "" where no array is known
    index         the element, as one indexes it; () where it is not known
    block         the block, and `thread` the thread, that did it first
    other_thread  the thread that it races with, or that is not at the barrier
    other_block   that thread's block
    other_line    where that one was
    count         how often it happened
    """

    kind: str
    kernel: str
    file: str
    line: int
    what: str
    array: str = ""
    index: tuple[int, ...] = ()
    block: Size = (0, 0, 0)
    thread: Size = (0, 0, 0)
    other_block: Size | None = None
    other_thread: Size | None = None
    other_line: int = 0
    count: int = 1

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.kind}: {self.kernel}, {place}: {self.what}{times}"


@dataclass(frozen=True)
class Launch:
    """A launch as the emulator saw it.

    shared_bytes  of __shared__ arrays a block
    barriers      __syncthreads that the busiest block passed
    reads, writes  of shared and of global memory, as instructions; counted in the
                  checked mode alone, else 0
    """

    kernel: str
    file: str
    grid: Size
    block: Size
    shared_bytes: int
    barriers: int
    shared_reads: int = 0
    shared_writes: int = 0
    global_reads: int = 0
    global_writes: int = 0

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def threads(self) -> int:
        """Threads a block."""
        return self.block[0] * self.block[1] * self.block[2]


@dataclass
class Report:
    """All launches inside an `emulation` block, and all that was found."""

    mode: str
    launches: list[Launch] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, found: Finding) -> None:
        """Add a finding; the same in a later launch is counted, not told again."""
        for i, old in enumerate(self.findings):
            if _same(old, found):
                total = old.count + found.count
                self.findings[i] = Finding(**{**old.__dict__, "count": total})
                return
        self.findings.append(found)

    @property
    def kinds(self) -> set[str]:
        """The kinds of what was found."""
        return {found.kind for found in self.findings}


def _same(a: Finding, b: Finding) -> bool:
    def key(f: Finding) -> tuple[Any, ...]:
        return f.kind, f.kernel, f.file, f.line, f.array

    return key(a) == key(b)
