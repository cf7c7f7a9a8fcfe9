"""Nearest-code search in plain NumPy: the definition, step by step.

NumPy has no fused multiply-add. In float32 it can be had exactly from float64: the
product of two float32 is exact there, and a sum rounded *to odd* in float64 rounds on
to float32 as if once (Boldo and Melquiond, "Emulation of FMA and correctly rounded
sums", IEEE Transactions on Computers 57, 2008). In float64 the chain here rounds twice
a step: float64 answers are not defined to the bit.
"""

import numpy as np

from tinyvq_kernels._types import Array

BLOCK_VALUES = 1 << 22  # scores held at a time


def nearest_code(z: Array, codes: Array) -> Array:
    """Compute all scores of a block of rows, then take each row's first largest."""
    check_finite(z, codes)
    length = np.zeros_like(codes[:, 0])  # (M,)
    for d in range(codes.shape[1]):
        length = _fma(codes[:, d], codes[:, d], length)
    indices = np.zeros_like(z, shape=(z.shape[0],), dtype=np.int64)
    block = max(1, BLOCK_VALUES // codes.shape[0])
    for first in range(0, z.shape[0], block):
        rows = z[first : first + block]
        scores = np.zeros_like(rows, shape=(rows.shape[0], codes.shape[0])) - length / 2
        for d in range(codes.shape[1]):
            scores = _fma(rows[:, d : d + 1], codes[:, d], scores)
        best = scores.max(axis=1, initial=-np.inf)
        check_scores(best, first)
        indices[first : first + block] = scores.argmax(axis=1)
    return indices


def check_finite(z: Array, codes: Array) -> None:
    """Raise ValueError naming the first row with NaN or inf."""
    for name, rows in (("z", z), ("codes", codes)):
        finite = np.isfinite(rows).all(axis=1)
        if not bool(finite.all()):
            row = int(finite.argmin())
            raise ValueError(f"nearest_code: row {row} of {name} has NaN or inf")


def check_scores(best: Array, first: int) -> None:
    """Raise ValueError where a row's best score is not finite: it overflowed."""
    finite = np.isfinite(best)
    if not bool(finite.all()):
        row = first + int(finite.argmin())
        raise ValueError(
            f"nearest_code: the scores of row {row} overflow {best.dtype}; "
            "z or codes are too large"
        )


def _fma(a: Array, b: Array, c: Array) -> Array:
    """Compute a·b + c; rounded once if float32."""
    if a.dtype != np.float32:
        return a * b + c
    with np.errstate(over="ignore", invalid="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)  # exact
        c = c.astype(np.float64)
        total = product + c
        # The error of that sum (Knuth's TwoSum), exact.
        part = total - product
        error = (product - (total - part)) + (c - part)
        # Round to odd: where inexact, make the last bit 1, between the neighbours.
        inexact = (error != 0) & np.isfinite(total)
        even = (total.view(np.int64) & 1) == 0
        toward = np.where(error > 0, np.inf, -np.inf)
        total = np.where(inexact & even, np.nextafter(total, toward), total)
        return total.astype(np.float32)
