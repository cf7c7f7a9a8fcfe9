"""Time on a GPU: contenders by turns, each between two events of one stream."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

ROUNDS, SECONDS = 7, 0.05  # turns, and about how long one is
REPEATS = 10  # of a call in a graph
WARM = 4  # steps before one of PyTorch's is captured
TF32 = {"float32": False, "TF32": True}  # of a peer's forms: what `products_in` takes
Run = Callable[[], Any]
Figures = dict[str, Any]


def milliseconds(run: Run, calls: int) -> float:
    """Time so many calls between two events of CuPy's stream, which PyTorch shares."""
    import cupy

    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end)) / calls


def captured(run: Run, calls: int = REPEATS, warm: int = 1) -> Run:
    """Capture some calls as one CUDA graph, PyTorch's or ours; -> what replays it.

    Kernels of some microseconds are over before Python has launched the next: of them
    only a graph shows the time. What is captured, and all that it reads, stays alive
    with the graph.

    warm  how many calls come before, in which a library chooses and allocates
    ->    a replay returns what the captured calls did
    """
    import torch

    for _ in range(warm):
        run()
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="relaxed"):
        kept = [run() for _ in range(calls)]

    def replay(owner: Run = run) -> Any:
        graph.replay()
        return kept

    return replay


def compare_calls(contenders: Mapping[str, Run], flops: float) -> Figures:
    """Compare single calls by graphs of them; figures are of one call."""
    graphs = {name: captured(run) for name, run in contenders.items()}
    found = compare(graphs, flops * REPEATS)
    for figures in found.values():
        figures["median_ms"] = round(figures["median_ms"] / REPEATS, 5)
        figures["quartiles_ms"] = [q / REPEATS for q in figures["quartiles_ms"]]
    return found


def compare(contenders: Mapping[str, Run], flops: float = 0.0) -> Figures:
    """Warm up, then take turns; medians and quartiles."""
    calls = {}
    for name, run in contenders.items():
        milliseconds(run, 3)
        calls[name] = max(1, min(200, int(1e3 * SECONDS / milliseconds(run, 2))))
    readings: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            readings[name].append(milliseconds(run, calls[name]))
    found: Figures = {}
    for name, values in readings.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        found[name] = {"median_ms": round(middle, 5), "quartiles_ms": [low, high]}
        if flops:
            found[name]["tflops_a_second"] = round(flops / middle / 1e9, 2)
    return found


@contextmanager
def one_stream() -> Iterator[None]:
    """Let both compute on one stream, so that one pair of events times both.

    Not on the default one: no graph can be captured there.
    """
    import cupy
    import torch

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)):
        yield


def products_in(tf32: bool) -> None:
    """Choose whether PyTorch's float32 products round their factors to TF32."""
    import torch

    torch.backends.cudnn.benchmark = True  # the best of cuDNN's for each shape ...
    torch.backends.cudnn.benchmark_limit = 0  # ... of all that it has
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def in_both(name: str, run: Run) -> dict[str, Run]:
    """Make a peer's float32 and TF32 forms."""

    def form(tf32: bool) -> Run:
        def call() -> Any:
            products_in(tf32)
            return run()

        return call

    return {f"{name}, {precision}": form(tf32) for precision, tf32 in TF32.items()}


def as_graphs(name: str, make: Callable[[], Run]) -> dict[str, Run]:
    """Make a peer's float32 and TF32 forms, each one call that is captured as a graph.

    make  what makes the call: each form has weights of its own
    """
    forms: dict[str, Run] = {}
    for precision, tf32 in TF32.items():
        products_in(tf32)
        forms[f"{name}, captured, {precision}"] = captured(make(), 1, WARM)
    return forms
