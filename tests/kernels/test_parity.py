"""Every kernel of the table, in every dtype, against the float64 reference.

What is promised of all of them is tested here, by iterating the table; what an
operation promises by itself is tested in the other files.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import pytest
import tinyvq_kernels
from cases import (
    CASES,
    Geometry,
    conv2d_case,
    conv2d_input_grad_case,
    conv2d_weight_grad_case,
    digest,
    fast_kernels,
)
from emulated import is_emulated, needs_compiler
from gpu_device import real_cupy
from hypothesis import given
from hypothesis import strategies as st
from kernel_case import Array, Arrays, KernelCase, cast
from tinyvq_kernels import Kernel, use_kernels


def named(kernel: Kernel, dtype: str) -> Any:
    marks = [pytest.mark.gpu] if kernel.backend == "cuda" else []
    marks += [needs_compiler] if is_emulated(kernel) else []
    name = f"{kernel.op}-{kernel.backend}-{kernel.variant}-{dtype}"
    return pytest.param(kernel, dtype, id=name, marks=marks)


def cuda_works() -> bool:
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())


TABLE = [
    named(kernel, dtype)
    for kernel in tinyvq_kernels.kernels()
    if kernel.backend == "cpu" or cuda_works()
    if kernel.variant != "cuda_emulated"  # which is one of the rungs
    for dtype in kernel.dtypes
]
every_kernel = pytest.mark.parametrize(("kernel", "dtype"), TABLE)
every_fast_kernel = pytest.mark.parametrize(
    ("kernel", "dtype"), [named(k, dtype) for k, dtype in fast_kernels()]
)


@contextmanager
def telling(case: KernelCase) -> Iterator[None]:
    """Add the case's name to an error."""
    try:
        yield
    except Exception as error:
        error.add_note(f"case: {case}")
        raise


def run(kernel: Kernel, case: KernelCase, arrays: Arrays) -> Arrays:
    """Run a case where the kernel lives."""
    if kernel.backend == "cpu":
        return case.run(kernel.variant, arrays)
    import cupy

    results = case.run(kernel.variant, tuple(cupy.asarray(a) for a in arrays))
    return tuple(cupy.asnumpy(r) for r in results)


def same_bits(a: Arrays, b: Arrays) -> bool:
    return [x.tobytes() for x in a] == [y.tobytes() for y in b]


def test_every_operation_has_cases() -> None:
    assert set(CASES) == {kernel.op for kernel in tinyvq_kernels.kernels()}
    assert all(CASES[op]() for op in CASES)


def test_each_ladder_starts_at_the_reference_and_has_one_default() -> None:
    for op in CASES:
        ladder = [k for k in tinyvq_kernels.kernels(op) if k.backend == "cpu"]
        assert ladder[0].variant == "reference"
        assert sum(kernel.default for kernel in ladder) == 1


@pytest.mark.gpu
def test_cuda_kernels_are_among_those_tested() -> None:
    real_cupy()
    assert any(param.values[0].backend == "cuda" for param in TABLE)


@every_kernel
def test_agrees_with_the_float64_reference(kernel: Kernel, dtype: str) -> None:
    for case in CASES[kernel.op]():
        with telling(case):
            inputs = case.cast(dtype)
            case.check(run(kernel, case, cast(inputs, dtype)), inputs, kernel.tf32)


@every_fast_kernel
def test_two_calls_give_the_same_bits(kernel: Kernel, dtype: str) -> None:
    for case in CASES[kernel.op]():
        with telling(case):
            once, twice = (run(kernel, case, case.cast(dtype)) for _ in range(2))
            assert same_bits(once, twice)


@every_fast_kernel
def test_one_thread_and_all_threads_give_the_same_bits(
    kernel: Kernel, dtype: str
) -> None:
    for case in CASES[kernel.op]():
        with telling(case):
            many = run(kernel, case, case.cast(dtype))
            numba.set_num_threads(1)
            try:
                one = run(kernel, case, case.cast(dtype))
            finally:
                numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
            assert same_bits(one, many)


@pytest.mark.parametrize("threads", [1, 4, 7])
def test_a_process_with_other_threads_gives_the_same_bits(
    threads: int, digest_here: str
) -> None:
    env = os.environ | {
        "NUMBA_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    child = subprocess.run(
        [sys.executable, "-c", "import cases; print(cases.digest())"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == digest_here


@pytest.fixture(scope="module")
def digest_here() -> str:
    return digest()


def reversed_axes(a: Array) -> Array:
    return np.flip(np.flip(a).copy())


def every_other(a: Array) -> Array:
    wide = np.zeros([2 * n for n in a.shape], a.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def swapped_axes(a: Array) -> Array:
    return np.array(a.T, order="C").T


def read_only(a: Array) -> Array:
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran": np.asfortranarray,
    "swapped axes": swapped_axes,
    "reversed": reversed_axes,
    "every other": every_other,
    "read-only": read_only,
}


@every_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
def test_takes_any_strides_and_leaves_inputs_as_they_are(
    kernel: Kernel, dtype: str, layout: str
) -> None:
    for case in CASES[kernel.op]()[::7]:
        with telling(case):
            inputs = case.cast(dtype)
            laid_out = tuple(
                a.copy() if i in case.in_place else LAYOUTS[layout](a)
                for i, a in enumerate(inputs)
            )
            results = run(kernel, case, laid_out)
            case.check(results, inputs, kernel.tf32)
            if kernel.variant != "reference":
                assert same_bits(results, run(kernel, case, cast(inputs, dtype)))
            for i, (before, after) in enumerate(zip(inputs, laid_out, strict=True)):
                if i not in case.in_place:
                    np.testing.assert_array_equal(before, after)
                    assert not any(np.may_share_memory(after, r) for r in results)


@every_kernel
def test_takes_a_broadcast_input(kernel: Kernel, dtype: str) -> None:
    """One row seen many times: strides of 0."""
    for case in CASES[kernel.op]()[::7]:
        with telling(case):
            inputs = list(case.cast(dtype))
            i = next(i for i, a in enumerate(inputs) if i not in case.in_place)
            if inputs[i].ndim == 0 or inputs[i].shape[0] == 0:
                continue
            inputs[i] = np.broadcast_to(inputs[i][:1], inputs[i].shape)
            placed = [a if j == i else a.copy() for j, a in enumerate(inputs)]
            results = run(kernel, case, tuple(placed))
            case.check(results, tuple(inputs), kernel.tf32)


sizes = st.builds(
    Geometry,
    n=st.integers(0, 3),
    h=st.integers(0, 13),
    w=st.integers(0, 13),
    c=st.sampled_from([1, 2, 3, 5, 8]),
    r=st.integers(1, 5),
    s=st.integers(1, 5),
    k=st.sampled_from([1, 2, 7, 9, 17]),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
    bias=st.booleans(),
).filter(lambda g: g.fits)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "make", [conv2d_case, conv2d_input_grad_case, conv2d_weight_grad_case]
)
@given(g=sizes)
def test_convolutions_agree_at_any_size(
    make: Callable[[Geometry], KernelCase], dtype: str, g: Geometry
) -> None:
    case = make(g)
    inputs = case.cast(dtype)
    for kernel in tinyvq_kernels.kernels(case.op):
        if kernel.backend == "cpu" and dtype in kernel.dtypes:
            case.check(run(kernel, case, cast(inputs, dtype)), inputs)


@every_fast_kernel
def test_the_judge_rejects_an_answer_with_one_wrong_value(
    kernel: Kernel, dtype: str
) -> None:
    # Of very long sums, and of Winograd's form, a bound allows more than one digit.
    every = CASES[kernel.op]()
    plain = [case for case in every if case.bounds is None and case.terms < 1000]
    case = max(plain or every, key=lambda c: sum(a.size for a in c.arrays))
    inputs = case.cast(dtype)
    with use_kernels(**{kernel.op: kernel.variant}):
        good = case.call(*cast(inputs, dtype))
    for i, result in enumerate(good):
        bad = [r.copy() for r in good]
        at = int(np.abs(result).argmax()) if result.dtype.kind == "f" else -1
        if case.op == "nearest_code":
            scores = inputs[0] @ inputs[1].T - (inputs[1] ** 2).sum(axis=1) / 2
            bad[i][at] = scores[at].argmin()
        elif result.dtype.kind == "i":
            bad[i].flat[at] += 1
        else:
            bad[i].flat[at] *= 1 + 100 * case.terms * np.finfo(dtype).eps
        with pytest.raises(AssertionError):
            case.check(tuple(bad), inputs)
