"""NVRTC through ctypes: compiles CUDA for any device, and needs no device itself."""

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from required import absent

LOG = re.compile(
    r"Function properties for (\w+)\n\D*(\d+) bytes stack frame, (\d+) bytes spill "
    r"stores, (\d+) bytes spill loads\n\D*Used (\d+) registers"
)


@dataclass(frozen=True)
class Usage:
    """What a kernel takes of a multiprocessor, as ptxas tells it."""

    registers: int
    stack: int  # bytes of local memory: a spill, or an array that is not in registers


def folder() -> Path | None:
    """Find the libraries that the wheel nvidia-cuda-nvrtc installs."""
    package = importlib.util.find_spec("nvidia")
    for place in package.submodule_search_locations or [] if package else []:
        for library in sorted(Path(place).glob("*/lib/libnvrtc.so.*")):
            return library.parent
    return None


def require() -> ctypes.CDLL:
    """Load NVRTC; skip the test where it is missing, or fail where it must not be.

    TINYVQ_REQUIRE_NVRTC=1 (set in CI) makes a missing one a failure.
    """
    if folder() is None:
        absent("NVRTC", "needs NVRTC: pip install --group cuda-check")
    return _load()


@cache
def _load() -> ctypes.CDLL:
    place = folder()
    assert place is not None
    # NVRTC would look for its builtins by the loader's path, where they are not.
    for builtins in place.glob("libnvrtc-builtins.so*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    (library, *_) = sorted(place.glob("libnvrtc.so*"))
    return ctypes.CDLL(str(library))


def compile_for(arch: str, name: str, text: str, options: tuple[str, ...]) -> str:
    """Compile to machine code for a device, say "sm_90"; return the compiler's log.

    Raises AssertionError with the log where it does not compile.
    """
    nvrtc = require()
    program = ctypes.c_void_p()
    code, label = text.encode(), name.encode()
    made = nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, label, 0, None, None)
    assert made == 0
    try:
        words = (*options, f"--gpu-architecture={arch}", "--ptxas-options=-v")
        given = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
        failed = nvrtc.nvrtcCompileProgram(program, len(words), given)
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        told = log.value.decode()
        assert not failed, f"{name} {options} does not compile for {arch}:\n{told}"
        return told
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def usage(log: str) -> dict[str, Usage]:
    """Read what each kernel uses from the log of ptxas."""
    return {
        name: Usage(int(registers), int(stack) + int(stores) + int(loads))
        for name, stack, stores, loads, registers in LOG.findall(log)
    }
