"""The measure of memory sees what it is to see."""

import numpy as np
from memory import peak_memory

SIZE = 64 * 2**20


def test_an_array_that_is_made_and_dropped_counts() -> None:
    assert peak_memory(lambda: np.ones(SIZE, np.uint8)) >= SIZE
    # What stands already does not.
    assert peak_memory(lambda: None) < SIZE / 8
