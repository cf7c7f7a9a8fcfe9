"""Tests of ops run on one thread.

Their arrays are small, so that waking threads would take most of the time; and results
do not depend on the number of threads, which the tests of the kernels hold.
"""

from collections.abc import Iterator

import numba
import pytest


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
