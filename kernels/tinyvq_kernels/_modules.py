"""Which module makes arrays like a given one, and whether there is a GPU to make them.

Functions of NumPy (`np.exp(x)`, `np.where(c, x, y)`) run where their arguments live, by
NumPy's own protocols (NEP 13 and 18). What makes an array out of nothing, as `zeros` or
`arange` do, has no such argument: that is asked of `module_of(x)`.
"""

import sys
from typing import Any

import numpy as np

from tinyvq_kernels._table import backend_of


class CudaUnavailable(RuntimeError):
    """CUDA was asked for, and CuPy or a usable GPU is missing."""


def module_of(array: Any) -> Any:
    """Return `numpy` or `cupy`, by where an array lives; TypeError for other things."""
    if isinstance(array, np.ndarray | np.generic) or backend_of(array) == "cpu":
        return np
    return sys.modules["cupy"]  # loaded, for it made the array


def require_cuda() -> Any:
    """Return `cupy`; raise CudaUnavailable, in one line, where it cannot work."""
    try:
        import cupy
    except ModuleNotFoundError:
        raise CudaUnavailable("CUDA needs CuPy: pip install 'tinyvq[gpu]'") from None
    except ImportError as problem:  # it is there, but a library of CUDA's is not
        raise _unusable(problem) from problem
    try:
        if cupy.cuda.runtime.getDeviceCount() > 0:
            return cupy
    except RuntimeError as problem:
        raise _unusable(problem) from problem
    raise _unusable("it counts none")


def _unusable(reason: object) -> CudaUnavailable:
    first, *_ = str(reason).strip().splitlines() or ["it does not say why"]
    return CudaUnavailable(f"CuPy is installed, but finds no usable GPU: {first}")
