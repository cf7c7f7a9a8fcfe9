"""Record what a function has a GPU do, as a CUDA graph, and have it done again at once.

A training step launches some hundred kernels, of which many take microseconds; Python
takes longer to launch them. A graph of them is launched as one.

    update = Captured(run)
    update()    # runs; so does the second call: kernels get compiled, tables placed
    update()    # the third records what run launches, and has the GPU do it
    update()    # from then on the GPU repeats that; run is not called

What is repeated are launches with the same arguments: the same addresses, the same
numbers. So `run` reads what changes from arrays that stay where they are, and decides
nothing by what it computes. What it returns stays where it is, too, and is overwritten
by the next call.
"""

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from tinyvq_kernels._cuda import require_cuda

T = TypeVar("T")
WARM = 2  # calls that run before one is recorded


@dataclass
class _Recording(Generic[T]):
    """A graph, and what must live as long: its memory, its result, what it reads."""

    calls: int = 0
    graph: Any = None
    pool: Any = None
    result: T | None = None
    kept: list[Any] = field(default_factory=list)


_RECORDING: ContextVar[_Recording[Any] | None] = ContextVar("recording", default=None)


def keep(arrays: T) -> T:
    """Hold what a launch reads, and nobody else holds, as long as its graph."""
    recording = _RECORDING.get()
    if recording is not None:
        recording.kept.append(arrays)
    return arrays


class Captured(Generic[T]):
    """A function of a GPU's arrays, run twice, then recorded and repeated.

    run      takes nothing; may read no value of a GPU's array, and bring none there
    backend  "cuda", or "cpu", where each call runs
    warm     how many calls run before one is recorded
    """

    def __init__(
        self, run: Callable[[], T], backend: str = "cuda", warm: int = WARM
    ) -> None:
        self.run = run
        self.backend = backend
        self.warm = warm
        self._recordings: dict[Hashable, _Recording[T]] = {}

    def __call__(self, key: Hashable = None) -> T:
        """Run, record or repeat; each key has a recording of its own."""
        if self.backend == "cpu":
            return self.run()
        recording = self._recordings.setdefault(key, _Recording())
        if recording.calls < self.warm:
            recording.calls += 1
            return self.run()
        if recording.graph is None:
            self._record(recording)
        recording.graph.launch()  # on the current stream, after all that went before
        return cast(T, recording.result)

    def _record(self, recording: _Recording[T]) -> None:
        cuda = require_cuda().cuda
        # What is allocated meanwhile comes from a pool of the graph's own, so that no
        # other array ever gets the memory that a replay writes to.
        recording.pool = cuda.MemoryPool()
        token = _RECORDING.set(recording)
        try:
            # On a stream of its own: the default one cannot be recorded.
            with (
                cuda.using_allocator(recording.pool.malloc),
                cuda.Stream(non_blocking=True) as stream,
            ):
                stream.begin_capture()
                try:
                    recording.result = self.run()
                finally:
                    graph = stream.end_capture()
        finally:
            _RECORDING.reset(token)
        recording.graph = graph
