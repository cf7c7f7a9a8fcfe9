"""The watch over global state sees each kind of leak, and mends it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numba
import numpy as np
import pytest
from leaks import global_state, no_leaks
from tinyvq_kernels import use_kernels, watch_kernels

from tinyvq.function import Observer, observe
from tinyvq.tensor import no_grad

held: list[object] = []  # a context manager that dies closes its block


def enter(block: AbstractContextManager[None]) -> None:
    held.append(block)
    block.__enter__()


LEAKS: dict[str, Callable[[], object]] = {
    "use_kernels": lambda: enter(use_kernels(conv2d="reference")),
    "watch_kernels": lambda: enter(watch_kernels(lambda op, kernel: kernel)),
    "no_grad": lambda: enter(no_grad()),
    "observe": lambda: enter(observe(Observer())),
    "number of threads": lambda: numba.set_num_threads(1),
    "NumPy's error handling": lambda: np.seterr(invalid="ignore"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_fails_and_is_mended(name: str) -> None:
    if name == "number of threads" and numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread: there is no other number to leak")
    before = global_state()
    with pytest.raises(AssertionError, match=name), no_leaks():
        LEAKS[name]()
    assert global_state() == before


def test_a_block_that_cleans_up_passes() -> None:
    with no_leaks():
        with use_kernels(conv2d="reference"), no_grad(), observe(Observer()):
            pass
        numba.set_num_threads(1)
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
