"""How times grow: nearest code over N, M, D; a step over batch, image and threads."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numba
import torch

from benchmarks import bench_nearest_code, bench_vqvae_step
from benchmarks.harness import Case, Work

N, D, M = 8192, 64, 512  # what stays while one of them changes
SHAPES = dict.fromkeys(
    [
        *((n, D, M) for n in (512, 2048, 8192, 32768)),
        *((N, D, m) for m in (64, 512, 4096, 16384)),
        *((N, d, M) for d in (8, 32, 128, 512)),
    ]
)
BATCHES = (8, 32, 128)
SIZE, CHANNELS = 28, 1
SIZES, FEW = (16, 32, 64, 128), 8  # images in colour, few at once: the largest is large
MOST = numba.config.NUMBA_NUM_THREADS  # that this process may use
THREADS = [n for n in (1, 2) if n <= MOST]


def at_threads(threads: int, run: Callable[[], Any]) -> Callable[[], Any]:
    """Run with so many threads, in either library; put back what was set before."""

    def limited() -> Any:
        before = numba.get_num_threads(), torch.get_num_threads()
        numba.set_num_threads(threads)
        torch.set_num_threads(threads)
        try:
            return run()
        finally:
            numba.set_num_threads(before[0])
            torch.set_num_threads(before[1])

    return limited


def build_step(batch: int, threads: int, toy: bool) -> Work:
    """Make training steps of one batch size, on so many threads.

    The roofs are those of all threads: only beside them a rate means something.
    """
    work = bench_vqvae_step.build(SIZE, CHANNELS, toy, batch=batch, compiled=False)
    limited = {name: at_threads(threads, run) for name, run in work.contenders.items()}
    flops = work.flops if threads == MOST else 0.0
    return replace(work, contenders=limited, flops=flops)


def build_size(size: int, toy: bool) -> Work:
    """Make training steps on images of one size."""
    return bench_vqvae_step.build(size, 3, toy, batch=FEW, compiled=False)


CASES = [
    *(
        Case(
            f"scaling/nearest_code-{n}x{d}x{m}",
            f"nearest of {m} codes for {n} vectors of width {d}",
            partial(bench_nearest_code.build, (n, d, m)),
        )
        for n, d, m in SHAPES
    ),
    *(
        Case(
            f"scaling/vqvae_step-batch-{batch}-threads-{threads}",
            f"VQ-VAE training step, {SIZE}×{SIZE}×{CHANNELS}, batch {batch}, "
            f"{threads} thread{'s' if threads > 1 else ''}",
            partial(build_step, batch, threads),
        )
        for batch in BATCHES
        for threads in THREADS
    ),
    *(
        Case(
            f"scaling/vqvae_step-size-{size}",
            f"VQ-VAE training step, {size}×{size}×3, batch {FEW}",
            partial(build_size, size),
        )
        for size in SIZES
    ),
]
