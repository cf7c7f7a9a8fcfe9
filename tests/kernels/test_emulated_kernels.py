"""Every CUDA kernel that can be emulated, watched: no race, no read of what nobody
wrote, no access outside of an array, no order of threads that changes a result.
"""

import numpy as np
import pytest
import tinyvq_kernels
from cases import CASES
from emulated import needs_compiler
from kernel_case import Arrays, KernelCase
from tinyvq_kernels import Kernel, emulator

EMULATED = [
    pytest.param(kernel, dtype, id=f"{kernel.op}-{kernel.variant}-{dtype}")
    for kernel in tinyvq_kernels.kernels()
    if kernel.variant.startswith("cuda_emulated_")
    for dtype in kernel.dtypes
]
LARGE = 20_000  # values: the checked mode takes a few µs an access


def some(cases: list[KernelCase]) -> list[KernelCase]:
    """Take cases that are small enough to watch, at most 24, from all over the list."""
    small = [case for case in cases if sum(a.size for a in case.arrays) < LARGE]
    return small[:: max(1, len(small) // 24)]


@needs_compiler
@pytest.mark.parametrize(("kernel", "dtype"), EMULATED)
def test_nothing_is_found(kernel: Kernel, dtype: str) -> None:
    for case in some(CASES[kernel.op]()):
        with emulator.emulation("all") as report:
            results: Arrays = case.run(kernel.variant, case.cast(dtype))
        assert [str(found) for found in report.findings] == [], str(case)
        case.check(results, case.cast(dtype))
        fast = case.run(kernel.variant, case.cast(dtype))
        for one, other in zip(results, fast, strict=True):
            np.testing.assert_array_equal(one, other)
