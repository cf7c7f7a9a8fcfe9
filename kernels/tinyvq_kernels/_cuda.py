"""The one door through which every CUDA kernel is launched.

A kernel's host side is written once, in its folder's `gpu.py`, and runs on both kinds
of arrays: on CuPy's the kernel is compiled by NVRTC and runs on the device, on NumPy's
it runs in the emulator.

    SOURCE = Source("pointwise/pointwise.cu", {"REAL": "float"})
    y = empty(x.shape, x.dtype, like=x)
    launch(SOURCE, "relu", grid=(8, 1, 1), block=(256, 1, 1),
           arguments=(x, y, np.int32(x.size)))

CuPy is imported when it is first needed, and never where it is not.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinyvq_kernels._nvrtc import cubin_of
from tinyvq_kernels._table import FLOATS, NAMES, Kernel, backend_of, declare
from tinyvq_kernels._types import Array

FOLDER = Path(__file__).parent
OPTIONS = ("-std=c++17", "--fmad=false")  # no fused step that is not written
MOST_THREADS = 1024
STATIC_SHARED = 48 * 1024  # bytes that a block gets unasked
MOST_BLOCKS = (2**31 - 1, 65535, 65535)
Size = tuple[int, int, int]
# The macros of a kernel that is compiled for both dtypes.
REALS = {"f": {"REAL": "float", "FMA": "fmaf"}, "d": {"REAL": "double", "FMA": "fma"}}


class CudaUnavailable(RuntimeError):
    """CUDA was asked for, and CuPy or a usable GPU is missing."""


_SOURCES: ContextVar[dict[str, Path] | None] = ContextVar("sources", default=None)


@contextmanager
def use_source(path: str, file: Path) -> Iterator[None]:
    """Inside the block, run another file in the place of a shipped .cu file.

    path  of the shipped one, "gemm/matmul.cu"
    """
    if not (FOLDER / path).exists():
        raise ValueError(f"there is no {path} to put {file} in the place of")
    token = _SOURCES.set({**(_SOURCES.get() or {}), path: file})
    try:
        yield
    finally:
        _SOURCES.reset(token)


@dataclass(frozen=True, init=False)
class Source:
    """A .cu file and the macros that it is compiled with.

    path    relative to this package, "search/nearest_code.cu"
    macros  what -D defines, as sorted pairs; given as a mapping
    hopper  whether it uses what devices of compute capability 9.0 alone have
    """

    path: str
    macros: tuple[tuple[str, str], ...]
    hopper: bool

    def __init__(
        self,
        path: str,
        macros: Mapping[str, str | int] | None = None,
        *,
        hopper: bool = False,
    ):
        pairs = sorted((name, str(value)) for name, value in (macros or {}).items())
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "macros", tuple(pairs))
        object.__setattr__(self, "hopper", hopper)

    @property
    def file(self) -> Path:
        """Where the file is: in this package, unless `use_source` says otherwise."""
        return (_SOURCES.get() or {}).get(self.path, FOLDER / self.path)

    @property
    def options(self) -> tuple[str, ...]:
        """What NVRTC is told, but for the architecture."""
        return (*OPTIONS, *(f"-D{name}={value}" for name, value in self.macros))


def launch(
    source: Source,
    kernel: str,
    *,
    grid: Size,
    block: Size,
    arguments: tuple[Any, ...],
    reached: tuple[Array, ...] = (),
    shared: int = 0,
) -> None:
    """Launch a kernel: on the device for CuPy arrays, in the emulator for NumPy's.

    arguments  C-contiguous arrays, all of one kind, and NumPy scalars, whose dtype is
               the parameter's: a Python number is refused, for its width is a guess
    reached    more contiguous arrays, whose addresses stand in an int64 argument: the
               emulator puts those of its own copies there
    shared     bytes of dynamic shared memory; the emulator knows static arrays alone

    A grid without blocks does nothing. Raises TypeError for arguments, ValueError for
    layouts, and sizes that no device takes.
    """
    backend = _check_arguments(kernel, arguments)
    _check_sizes(kernel, grid, block)
    if 0 in grid:
        return
    if backend == "cuda":
        device = sys.modules["cupy"].cuda.runtime.getDevice()
        compiled = _compiled(source, source.file, kernel, device, shared)
        compiled(grid, block, arguments, shared_mem=shared)
        return
    from tinyvq_kernels import emulator

    emulator.launch(source, kernel, grid, block, arguments, reached)


def _check_arguments(kernel: str, arguments: tuple[Any, ...]) -> str:
    """Return the backend of the arrays."""
    first = ""
    for i, given in enumerate(arguments):
        if isinstance(given, np.generic):
            continue
        if isinstance(given, bool | int | float):
            raise TypeError(
                f"{kernel}: argument {i} is the Python number {given}; say its width, "
                "as np.int32 or np.float32"
            )
        backend = backend_of(given)
        if backend != (first or backend):
            raise TypeError(
                f"{kernel}: argument {i} is on {backend}, those before it on {first}"
            )
        first = backend
        if not given.flags.c_contiguous:
            raise ValueError(
                f"{kernel}: argument {i}, {given.shape}, is not C-contiguous"
            )
    if not first:
        raise TypeError(f"{kernel}: no argument is an array")
    return first


def _check_sizes(kernel: str, grid: Size, block: Size) -> None:
    threads = block[0] * block[1] * block[2]
    if not 1 <= threads <= MOST_THREADS or block[2] > 64:
        raise ValueError(
            f"{kernel}: {block} is no block of 1 to {MOST_THREADS} threads"
        )
    if any(not 0 <= n <= most for n, most in zip(grid, MOST_BLOCKS, strict=True)):
        raise ValueError(f"{kernel}: a grid is at most {MOST_BLOCKS}, got {grid}")


@cache
def _compiled(source: Source, file: Path, kernel: str, device: int, shared: int) -> Any:
    function = _module(source, file, device).get_function(kernel)
    if shared > STATIC_SHARED:
        function.max_dynamic_shared_size_bytes = shared  # else the launch is refused
    return function


@cache
def _module(source: Source, file: Path, device: int) -> Any:
    """Compile for one device."""
    cupy = sys.modules["cupy"]
    arch = f"sm_{cupy.cuda.Device(device).compute_capability}"
    options = (*source.options, f"--gpu-architecture={arch}{'a' * source.hopper}")
    return cupy.RawModule(
        path=str(cubin_of(cupy, source.path, file.read_text(), options))
    )


# ---- CuPy, where it is --------------------------------------------------------------


def require_cuda() -> ModuleType:
    """Return CuPy; raise CudaUnavailable, in one line, where CUDA cannot be used."""
    try:
        import cupy
    except ModuleNotFoundError as missing:
        if missing.name != "cupy":
            raise _unusable(missing) from missing
        raise CudaUnavailable("CUDA needs CuPy: pip install cupy-cuda13x") from None
    except Exception as problem:  # it is there, but a library of CUDA's is not
        raise _unusable(problem) from problem
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except Exception as problem:
        raise _unusable(problem) from problem
    if found == 0:
        raise _unusable("it counts none")
    module: ModuleType = cupy
    return module


def _unusable(reason: object) -> CudaUnavailable:
    first, *_ = str(reason).strip().splitlines() or [type(reason).__name__]
    return CudaUnavailable(f"CuPy is installed, but finds no usable GPU: {first}")


def module_of(array: Array) -> ModuleType:
    """Return `numpy` or `cupy`, by where an array lives; TypeError for other things.

    Functions of NumPy (`np.exp(x)`, `np.where(c, x, y)`) run where their arguments
    live, by NumPy's own protocols (NEP 13 and 18). What makes an array out of nothing,
    as `zeros` or `arange` do, has no such argument: that is asked of this module.
    """
    if isinstance(array, np.ndarray | np.generic) or backend_of(array) == "cpu":
        return np
    return sys.modules["cupy"]  # loaded, for it made the array


def empty(shape: int | tuple[int, ...], dtype: Any, like: Array) -> Array:
    """Make an array for a kernel to fill, where `like` is.

    In the emulator it is full of a pattern that is NaN as a float, so that what a
    kernel forgot to write shows, and the checked mode tells who read it.
    """
    if backend_of(like) == "cuda":
        return module_of(like).empty(shape, dtype)
    from tinyvq_kernels import emulator

    return emulator.empty(shape, dtype)


def contiguous(array: Array) -> Array:
    """Return the array as kernels want it, copied only where it is not.

    C-contiguous, and from an address that float4 can be read at.
    """
    if array.flags.c_contiguous and address_of(array) % 16 == 0:
        return array
    return array.copy(order="C")


def address_of(array: Array) -> int:
    """Return where an array's first value is."""
    where: int = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    return where


# ---- non-finite input ---------------------------------------------------------------


@dataclass
class Checks:
    """Flags that are read later: one a device, and the operations that may raise it."""

    flags: dict[str, Array] = field(default_factory=dict)
    ops: set[str] = field(default_factory=set)

    def raise_if_flagged(self) -> None:
        """Read the flags, once; raise ValueError, and lower them, where one is up."""
        up = [flag for flag in self.flags.values() if int(flag[0])]
        for flag in up:
            flag.fill(0)
        self.raise_if(bool(up))

    def raise_if(self, up: bool) -> None:
        """Raise ValueError where a flag was found to be up."""
        if up:
            raise ValueError(_flagged(" or ".join(sorted(self.ops))))


_CHECKS: ContextVar[Checks | None] = ContextVar("checks", default=None)


def flag(like: Array) -> Array:
    """Return an int32 array (1,), 0, which a kernel raises by atomicOr.

    Within `deferred_checks` it is always the same one of that device.
    """
    module, checks = module_of(like), _CHECKS.get()
    if checks is None:
        return module.zeros(1, np.int32)
    place = "cpu" if module is np else str(like.device)
    if place not in checks.flags:
        checks.flags[place] = module.zeros(1, np.int32)
    return checks.flags[place]


def check(raised: Array, op: str) -> None:
    """Raise ValueError if the flag is up; within `deferred_checks`, leave it for later.

    Reading a flag waits for the device.
    """
    checks = _CHECKS.get()
    if checks is not None:
        checks.ops.add(op)
    elif int(raised[0]):
        raise ValueError(_flagged(op))


def _flagged(op: str) -> str:
    return f"{op}: a row holds NaN or infinity, or is so large that a sum overflows"


@contextmanager
def deferred_checks() -> Iterator[Checks]:
    """Read no flag inside the block, until `raise_if_flagged` reads them at once."""
    token = _CHECKS.set(Checks())
    try:
        checks = _CHECKS.get()
        assert checks is not None
        yield checks
    finally:
        _CHECKS.reset(token)


def raise_if_flagged() -> None:
    """Read the flags of the block that we are in; raise ValueError where one is up."""
    checks = _CHECKS.get()
    if checks is not None:
        checks.raise_if_flagged()


# ---- the table ----------------------------------------------------------------------


@dataclass(frozen=True)
class Rung:
    """One step of a CUDA ladder.

    run       the function, with the arguments of the operation's other variants
    what      what it changes against the rung before
    dtypes    the dtypes it takes
    emulated  whether it can be had in the emulator: what has inline PTX only where it
              has a plain form, too
    tf32      whether it rounds the factors of products to TF32
    """

    run: Callable[..., Any]
    what: str
    dtypes: tuple[str, ...] = FLOATS
    emulated: bool = True
    tf32: bool = False


def cuda_ladder(op: str, ladder: Mapping[str, Rung], *, default: str) -> None:
    """Enter the rungs of an operation, on the device and in the emulator.

    Each is "<rung>" on cuda and "cuda_emulated_<rung>" on cpu. What runs unasked on
    cuda is "fastest", and "cuda_emulated" is the same in the emulator: the default
    rung, or for a dtype which that does not take the last rung before it that does.
    """
    if not ladder[default].emulated:
        raise ValueError(f"{op}: the default rung {default!r} is one not yet emulated")
    for name, rung in ladder.items():
        load = partial(_the_same, rung.run)
        kernel = Kernel(op, "cuda", name, load, rung.what, rung.dtypes, tf32=rung.tf32)
        declare(kernel)
        if rung.emulated:
            variant = f"cuda_emulated_{name}"
            declare(Kernel(op, "cpu", variant, load, rung.what, rung.dtypes))
    by_dtype: dict[str, Callable[..., Any]] = {}
    for rung in list(ladder.values())[: list(ladder).index(default) + 1]:
        if rung.emulated:
            by_dtype |= dict.fromkeys(rung.dtypes, rung.run)
    load = partial(_the_same, partial(_by_dtype, by_dtype))
    what = f"the rung {default}, or the last before it that takes the dtype"
    dtypes = tuple(name for name in FLOATS if name in by_dtype)
    declare(
        Kernel(op, "cuda", "fastest", load, what, dtypes, default=True),
        Kernel(op, "cpu", "cuda_emulated", load, f"emulated: {what}", dtypes),
    )


def _the_same(run: Callable[..., Any]) -> Callable[..., Any]:
    return run


def _by_dtype(
    rungs: dict[str, Callable[..., Any]], first: Any, *rest: Any, **more: Any
) -> Any:
    """Run the rung for the dtype of the first array, also where it is one of a list."""
    like = first[0] if isinstance(first, list | tuple) else first
    return rungs[NAMES[like.dtype.char]](first, *rest, **more)
