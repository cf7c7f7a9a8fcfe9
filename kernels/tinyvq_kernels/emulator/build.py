"""Compile a .cu file for the CPU: g++, the shim in `cuda.h`, and the runtime.

What comes out is a shared library in the folder of compiled kernels, named by a hash of
all that went in. The checked mode has the compiler put a call before each access to
memory, as its thread sanitizer does, and a test before each vector and each index, as
its undefined-behaviour sanitizer does; the functions that are called are ours
(`checks.cpp`), so no sanitizer's library is needed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tinyvq_kernels._jit import CACHE_DIR

HERE = Path(__file__).parent
COMMON = (
    *("-std=c++17", "-g1", "-fPIC", "-march=native", "-fvisibility=hidden"),
    # The bits that the device would give: no fused step that is not written.
    *("-ffp-contract=off", "-fno-strict-aliasing", "-fno-exceptions"),
    # A fiber's stack has 64 KiB.
    "-Werror=frame-larger-than=32768",
)
KERNEL_FLAGS = {
    "fast": ("-O2",),
    # Inlining stays, for a device function's barrier is its caller's.
    "checked": (
        *("-O1", "-fsanitize=thread"),
        "-fsanitize=bounds,alignment,integer-divide-by-zero",
        "-fno-omit-frame-pointer",
    ),
}
RUNTIME = {
    "fast": ("runtime.cpp", "unchecked.cpp"),
    "checked": ("runtime.cpp", "checks.cpp"),
}

KERNEL = re.compile(
    r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)"
)
SHARED = re.compile(
    r"__shared__\s+(?:__align__\(\d+\)\s+)?(\w+)\s+(\w+)\s*((?:\[[^]]*\])+)"
)
BYTES = {"float": 4, "int": 4, "unsigned": 4, "double": 8}


class CompilerMissing(RuntimeError):
    """There is no g++ to compile kernels with."""


class CompilationFailed(RuntimeError):
    """The compiler refused a kernel; what it said."""


def _arrays(text: str) -> str:
    """Tell shapes of __shared__ arrays, as "name:bytes:16,20", where they are said."""
    told = []
    for kind, name, dims in SHARED.findall(text):
        sizes = [_value(dim) for dim in re.findall(r"\[([^]]*)\]", dims)]
        if kind in BYTES and all(sizes):
            told.append(f"{name}:{BYTES[kind]}:{','.join(map(str, sizes))}")
    return " ".join(told)


def _value(expression: str) -> int:
    """Compute a size such as "(16 * 4) + 4"; 0 if more than numbers are in it."""
    if not re.fullmatch(r"[\d\s()*/+-]+", expression):
        return 0
    return int(eval(expression.replace("/", "//")))


def _entries(text: str) -> str:
    """Write an entry point for each kernel of a preprocessed .cu file."""
    kernels = {
        name: " ".join(re.findall(r"(\w+)\s*(?:,|$)", parameters))
        for name, parameters in KERNEL.findall(text)
    }
    lines = [f'EMULATED_ENTRY({name}, "{them}")' for name, them in kernels.items()]
    lines += [f'EMULATED_TEXTS("{" ".join(kernels)}", "{_arrays(text)}")']
    return "\n".join(lines)


@cache
def compiler() -> str:
    """Find g++ (or what CXX names); raise CompilerMissing where there is none."""
    name = os.environ.get("CXX", "g++")
    found = shutil.which(name)
    if found is None:
        raise CompilerMissing(
            f"the CUDA emulator compiles kernels with g++, and there is no {name!r} on "
            "this machine's PATH (on Debian: apt install g++)"
        )
    return found


@cache
def _version() -> str:
    command = [compiler(), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _run(command: list[str], what: str, text: str = "") -> str:
    """Run the compiler; return what it wrote to standard output."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompilationFailed(f"{what} does not compile:\n{done.stderr.strip()}")
    return done.stdout


def _place(name: str, ending: str, *key: str) -> Path:
    """Name a file by all that goes into it."""
    digest = hashlib.blake2b(digest_size=12)
    for part in (_version(), *COMMON, *key):
        digest.update(part.encode() + b"\0")
    return CACHE_DIR / f"emulated-{name}-{digest.hexdigest()}{ending}"


@cache
def _runtime(mode: str) -> list[Path]:
    """Compile what runs a launch, itself without checks."""
    headers = [path.read_text() for path in sorted(HERE.glob("*.h"))]
    made = []
    for name in RUNTIME[mode]:
        file = HERE / name
        target = _place(file.stem, ".o", file.read_text(), *headers)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=CACHE_DIR) as folder:
                part = Path(folder) / "part.o"
                words = [*COMMON, "-O2", "-c", str(file), "-o", str(part)]
                _run([compiler(), *words], name)
                part.replace(target)
        made.append(target)
    return made


def build(file: Path, defines: tuple[tuple[str, str], ...], mode: str) -> Path:
    """Compile a .cu file in a mode, "fast" or "checked"; return the library's path.

    Raises CompilerMissing, or CompilationFailed with what the compiler said.
    """
    text = file.read_text()
    shim = HERE / "cuda.h"
    flags = [*KERNEL_FLAGS[mode], *(f"-D{name}={value}" for name, value in defines)]
    runtime = [str(path) for path in _runtime(mode)]
    key = (*flags, text, shim.read_text(), *runtime)
    target = _place(f"{file.stem}-{mode}", ".so", *key)
    if not target.exists():
        # Without the shim, __global__ is left standing in the text.
        words = [*flags, "-E", "-P", "-x", "c++", str(file)]
        tail = _entries(_run([compiler(), *words], file.name))
        with tempfile.TemporaryDirectory(dir=CACHE_DIR) as folder:
            part, whole = Path(folder) / "part.o", Path(folder) / "whole.so"
            words = [*flags, "-include", str(shim), "-c", "-x", "c++", "-"]
            _run(
                [compiler(), *COMMON, *words, "-o", str(part)],
                file.name,
                f'#include "{file}"\n{tail}\n',
            )
            # Linked without a sanitizer's flags: the calls find our functions.
            words = ["-shared", str(part), *runtime, "-o", str(whole)]
            _run([compiler(), *words], file.name)
            whole.replace(target)  # whole or not at all, whoever else makes it
    return target
