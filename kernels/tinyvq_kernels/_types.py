"""Names for what kernels take; Numba compiles for the types that really come."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = Any  # NumPy or CuPy, float32 or float64
Flat: TypeAlias = npt.NDArray[Any]  # 1-D, C-contiguous, writable
Ints: TypeAlias = npt.NDArray[np.integer[Any]]  # 1-D offsets into a Flat, int64
Vec: TypeAlias = Any  # a vector register, see _simd.py
