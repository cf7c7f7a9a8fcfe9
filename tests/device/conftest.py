"""What the tests of the GPU's side share."""

from collections.abc import Iterator
from typing import Any

import pytest
from device.device_examples import two_backends


@pytest.fixture
def cupy() -> Iterator[Any]:
    """A stand-in for CuPy, and on the CPU the kernels that it runs."""
    with two_backends() as module:
        yield module
