"""What jobs need in memory at their peak, and how often a step must ask for more.

Each reading is a process of its own: `python -m benchmarks.bench_memory JOB CONTENDER`
does a tiny job of the kind, which loads the code of a library, builds what the job
needs (model, data), does the job once (an optimiser may make its moments only then),
and hands back to the system what is free by then. It notes what the process holds, does
the job some times more, and prints by how much the peak was above that. The peak is
Linux's VmHWM, set back to what stands before: that of getrusage begins with what the
parent held when it started the child.

Page faults are counted in steady state: all contenders keep what is freed, so that a
step that needs no more than those before it need not ask the system for anything.
"""

import argparse
import ctypes
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tinyvq_kernels import keep_freed_memory, warm_up

from benchmarks import (
    bench_nearest_code,
    bench_sampling,
    bench_vqgan_step,
    bench_vqvae_step,
)
from benchmarks.bench_vqvae_step import images
from benchmarks.children import Found, found_by_child, tell
from benchmarks.harness import OURS, Case, Run, Work
from tinyvq.models import VQVAE

EAGER = ("PyTorch", "PyTorch channels_last")  # in LAYOUTS, whose file loads PyTorch
TIMES = 3  # that a job is done while its peak is watched
WARM, COUNTED = 50, 20  # steps before page faults are counted, and while they are
GRIDS = 64

Scale = Literal["tiny", "toy", "full"]  # tiny loads code, toy is for a test


@dataclass(frozen=True)
class Job:
    """What is done, by whom.

    make   (contender, scale) -> what does it once and returns what shows it
    check  (scale, results by contender) raises AssertionError unless all did it
    unit   what is read: "mb" of the peak, or page "faults" a step
    """

    what: str
    contenders: tuple[str, ...]
    make: Callable[[str, Scale], Run]
    check: Callable[[Scale, Mapping[str, Any]], None]
    unit: Literal["mb", "faults"] = "mb"


def vqvae_step(name: str, scale: Scale) -> Run:
    """Make a step of the VQ-VAE `conv`."""
    small = {} if scale == "full" else bench_vqvae_step.TOY
    model = VQVAE.preset("conv", channels=3, **small, **bench_vqvae_step.PLAIN)
    x = images(32, 3, 1 if scale == "tiny" else bench_vqvae_step.BATCH)
    if name == OURS:
        return bench_vqvae_step.ours(model, x)
    from benchmarks.peers import LAYOUTS
    from benchmarks.peers.torch_vqvae import training_step, twin

    return training_step(twin(model, channels=3, **small), x, LAYOUTS[name])


def vqgan_step(name: str, scale: Scale) -> Run:
    """Make a step of the VQ-GAN `small`, both optimisers."""
    full = scale == "full"
    x = images(64 if full else 16, 3, 1 if scale == "tiny" else bench_vqgan_step.BATCH)
    task = bench_vqgan_step.task_of(x, **({} if full else bench_vqgan_step.TOY))
    if name == OURS:
        return bench_vqgan_step.ours(task)
    peer = bench_vqgan_step.peer_of(task, layout=name)
    return bench_vqgan_step.theirs(peer, x, name)


def sampling(name: str, scale: Scale) -> Run:
    """Make the drawing of grids; its cache of keys and values is part of it."""
    prior = bench_sampling.prior_of_size(scale != "full")
    labels = np.arange(1 if scale == "tiny" else GRIDS) % bench_sampling.CLASSES
    if name == OURS:
        return bench_sampling.ours(prior, labels)
    from benchmarks.peers.torch_priors import CachedTransformer

    peer = CachedTransformer(prior, len(labels))
    peer.caches.clear()
    draw = bench_sampling.theirs(peer, labels)

    def run() -> Any:
        peer.make_caches()
        codes = draw()
        peer.caches.clear()
        return codes

    return run


SEARCHES = {"tiny": (64, 8, 32), "toy": (4096, 8, 32), "full": (8192, 256, 16384)}


def search(name: str, scale: Scale) -> Run:
    """Make a search of the nearest code."""
    z, codes = bench_nearest_code.drawn(*SEARCHES[scale])
    return bench_nearest_code.SEARCHES[name](z, codes)


def check_search(scale: Scale, found: Mapping[str, Any]) -> None:
    """Hold all indices against ours."""
    indices = {name: np.asarray(result) for name, result in found.items()}
    bench_nearest_code.check(*bench_nearest_code.drawn(*SEARCHES[scale]), indices)


STEP = f"VQ-VAE training step, batch {bench_vqvae_step.BATCH}, 32×32×3"
JOBS = {
    "vqvae-step": Job(
        f"peak memory of a {STEP}",
        (OURS, *EAGER),
        vqvae_step,
        lambda scale, found: bench_vqvae_step.check(found),
    ),
    "vqgan-step": Job(
        f"peak memory of a VQ-GAN training step, batch {bench_vqgan_step.BATCH}, "
        "64×64×3",
        (OURS, *EAGER),
        vqgan_step,
        lambda scale, found: bench_vqgan_step.check(found),
    ),
    "sampling": Job(
        f"peak memory of drawing {GRIDS} grids of codes from the transformer",
        (OURS, "PyTorch"),
        sampling,
        lambda scale, found: bench_sampling.check_codes(found),
    ),
    "nearest-code": Job(
        "peak memory of finding the nearest of {2} codes for {0} vectors of width "
        "{1}".format(*SEARCHES["full"]),
        tuple(bench_nearest_code.SEARCHES),
        search,
        check_search,
    ),
    "page-faults": Job(
        f"page faults of a {STEP}, after {WARM} steps",
        (OURS, *EAGER),
        vqvae_step,
        lambda scale, found: bench_vqvae_step.check(found),
        unit="faults",
    ),
}


def build(name: str, toy: bool) -> Work:
    """Make the children of a job."""
    job = JOBS[name]
    scale: Scale = "toy" if toy else "full"
    module = "benchmarks.bench_memory"
    contenders = {
        contender: partial(found_by_child, module, name, contender, scale)
        for contender in job.contenders
    }

    def check(found: Mapping[str, Found]) -> None:
        job.check(scale, {who: each.result for who, each in found.items()})
        for who, each in found.items():
            assert each.reading > 0 or job.unit == "faults", f"{who} needs nothing"

    return Work(contenders, check, unit=job.unit)


def found_by(job: Job, contender: str, scale: Scale) -> Found:
    """Do a contender's job and measure this process meanwhile."""
    keep_freed_memory()
    if contender == OURS:
        for _ in warm_up():  # a tiny job does not need all of them
            pass
    job.make(contender, "tiny")()
    run = job.make(contender, scale)
    reading, result = (peak_of if job.unit == "mb" else faults_of)(run)
    return Found(reading, np.asarray(result).tolist())


def peak_of(run: Run) -> tuple[float, Any]:
    """Run some times; -> megabytes at the peak above what stood, the first result.

    What stands after a first run, parameters and moments say, is none of the peak's.
    """
    result = run()
    ctypes.CDLL(None).malloc_trim(0)  # what was kept is none of what stands
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what stands now
    before = resident("VmRSS")
    for _ in range(TIMES):
        run()
    return (resident("VmHWM") - before) / 1e6, result


def resident(key: str) -> int:
    """Read a figure of this process's memory in bytes, "VmRSS" now or "VmHWM" peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(key)]
    return int(line.split()[1]) * 1024


def faults_of(run: Run) -> tuple[float, Any]:
    """Run some times; -> page faults of a run by then, and the first result.

    Minor ones: a page of memory that the system has to find, and to clear.
    """

    result = run()
    for _ in range(WARM - 1):
        run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(COUNTED):
        run()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults / COUNTED, result


def main() -> None:
    """Measure one contender, in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("contender")
    parser.add_argument("scale", nargs="?", choices=("toy", "full"), default="full")
    asked = parser.parse_args()
    tell(found_by(JOBS[asked.job], asked.contender, asked.scale))


CASES = [
    Case(
        f"memory/{name}",
        job.what,
        partial(build, name),
        promise=0.0 if job.unit == "faults" else None,
    )
    for name, job in JOBS.items()
]

if __name__ == "__main__":
    main()
