"""The registers that each CUDA kernel may use, of the 255 that a thread can have.

    PYTHONPATH=tests python tests/kernels/cuda_budget.py

writes `cuda_budget.json` anew from what the compiler says now, in steps of 8, as
devices hand them out. Look at what grew before it is committed.
"""

import importlib
import json
import pkgutil
from pathlib import Path

import nvrtc
import tinyvq_kernels
from tinyvq_kernels._cuda import Source

ARCHITECTURES = ("sm_80", "sm_90")  # Ampere, Hopper
FILE = Path(__file__).parent / "cuda_budget.json"
KERNELS = Path(tinyvq_kernels.__file__).parent
Budget = dict[str, dict[str, int]]


def read() -> Budget:
    """Read file -> kernel -> registers."""
    budget: Budget = json.loads(FILE.read_text())
    return budget


def sources() -> list[Source]:
    """Gather the sources that each gpu.py, and gpu_*.py, lists."""
    found: list[Source] = []
    for package in pkgutil.iter_modules(tinyvq_kernels.__path__, "tinyvq_kernels."):
        folder = KERNELS / package.name.rpartition(".")[2]
        for file in sorted(folder.glob("gpu*.py")):
            module = importlib.import_module(f"{package.name}.{file.stem}")
            found += module.SOURCES.values()
    return list(dict.fromkeys(found))


def architectures(source: Source) -> tuple[str, ...]:
    """The devices that a source is compiled for."""
    return ("sm_90a",) if source.hopper else ARCHITECTURES


def log_of(source: Source, arch: str) -> str:
    """Compile a source for a device; what the compiler said."""
    text = source.file.read_text()
    return nvrtc.compile_for(arch, source.path, text, source.options)


def measure() -> Budget:
    """Ask the compiler what every kernel takes, with any macros, on any device."""
    budget: Budget = {}
    for source in sources():
        kernels = budget.setdefault(source.path, {})
        for arch in architectures(source):
            for name, used in nvrtc.usage(log_of(source, arch)).items():
                steps = -(-used.registers // 8) * 8
                kernels[name] = max(kernels.get(name, 0), steps)
    return budget


if __name__ == "__main__":
    FILE.write_text(json.dumps(measure(), indent=2, sort_keys=True) + "\n")
