"""CUDA C++ to machine code, by NVRTC through CuPy, kept on disk.

CuPy's RawModule would compile, too, but adds options of its own: denormals become zero,
and code for the features of one device alone (sm_90a) cannot be asked for.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from tinyvq_kernels._jit import CACHE_DIR


class CompilationFailed(RuntimeError):
    """NVRTC refused a kernel; what it said."""


def cubin_of(cupy: Any, name: str, text: str, options: tuple[str, ...]) -> Path:
    """Return a file with the machine code of a text, which is compiled if need be.

    options  what NVRTC is told, with --gpu-architecture among it
    """
    version = cupy.cuda.nvrtc.getVersion()
    key = hashlib.sha256(repr((version, options, text)).encode()).hexdigest()[:32]
    file = CACHE_DIR / f"{Path(name).stem}-{key}.cubin"
    if not file.exists():
        code = _compile(cupy.cuda.nvrtc, name, text, options)
        with tempfile.NamedTemporaryFile(dir=CACHE_DIR, delete=False) as whole:
            whole.write(code)
        os.replace(whole.name, file)  # so that no half of one is ever found
    return file


def _compile(nvrtc: Any, name: str, text: str, options: tuple[str, ...]) -> bytes:
    program = nvrtc.createProgram(text, name, (), ())
    try:
        nvrtc.compileProgram(program, options)
        code: bytes = nvrtc.getCUBIN(program)
        return code
    except nvrtc.NVRTCError as problem:
        told = nvrtc.getProgramLog(program)
        raise CompilationFailed(f"{name} does not compile: {told}") from problem
    finally:
        nvrtc.destroyProgram(program)
