"""`make gpu`: check, then measure, then write."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import tinyvq_kernels as kernels

from benchmarks.gpu.calls import convolutions, roofs, searches
from benchmarks.gpu.steps import vqgan_steps, vqvae_steps
from benchmarks.gpu.timing import Figures, one_stream
from benchmarks.record import RESULTS, ROOT, environment, write_json
from tinyvq.messages import say


def check() -> None:
    """Run the tests that need a GPU; end with their status where one fails."""
    words = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:benchmark"]
    words += ["tests/kernels", "tests/device"]
    if importlib.util.find_spec("xdist"):  # kernels compile while others run
        words += ["-n", str(min(12, os.cpu_count() or 1))]
    status = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"TINYVQ_REQUIRE_GPU": "1"},
        check=False,
    ).returncode
    if status:
        sys.exit(status)


PARTS: dict[str, Callable[[], Figures]] = {
    "roofs": roofs,
    "nearest_code": searches,
    "convolutions": convolutions,
    "vqvae_step": vqvae_steps,
    "vqgan_step": vqgan_steps,
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
    path = RESULTS / f"{name.lower().replace(' ', '-')}.json"
    result: Figures = json.loads(path.read_text()) if path.exists() else {"gpu": name}
    failed = 0
    with one_stream():
        for part in asked.parts or PARTS:
            began = time.perf_counter()
            try:
                cases = PARTS[part]()
            except Exception as problem:  # the other parts are measured all the same
                say(f"{part} failed: {type(problem).__name__}: {problem}")
                failed += 1
                continue
            where = environment() | {"checked": not asked.unchecked}
            result[part] = {"environment": where, "cases": cases}
            say(f"{part}: {time.perf_counter() - began:.0f} s")
    write_json(path, result)
    say(f"wrote {path}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
