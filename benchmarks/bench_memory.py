"""What a training step needs in memory at its peak, against PyTorch.

Each reading is a process of its own: `python -m benchmarks.bench_memory CONTENDER`
builds model and data, notes what the process holds, does some steps, and prints by how
much the peak was above that. The peak is Linux's VmHWM, set back to what stands before
the steps: that of getrusage begins with what the parent held when it started the child.
A step of a tiny model comes before, which loads the code of either library.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tinyvq_kernels import keep_freed_memory

from benchmarks.bench_vqvae_step import BATCH, PLAIN, SAME, TOY, images, ours
from benchmarks.harness import Case, Work, assert_close
from tinyvq.models import VQVAE

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("PyTorch", "PyTorch channels_last")
STEPS = 3
SIZE, CHANNELS = 32, 3


@dataclass(frozen=True)
class Peak:
    """What a child has found: megabytes above what stood, the first step's loss."""

    megabytes: float
    loss: float


def build(toy: bool) -> Work:
    """Make the children."""
    contenders = {name: partial(_in_child, name, toy) for name in ("tinyvq", *PEERS)}

    def check(found: Mapping[str, Peak]) -> None:
        assert_close({name: peak.loss for name, peak in found.items()}, SAME)
        for name, peak in found.items():
            assert peak.megabytes > 0, f"{name} needs nothing"

    return Work(contenders, check, unit="mb")


def _in_child(name: str, toy: bool) -> Peak:
    words = [sys.executable, "-m", "benchmarks.bench_memory", name]
    done = subprocess.run(
        [*words, "--toy"] if toy else words,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{done.stderr}")
    return Peak(**json.loads(done.stdout))


def peak_of(name: str, toy: bool) -> Peak:
    """Do a contender's steps and measure this process meanwhile."""
    keep_freed_memory()
    if name == "tinyvq":
        from tinyvq_kernels import warm_up

        for _ in warm_up():  # a tiny model does not need all of them
            pass
    step_of(name, TOY, batch=1)()
    step = step_of(name, TOY if toy else {}, BATCH)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what stands now
    before = resident("VmRSS")
    loss = step()
    for _ in range(STEPS - 1):
        step()
    return Peak((resident("VmHWM") - before) / 1e6, loss)


def resident(key: str) -> int:
    """Read a figure of this process's memory in bytes, "VmRSS" now or "VmHWM" peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(key)]
    return int(line.split()[1]) * 1024


def step_of(name: str, small: dict[str, Any], batch: int) -> Callable[[], float]:
    """Build a contender's model and data; return its step."""
    model = VQVAE.preset("conv", channels=CHANNELS, **small, **PLAIN)
    x = images(SIZE, CHANNELS, batch)
    if name == "tinyvq":
        return ours(model, x)
    from benchmarks.peers import LAYOUTS
    from benchmarks.peers.torch_vqvae import training_step, twin

    peer = twin(model, channels=CHANNELS, **small)
    return training_step(peer, x, LAYOUTS[name])


def main() -> None:
    """Measure one contender, in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contender", choices=("tinyvq", *PEERS))
    parser.add_argument("--toy", action="store_true")
    asked = parser.parse_args()
    print(json.dumps(asdict(peak_of(asked.contender, asked.toy))))


CASES = [
    Case(
        f"memory/vqvae-step-{SIZE}x{SIZE}x{CHANNELS}",
        f"peak memory of {STEPS} VQ-VAE training steps, batch {BATCH}, "
        f"{SIZE}×{SIZE}×{CHANNELS}, above what model and data take",
        build,
    )
]

if __name__ == "__main__":
    main()
