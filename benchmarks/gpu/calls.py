"""The roofs; the nearest code and the convolutions of the presets, against PyTorch."""

from typing import Any

import numpy as np
import tinyvq_kernels as kernels

from benchmarks.bench_convolutions import LAYERS, Layer
from benchmarks.gpu.timing import Figures, Run, compare, compare_calls, in_both
from tinyvq.training.options import TF32_KERNELS

SEARCHES = (  # N, D, M
    (65536, 64, 512),
    (65536, 256, 1024),
    (262144, 8, 16384),
    (65536, 256, 16384),
)
SLOW = ("reference", "plain", "tiled", "fastest")  # the last is one of the others


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
            if kernel.backend == "cuda" and kernel.variant not in SLOW:
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


def in_tf32(run: Run) -> Run:
    """Make the form of a call whose convolutions multiply in TF32."""

    def call() -> Any:
        with kernels.use_kernels(**TF32_KERNELS):
            return run()

    return call


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
    own = {"tinyvq, float32": ours, "tinyvq, TF32": in_tf32(ours)}
    return compare_calls(own | in_both("cuDNN", theirs), flops)
