"""What every result file says beside its figures: machine, versions, commit."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinyvq.files import make_folder, write_atomically

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
# What keeps a library from the best code it has for this machine, where it is set.
HELD_BACK = (
    *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"),
)
PACKAGES = (
    "numpy",
    "numba",
    "llvmlite",
    "cupy-cuda13x",
    "torch",
    "vector-quantize-pytorch",
    "faiss-cpu",
    "scikit-learn",
)


def environment() -> dict[str, Any]:
    """Describe the machine, the versions and the commit that figures came from."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    versions |= blas()
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "commit": commit(),
    }


def blas() -> dict[str, str]:
    """Say what multiplies NumPy's matrices, and for which processor, if it tells."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {}
    return {
        found["internal_api"]: f"{found['version']} for {found['architecture']}"
        for found in threadpool_info()
        if found["user_api"] == "blas" and "architecture" in found
    }


def held_back() -> str | None:
    """Name a setting that keeps a library from its best code; None if there is none."""
    found = (f"{name}={os.environ[name]}" for name in HELD_BACK if name in os.environ)
    return next(found, None)


def cpu_name() -> str:
    """Name the processor as the system does."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def commit() -> str:
    """Name the commit, with + where the tree has changes other than results."""

    def git(*words: str) -> str:
        found = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return found.stdout.strip()

    changed = git(
        "status", "--porcelain", "--", ".", ":!benchmarks/results", ":!docs/results"
    )
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def write_json(path: Path, content: Any) -> None:
    """Write a result file, whole or not at all."""
    make_folder(path.parent)
    write_atomically(path, f"{json.dumps(content, indent=1)}\n".encode())
