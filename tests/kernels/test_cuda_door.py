"""The door of every CUDA launch: what it refuses, and what it says without CUDA."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tinyvq_kernels
from emulated import needs_compiler
from tinyvq_kernels import _cuda, _nvrtc, use_kernels, use_source
from tinyvq_kernels._cuda import Rung, Source, cuda_ladder, launch

RELU = Source("pointwise/pointwise.cu", {"REAL": "float", "EXP": "expf"})
RELU = Source(RELU.path, dict(RELU.macros) | {"VALUE": "relu", "GRADIENT": "relu_grad"})
X = np.arange(-3, 4, dtype=np.float32)


def relu(*arguments: Any, grid: Any = (1, 1, 1), block: Any = (32, 1, 1)) -> None:
    launch(RELU, "value_plain", grid=grid, block=block, arguments=arguments)


@needs_compiler
def test_a_launch_fills_its_arrays() -> None:
    y = np.full_like(X, 7)
    relu(X, y, np.int64(6))
    np.testing.assert_array_equal(y, [0, 0, 0, 0, 1, 2, 7])
    relu(X, y, np.int64(7), grid=(0, 1, 1))
    assert y[6] == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, X, 7), "argument 2 is the Python number 7; say its width"),
        ((X, X, True), "argument 2 is the Python number True"),
        ((np.int64(7),), "no argument is an array"),
        ((X, [1.0], np.int64(7)), "expected a NumPy or CuPy array, got list"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        relu(*arguments)


@needs_compiler
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, X.copy()), r"takes 3 arguments \(x_n, y_n, n\), got 2"),
        ((X, X.copy(), np.int32(7)), "n is a scalar int64, got scalar int32"),
        ((X, X.astype("d"), np.int64(7)), "y_n is a writable array of float32, got"),
        ((X.astype("d"), X.copy(), np.int64(7)), "x_n is an array of float32, got"),
        ((X, np.broadcast_to(X, X.shape), np.int64(7)), "y_n is a writable array"),
        ((X, np.float32(1), np.int64(7)), "got scalar float32"),
    ],
)
def test_arguments_other_than_the_kernel_takes(
    arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        relu(*arguments)


def test_arrays_with_strides_are_refused() -> None:
    with pytest.raises(ValueError, match=r"argument 0, \(4,\), is not C-contiguous"):
        relu(X[::2], X.copy(), np.int64(3))


@pytest.mark.parametrize("block", [(0, 1, 1), (1025, 1, 1), (32, 32, 2), (1, 1, 65)])
def test_blocks_that_no_device_takes(block: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="is no block of 1 to 1024 threads"):
        relu(X, X.copy(), np.int64(7), block=block)


@pytest.mark.parametrize("grid", [(2**31, 1, 1), (1, 65536, 1), (1, -1, 1)])
def test_grids_that_no_device_takes(grid: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="a grid is at most"):
        relu(X, X.copy(), np.int64(7), grid=grid)


@needs_compiler
def test_a_kernel_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"no kernel 'value'; there is: value_plain"):
        launch(RELU, "value", grid=(1, 1, 1), block=(1, 1, 1), arguments=(X,))


def test_sources_are_equal_by_value() -> None:
    one = Source("a.cu", {"B": 1, "A": "x"})
    assert one == Source("a.cu", {"A": "x", "B": "1"})
    assert hash(one) == hash(Source("a.cu", {"A": "x", "B": "1"}))
    assert one.options == ("-std=c++17", "--fmad=false", "-DA=x", "-DB=1")


def test_a_source_can_be_replaced(tmp_path: Path) -> None:
    shipped = RELU.file
    with use_source(RELU.path, tmp_path / "mine.cu"):
        assert RELU.file == tmp_path / "mine.cu"
    assert RELU.file == shipped
    with (
        pytest.raises(ValueError, match=r"there is no pointwise/nothing\.cu"),
        use_source("pointwise/nothing.cu", tmp_path / "mine.cu"),
    ):
        pass


@needs_compiler
@pytest.mark.parametrize("op", ["relu", "silu"])
def test_a_view_at_an_odd_address(op: str) -> None:
    """What float4 cannot be read from is copied."""
    wide = np.linspace(-2, 2, 1025, dtype=np.float32)
    with use_kernels(**{op: "cuda_emulated_vectorised"}):
        found = getattr(tinyvq_kernels, op)(wide[1:])
    np.testing.assert_allclose(found, getattr(tinyvq_kernels, op)(wide[1:]), rtol=1e-6)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_default_takes_each_dtype(dtype: str) -> None:
    with use_kernels(relu="cuda_emulated"):
        found = tinyvq_kernels.relu(X.astype(dtype))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.maximum(X, 0))


def test_a_rung_that_is_not_emulated_is_never_the_default() -> None:
    ladder = {"wgmma": Rung(lambda x: x, "tensor cores", emulated=False)}
    with pytest.raises(ValueError, match="'wgmma' is one not yet emulated"):
        cuda_ladder("nothing", ladder, default="wgmma")


def test_the_emulator_is_not_imported_unless_it_is_asked_for() -> None:
    program = "import sys, tinyvq_kernels; print('tinyvq_kernels._cuda' in sys.modules,"
    program += "'tinyvq_kernels.emulator' in sys.modules, 'cupy' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["True", "False", "False"]


# ---- without CUDA


@pytest.fixture
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)


class FakeArray:
    """What is taken for CuPy's by its module."""

    dtype = np.dtype(np.float32)
    shape = (3,)
    ndim = 1
    size = 3

    class flags:
        c_contiguous = True


FakeArray.__module__ = "cupy"


@pytest.fixture
def told(
    no_cupy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[list[Any]]:
    """What a pretended CuPy is told: texts and options to compile, and the code."""
    told: list[Any] = []

    class NVRTC:
        NVRTCError = RuntimeError
        getVersion = staticmethod(lambda: (13, 0))
        createProgram = staticmethod(lambda text, *_: told.append(text))
        compileProgram = staticmethod(lambda program, options: told.append(options))
        getCUBIN = staticmethod(lambda program: b"machine code")
        destroyProgram = staticmethod(lambda program: None)

    module: Any = ModuleType("cupy")
    module.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDevice=lambda: 0),
        Device=lambda number: SimpleNamespace(compute_capability="90"),
        nvrtc=NVRTC,
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(_nvrtc, "CACHE_DIR", tmp_path)
    forget_modules()
    yield told
    forget_modules()


def forget_modules() -> None:
    _cuda._compiled.cache_clear()
    _cuda._module.cache_clear()


def test_on_a_device_cupy_is_asked_once(told: list[Any]) -> None:
    """What NVRTC is told, and what the kernel is launched with."""

    class RawModule:
        def __init__(self, path: str) -> None:
            told.append(Path(path).read_bytes())

        def get_function(self, name: str) -> Callable[..., None]:
            return lambda *launched, shared_mem: told.append(
                (name, *launched, shared_mem)
            )

    sys.modules["cupy"].RawModule = RawModule  # type: ignore[attr-defined]
    options = (*RELU.options, "--gpu-architecture=sm_90")
    x = FakeArray()
    for _ in range(2):  # a second process finds it compiled
        forget_modules()
        for _ in range(2):
            relu(x, x, np.int64(3), grid=(2, 1, 1))
    launches = [("value_plain", (2, 1, 1), (32, 1, 1), (x, x, np.int64(3)), 0)] * 2
    compiled = [RELU.file.read_text(), options]
    assert told == [*compiled, b"machine code", *launches, b"machine code", *launches]
    assert {"--fmad=false", "-DREAL=float"} <= set(options)


def test_what_one_device_alone_has_is_asked_for(told: list[Any]) -> None:
    sys.modules["cupy"].RawModule = lambda path: SimpleNamespace(  # type: ignore[attr-defined]
        get_function=lambda name: lambda *_, shared_mem: None
    )
    source, size = Source(RELU.path, dict(RELU.macros), hopper=True), (1, 1, 1)
    launch(source, "value_plain", grid=size, block=size, arguments=(FakeArray(),))
    assert "--gpu-architecture=sm_90a" in told[1]


@pytest.mark.parametrize(("shared", "raised"), [(48 * 1024, None), (65536, 65536)])
def test_much_shared_memory_is_asked_for(
    shared: int, raised: int | None, told: list[Any]
) -> None:
    """A device refuses more than 48 KiB to a kernel whose limit was not raised."""

    class Function:
        max_dynamic_shared_size_bytes: int | None = None

        def __call__(self, grid: Any, block: Any, given: Any, shared_mem: int) -> None:
            self.launched = shared_mem

    function = Function()
    sys.modules["cupy"].RawModule = lambda path: SimpleNamespace(  # type: ignore[attr-defined]
        get_function=lambda name: function
    )
    x, size = FakeArray(), (1, 1, 1)
    launch(*(RELU, "value_plain"), grid=size, block=size, arguments=(x,), shared=shared)
    assert function.launched == shared
    assert function.max_dynamic_shared_size_bytes == raised


@pytest.mark.usefixtures("no_cupy")
def test_arrays_of_both_kinds_are_refused() -> None:
    with pytest.raises(TypeError, match="argument 1 is on cuda, those before it on cp"):
        relu(X, FakeArray(), np.int64(3))


@pytest.mark.usefixtures("no_cupy")
@needs_compiler
def test_the_emulator_needs_no_cupy() -> None:
    with use_kernels(relu="cuda_emulated"):
        np.testing.assert_array_equal(tinyvq_kernels.relu(X), np.maximum(X, 0))


# ---- flags


def test_a_flag_is_read_at_once() -> None:
    flag = _cuda.flag(X)
    assert (flag.dtype, flag.shape, flag[0]) == (np.int32, (1,), 0)
    _cuda.check(flag, "nearest_code")
    flag[0] = 1
    with pytest.raises(ValueError, match="nearest_code: a row holds NaN or infinity"):
        _cuda.check(flag, "nearest_code")


def test_flags_are_read_later_and_once() -> None:
    with _cuda.deferred_checks() as checks:
        flag = _cuda.flag(X)
        assert _cuda.flag(X) is flag
        _cuda.check(flag, "nearest_code")
        _cuda.raise_if_flagged()
        flag[0] = 1
        _cuda.check(flag, "another")
        with pytest.raises(ValueError, match="another or nearest_code: a row holds"):
            checks.raise_if_flagged()
        _cuda.raise_if_flagged()  # it was lowered
    assert _cuda.flag(X) is not flag
