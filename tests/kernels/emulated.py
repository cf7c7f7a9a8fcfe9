"""What tests of emulated CUDA kernels need."""

import pytest
from required import demanded
from tinyvq_kernels import Kernel, emulator

# TINYVQ_REQUIRE_EMULATOR=1 (set in CI) makes a missing compiler a failure.
needs_compiler = pytest.mark.skipif(
    not demanded("EMULATOR") and not emulator.is_available(),
    reason="needs g++ to emulate CUDA kernels",
)


def is_emulated(kernel: Kernel) -> bool:
    """Whether it is a CUDA kernel that runs on the CPU."""
    return kernel.variant.startswith("cuda_emulated")
