"""Where arrays live: in the CPU's memory (NumPy) or a GPU's (CuPy).

An op runs where its operands live. `np.exp(x)` and all functions like it do so by
NumPy's own protocols (NEP 13 and 18); what makes an array out of nothing is asked of
`module_of(x)`. Nothing moves by itself: what crosses over, does so here.

A value that Python reads makes it wait for the GPU to finish. So ops read none, but for
a check that says so, and a training step reads what it must at once.
"""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from tinyvq_kernels import backend_of, module_of, require_cuda

from tinyvq.errors import ConfigError

Backend = Literal["cpu", "cuda"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

__all__ = [
    "BACKENDS",
    "Backend",
    "Place",
    "array_module",
    "backend_of",
    "beside",
    "copy_to_host",
    "module_for",
    "module_of",
    "move",
    "on_host",
    "read",
]


def array_module(backend: Backend) -> Any:
    """Return the module that makes a backend's arrays: `numpy` or `cupy`.

    Raises CudaUnavailable where CUDA is asked for and missing.
    """
    if backend not in BACKENDS:
        raise ConfigError(
            f"no backend {backend!r}; there is: {', '.join(map(repr, BACKENDS))}"
        )
    return np if backend == "cpu" else require_cuda()


def module_for(data: Any) -> Any:
    """Return the module whose `array` copies data of any kind where it lives."""
    on_gpu = hasattr(data, "__cuda_array_interface__")
    return array_module("cuda" if on_gpu else "cpu")


def move(array: Any, backend: Backend) -> Any:
    """Copy an array to a backend; one that lives there already is returned itself."""
    if ("cpu" if module_of(array) is np else "cuda") == backend:
        return array
    xp = array_module(backend)
    return array.get() if xp is np else xp.asarray(array)


def beside(array: Any, like: Any) -> Any:
    """Copy an array to where another one lives, unless it lives there already."""
    return move(array, "cpu" if module_of(like) is np else "cuda")


def on_host(array: Any) -> npt.NDArray[Any]:
    """Copy a GPU's array into a NumPy array; a NumPy array is returned itself."""
    found: npt.NDArray[Any] = move(array, "cpu")
    return found


def copy_to_host(array: Any) -> npt.NDArray[Any]:
    """Copy an array of any backend into a NumPy array of its own."""
    copied: npt.NDArray[Any] = array.copy() if module_of(array) is np else array.get()
    return copied


def read(*values: Any) -> tuple[Any, ...]:
    """Read single values as Python numbers, with one wait for a GPU.

    values  arrays of shape (), of one dtype and backend; or numbers
    """
    if any(not isinstance(v, np.ndarray | np.generic | float | int) for v in values):
        return tuple(on_host(np.stack(values)).tolist())
    return tuple(v.item() if hasattr(v, "item") else v for v in values)


class Place:
    """Where values from the host go, step after step: to one array of a backend.

    What a captured step reads must stay where it is. They go through pinned memory,
    which a GPU reads by itself: Python does not wait for a copy, but for the one
    before, should that still be under way.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._array: Any = None
        self._pinned: Any = None
        self._copied: Any = None

    def fill(self, values: npt.NDArray[Any]) -> Any:
        """Bring values there: the same array as before where they fit, new otherwise.

        On the CPU they are there already, and are returned themselves.
        """
        if self.backend == "cpu":
            return values
        cupy = array_module("cuda")
        same = self._array is not None and self._array.shape == values.shape
        if not same or self._array.dtype != values.dtype:
            memory = cupy.cuda.alloc_pinned_memory(values.nbytes)
            flat = np.frombuffer(memory, values.dtype, values.size)
            self._pinned = flat.reshape(values.shape)
            self._array = cupy.empty(values.shape, values.dtype)
            self._copied = cupy.cuda.Event(disable_timing=True)
        else:
            self._copied.synchronize()
        stream = cupy.cuda.get_current_stream()
        self._pinned[...] = values
        self._array.set(self._pinned, stream=stream)
        self._copied.record(stream)
        return self._array
