"""e^x for kernels, of which LLVM can make vectors; Numba's own calls a library.

    x = n ln 2 + r, n whole and |r| <= ln 2 / 2        e^x = 2ⁿ e^r

e^r is its Taylor series, cut where what is left is below a rounding. Adding 1.5 · 2ᵐ, m
being the digits of a float, rounds to whole numbers and leaves n in the last digits;
2ⁿ is n put where a float keeps its exponent. ln 2 is taken off in two parts, the first
of which has so few digits that n times it is exact, so that r keeps its last ones (Cody
and Waite, "Software Manual for the Elementary Functions", 1980).
"""

import math
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from tinyvq_kernels._simd import bits, fma, from_bits

F, D = np.float32, np.float64
LOG2_E = 1 / math.log(2)
ROUND32, ROUND64 = 1.5 * 2.0**23, 1.5 * 2.0**52
HIGH32, HIGH64 = 0.693359375, 0.6931471803691238
LOW32, LOW64 = math.log(2) - HIGH32, 1.9082149292705877e-10
MOST32, MOST64 = 88.0, 709.0  # where x is cut: e^x is finite up to here


def exponential(x: Any) -> Any:
    """e^x of a float32 or float64: infinite above MOST, 0 below -87.7 or -708.7.

    There 2ⁿ would be no normal number, and the bits made for it are those of 0.
    """
    return np.exp(x)


def _exponential32(x: Any) -> Any:
    a = x if x > F(-MOST32) else F(-MOST32)
    a = a if a < F(MOST32) else F(MOST32)
    shifted = fma(a, F(LOG2_E), F(ROUND32))
    n = shifted - F(ROUND32)
    r = fma(n, F(-LOW32), fma(n, F(-HIGH32), a))
    y = fma(F(1 / 5040), r, F(1 / 720))
    y = fma(y, r, F(1 / 120))
    y = fma(y, r, F(1 / 24))
    y = fma(y, r, F(1 / 6))
    y = fma(y, r, F(0.5))
    y = fma(y, r, F(1))
    y = fma(y, r, F(1))
    n_bits = bits(shifted) - bits(F(ROUND32)) + np.int32(127)
    y = y * from_bits(np.int32(n_bits << np.int32(23)))
    y = y if x <= F(MOST32) else F(np.inf)
    return y if x == x else x  # NaN stays NaN


def _exponential64(x: Any) -> Any:
    a = x if x > -MOST64 else -MOST64
    a = a if a < MOST64 else MOST64
    shifted = fma(a, LOG2_E, ROUND64)
    n = shifted - ROUND64
    r = fma(n, -LOW64, fma(n, -HIGH64, a))
    y = fma(1 / 6227020800, r, 1 / 479001600)
    y = fma(y, r, 1 / 39916800)
    y = fma(y, r, 1 / 3628800)
    y = fma(y, r, 1 / 362880)
    y = fma(y, r, 1 / 40320)
    y = fma(y, r, 1 / 5040)
    y = fma(y, r, 1 / 720)
    y = fma(y, r, 1 / 120)
    y = fma(y, r, 1 / 24)
    y = fma(y, r, 1 / 6)
    y = fma(y, r, 0.5)
    y = fma(y, r, 1.0)
    y = fma(y, r, 1.0)
    y = y * from_bits((bits(shifted) - bits(ROUND64) + 1023) << 52)
    y = y if x <= MOST64 else np.inf
    return y if x == x else x


def _by_type(x: Any) -> Any:
    return _exponential32 if x is types.float32 else _exponential64


overload(exponential, jit_options={"forceinline": True})(_by_type)
