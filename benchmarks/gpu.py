"""`make gpu`: check every kernel on this GPU, then measure; in under ten minutes.

Needs a python3 with NumPy, Numba, CuPy, PyTorch, pytest and Hypothesis, and no network.
Writes results/<gpu>.json: after the checks, so that no figure is of a wrong kernel.

PyTorch's peers are each labelled by what they compute in: float32, or TF32, which
rounds the factors of products to ten bits and says nothing. Times are medians between
CUDA events; contenders take turns. The roofs are measured, too: copying, and the
largest matrix products in float32 and in TF32.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tinyvq_kernels as kernels

from benchmarks.bench_convolutions import LAYERS, Layer
from benchmarks.record import RESULTS, ROOT, environment, write_json
from tinyvq.messages import say

SEARCHES = (  # N, D, M
    (65536, 64, 512),
    (65536, 256, 1024),
    (262144, 8, 16384),
    (65536, 256, 16384),
)
BATCHES = (32, 256)  # of the VQ-VAE's step
ROUNDS, SECONDS = 7, 0.05  # turns, and about how long one is
Run = Callable[[], Any]
Figures = dict[str, Any]


def check() -> None:
    """Run the tests that need a GPU; end with their status where one fails."""
    words = ["-m", "pytest", "-q", "-x", "-m", "gpu", "tests/kernels", "tests/device"]
    status = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"TINYVQ_REQUIRE_GPU": "1"},
        check=False,
    ).returncode
    if status:
        sys.exit(status)


# ---- time ---------------------------------------------------------------------------


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


REPEATS = 10  # of a call in a graph


def captured(run: Run) -> Run:
    """Capture some calls as one CUDA graph, PyTorch's or ours; -> what replays it.

    Kernels of some microseconds are over before Python has launched the next: of them
    only a graph shows the time. What is captured stays alive with the graph.
    """
    import torch

    run()
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="relaxed"):
        kept = [run() for _ in range(REPEATS)]

    def replay(kept: Any = kept) -> None:
        graph.replay()

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

    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def in_both(name: str, run: Run) -> dict[str, Run]:
    """Make a peer's float32 and TF32 forms."""

    def form(tf32: bool) -> Run:
        def call() -> Any:
            products_in(tf32)
            return run()

        return call

    return {f"{name}, float32": form(False), f"{name}, TF32": form(True)}


# ---- what is measured ---------------------------------------------------------------


def roofs() -> Figures:
    """Measure copying in GB/s, and matrix products in TFLOP/s."""
    import cupy
    import torch

    n = 8192
    a, b = (torch.randn(n, n, device="cuda") for _ in range(2))
    flops = 2.0 * n**3
    found = compare(in_both("matmul", lambda: a @ b), flops)
    x = cupy.empty(1 << 28, np.float32)
    y = cupy.empty_like(x)
    copied = compare({"copy": lambda: cupy.copyto(y, x)})["copy"]["median_ms"]
    return {
        "copy_gb_a_second": round(2 * x.nbytes / copied / 1e6, 1),
        "float32_tflops": found["matmul, float32"]["tflops_a_second"],
        "tf32_tflops": found["matmul, TF32"]["tflops_a_second"],
    }


def searches() -> Figures:
    """The nearest code: each rung that a device has, and PyTorch's two forms."""
    import cupy
    import torch

    found = {}
    for n, d, m in SEARCHES:
        rng = np.random.default_rng(0)
        z, codes = (rng.standard_normal((rows, d), np.float32) for rows in (n, m))
        expected = kernels.nearest_code(z, codes)
        gz, gcodes = cupy.asarray(z), cupy.asarray(codes)
        tz, tcodes = torch.from_dlpack(gz), torch.from_dlpack(gcodes)
        contenders: dict[str, Run] = {}
        for kernel in kernels.kernels("nearest_code"):
            if kernel.backend == "cuda" and kernel.variant not in (
                "reference",
                "plain",
            ):
                run = _by("nearest_code", kernel.variant, gz, gcodes)
                # Equal to the CPU's on every row, ties included, or not timed at all.
                np.testing.assert_array_equal(run().get(), expected)
                contenders[f"tinyvq {kernel.variant}"] = run
        contenders |= in_both(
            "matmul + argmin",
            lambda tz=tz, tc=tcodes: torch.addmm(
                (tc * tc).sum(1), tz, tc.T, alpha=-2
            ).argmin(1),
        )
        if n * m <= 1 << 30:
            contenders["cdist + argmin, float32"] = lambda tz=tz, tc=tcodes: (
                torch.cdist(tz, tc).argmin(1)
            )
        found[f"{n}x{d}x{m}"] = compare_calls(contenders, 2.0 * n * d * m)
    return found


def _by(op: str, variant: str, *arrays: Any) -> Run:
    def run() -> Any:
        # The flags of non-finite input are read once, afterwards, as a step does it.
        with kernels.use_kernels(**{op: variant}), kernels.deferred_checks():
            return getattr(kernels, op)(*arrays)

    return run


def convolutions() -> Figures:
    """Each layer of the presets, forward and both gradients, against cuDNN."""
    return {
        f"{layer.preset} {layer.taps}x{layer.taps} {layer.inputs}-{layer.outputs} "
        f"stride {layer.stride} at {layer.size}: {part}": _convolution(layer, part)
        for layer in LAYERS
        for part in ("forward", "input gradient", "weight gradient")
    }


def _convolution(layer: Layer, part: str) -> Figures:
    import cupy
    import torch

    n, size, made = layer.batch, layer.size, layer.size // layer.stride
    rng = np.random.default_rng(0)
    x, w, gy = (
        cupy.asarray(rng.standard_normal(shape, np.float32))
        for shape in (
            (n, size, size, layer.inputs),
            (layer.taps, layer.taps, layer.inputs, layer.outputs),
            (n, made, made, layer.outputs),
        )
    )
    settings = layer.settings
    ours: Run = {
        "forward": lambda: kernels.conv2d(x, w, **settings),
        "input gradient": lambda: kernels.conv2d_input_grad(
            gy, w, (size, size), **settings
        ),
        "weight gradient": lambda: kernels.conv2d_weight_grad(
            x, gy, (layer.taps, layer.taps), **settings
        ),
    }[part]
    tx, tgy = (torch.from_dlpack(a).permute(0, 3, 1, 2) for a in (x, gy))
    tw = (
        torch.from_dlpack(w)
        .permute(3, 2, 0, 1)
        .contiguous(memory_format=torch.channels_last)
    )
    pairs = [layer.stride] * 2, [layer.padding] * 2, [1, 1]

    def theirs() -> Any:
        if part == "forward":
            return torch.nn.functional.conv2d(tx, tw, **settings)
        wanted = [part == "input gradient", part == "weight gradient", False]
        return torch.ops.aten.convolution_backward(
            tgy, tx, tw, None, *pairs, False, [0, 0], 1, wanted
        )[wanted.index(True)]

    flops = 2.0 * n * made**2 * layer.taps**2 * layer.inputs * layer.outputs
    return compare_calls({"tinyvq": ours, **in_both("cuDNN", theirs)}, flops)


def steps() -> Figures:
    """The VQ-VAE's training step against PyTorch, eager and compiled."""
    import torch

    from benchmarks.bench_vqvae_step import LR, PLAIN, images
    from benchmarks.peers.torch_vqvae import twin
    from tinyvq.models import VQVAE
    from tinyvq.optim import Adam
    from tinyvq.tensor import Tensor

    found = {}
    for batch in BATCHES:
        x = images(32, 3, batch)
        model = VQVAE.preset("conv", channels=3, **PLAIN)
        peers = [twin(model, channels=3).cuda() for _ in range(2)]
        model.to("cuda")
        optimizer, given = Adam(model.parameters(), LR), Tensor(x).to("cuda")

        def ours(model: Any = model, adam: Any = optimizer, x: Any = given) -> None:
            adam.zero_grad()
            with kernels.deferred_checks():
                output = model(x)
                output.loss.backward()
                adam.step()
                model.quantizer.update(output.stats)

        compiled = torch.compile(peers[1], mode="reduce-overhead", dynamic=False)
        tx = torch.from_dlpack(given.array).permute(0, 3, 1, 2)  # channels_last
        contenders: dict[str, Run] = {
            "tinyvq": ours,
            **in_both("PyTorch", _their_step(peers[0], peers[0], tx, LR)),
            **in_both(
                "PyTorch compiled, reduce-overhead",
                _their_step(peers[1], compiled, tx, LR),
            ),
        }
        found[f"batch {batch}"] = compare(contenders)
    return found


def _their_step(model: Any, forward: Any, x: Any, lr: float) -> Run:
    """Make PyTorch's step at its best: fused Adam, channels_last; nothing is read."""
    import torch

    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        forward(x).loss.backward()
        optimizer.step()
        model.quantizer.update(optimizer)

    return step


PARTS: dict[str, Callable[[], Figures]] = {
    "roofs": roofs,
    "nearest_code": searches,
    "convolutions": convolutions,
    "vqvae_step": steps,
}


def main(argv: list[str] | None = None) -> int:
    """Check, measure, write; a part that fails is told, and the others go on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--unchecked", action="store_true", help="measure alone")
    asked = parser.parse_args(argv)
    try:
        cupy = kernels.require_cuda()
    except kernels.CudaUnavailable as missing:
        say(f"error: {missing}")
        return 1
    if not asked.unchecked:
        check()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    result: Figures = {"gpu": name, "environment": environment(), "failed": {}}
    with one_stream():
        for part in asked.parts or PARTS:
            began = time.perf_counter()
            try:
                result[part] = PARTS[part]()
            except Exception as problem:  # what was measured before is kept
                result["failed"][part] = f"{type(problem).__name__}: {problem}"
            say(f"{part}: {time.perf_counter() - began:.0f} s")
    path = RESULTS / f"{name.lower().replace(' ', '-')}.json"
    write_json(path, result)
    say(f"wrote {path}")
    for part, reason in result["failed"].items():
        say(f"{part} failed: {reason}")
    return int(bool(result["failed"]))


if __name__ == "__main__":
    sys.exit(main())
