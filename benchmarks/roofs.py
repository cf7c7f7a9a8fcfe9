"""What a machine can do at most, measured in the run whose figures stand under it.

No rate means much alone: beside the roofs it says how much there is left to gain.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tinyvq_kernels import peak_bandwidth, peak_flops, watch_kernels

from tinyvq.function import observe
from tinyvq.profiling import Profiler

SIZE = 2048  # of the matrices that NumPy multiplies
CALLS = 5

Roofs = dict[str, float]


def measure_roofs() -> Roofs:
    """Measure all roofs, with all threads: the best of some calls each.

    peak_gflops_a_second   multiplying and adding in registers
    sgemm_gflops_a_second  NumPy's product of two matrices
    copy_gb_a_second       copying what no cache holds, reading and writing counted
    """
    return {
        "peak_gflops_a_second": round(peak_flops() / 1e9, 1),
        "sgemm_gflops_a_second": round(sgemm_flops() / 1e9, 1),
        "copy_gb_a_second": round(peak_bandwidth() / 1e9, 1),
    }


def sgemm_flops() -> float:
    """Measure NumPy's product of two float32 matrices, in operations a second."""
    a, b = np.random.default_rng(0).standard_normal((2, SIZE, SIZE), np.float32)
    seconds = []
    for _ in range(CALLS):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2.0 * SIZE**3 / min(seconds)


def highest(some: Mapping[str, float], others: Mapping[str, float]) -> Roofs:
    """Take the higher of each roof: whatever was reached can be reached."""
    return {
        name: max(found.get(name, 0.0) for found in (some, others))
        for name in {**some, **others}
    }


def flops_of(step: Callable[[], Any]) -> float:
    """Run a step of tinyvq's; count what its ops and its codebook search ask for."""
    profiler = Profiler()
    searched = 0.0

    def around(op: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal searched
            if op == "nearest_code":
                z, codes = arguments  # (N,D), (M,D)
                searched += 2.0 * z.size * len(codes)
            return kernel(*arguments, **more)

        return counted

    with observe(profiler), watch_kernels(around):
        step()
    return searched + sum(op.total.flops for op in profiler.ops.values())
