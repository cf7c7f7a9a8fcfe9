"""Random numbers on a device, as a function of a key and of how many were drawn.

    state_of   two words of key             -> state (3,) uint64, where `like` is
    bits       state, count                 -> (count,) uint64
    uniform    state, shape, low and high   -> float32 | float64 in [low, high)

They are bit for bit those of `numpy.random.Philox(key=..., counter=0)`, in the same
order, however they are shared out to calls; so a run draws the same numbers on a CPU
and on a GPU. The state lies on the device and is moved on there: a captured step draws
new numbers each time it is replayed. On a NumPy state the kernels run in the emulator.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import math

import numpy as np
import numpy.typing as npt

from tinyvq_kernels._types import Array
from tinyvq_kernels.random import gpu


def state_of(key: tuple[int, int], like: Array, drawn: int = 0) -> Array:
    """Make the state of a generator from which `drawn` numbers were drawn already."""
    if not all(0 <= word < 2**64 for word in (*key, drawn)):
        raise ValueError(f"philox: needs words of 64 bits, got {key} and {drawn}")
    return gpu.place(np.array([*key, drawn], np.uint64), like)


def bits(state: Array, count: int) -> Array:
    """Draw so many times 64 random bits; the state is moved on in place."""
    _check(state)
    if count < 0:
        raise ValueError(f"philox: cannot draw {count} numbers")
    return gpu.bits(state, count)


def uniform(
    state: Array,
    shape: tuple[int, ...],
    low: float = 0.0,
    high: float = 1.0,
    dtype: npt.DTypeLike = np.float64,
) -> Array:
    """Draw uniformly from [low, high), 53 bits each, then cast; moves the state on."""
    _check(state)
    kind = np.dtype(dtype)
    if kind.char not in gpu.SOURCES:
        raise TypeError(f"philox: draws float32 or float64, not {kind}")
    return gpu.uniform(state, math.prod(shape), low, high, kind).reshape(shape)


def _check(state: Array) -> None:
    if state.dtype != np.uint64 or tuple(state.shape) != (3,):
        raise ValueError(
            f"philox: a state is (3,) uint64, got {state.shape} {state.dtype}"
        )
