"""Random numbers on CUDA: the host side of `philox.cu`."""

import numpy as np
import numpy.typing as npt

from tinyvq_kernels._cuda import Source, empty, launch, module_of
from tinyvq_kernels._types import Array

THREADS = 128  # a block, each of which makes four numbers
SOURCES = {
    "f": Source("random/philox.cu", {"REAL": "float"}),
    "d": Source("random/philox.cu", {"REAL": "double"}),
}


def place(words: npt.NDArray[np.uint64], like: Array) -> Array:
    """Bring words to where `like` is."""
    return module_of(like).asarray(words)


def bits(state: Array, count: int) -> Array:
    """Draw (count,) uint64 and move the state on."""
    drawn = empty(count, np.uint64, like=state)
    _draw("d", "philox_bits", state, drawn)
    return drawn


def uniform(
    state: Array, count: int, low: float, high: float, dtype: np.dtype[np.generic]
) -> Array:
    """Draw (count,) floats and move the state on."""
    drawn = empty(count, dtype, like=state)
    below = np.nextafter(dtype.type(high), dtype.type(low))
    limits = np.float64(low), np.float64(high), below
    _draw(dtype.char, "philox_uniform", state, drawn, *limits)
    return drawn


def _draw(
    real: str, kernel: str, state: Array, drawn: Array, *limits: np.generic
) -> None:
    # Numbers that share a counter with what was drawn before need one thread more.
    threads = -(-(drawn.size + 3) // 4) if drawn.size else 0
    launch(
        SOURCES[real],
        kernel,
        grid=(-(-threads // THREADS), 1, 1),
        block=(THREADS, 1, 1),
        arguments=(state, drawn, *limits, np.int64(drawn.size)),
    )
    launch(
        SOURCES[real],
        "philox_advance",
        grid=(1, 1, 1),
        block=(1, 1, 1),
        arguments=(state, np.uint64(drawn.size)),
    )
