"""The real GPU, for tests with the marker `gpu`."""

from typing import Any

from required import absent
from tinyvq_kernels import CudaUnavailable, require_cuda


def real_cupy() -> Any:
    """Return CuPy; skip the test where it has no GPU, or fail where it must have one.

    TINYVQ_REQUIRE_GPU=1 (`make gpu`) makes a missing one a failure.
    """
    try:
        return require_cuda()
    except CudaUnavailable as missing:
        absent("GPU", str(missing))
