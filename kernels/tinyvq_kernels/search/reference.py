"""Nearest-code search in plain NumPy: the definition, step by step.

NumPy has no fused multiply-add. In float32 it can be had exactly from float64: the
product of two float32 is exact there, and a sum rounded *to odd* in float64 rounds on
to float32 as if once (Boldo and Melquiond, "Emulation of FMA and correctly rounded
sums", IEEE Transactions on Computers 57, 2008). In float64 the chain here rounds twice
a step: float64 answers are not defined to the bit.
"""

import math

import numpy as np

from tinyvq_kernels._types import Array

BLOCK_VALUES = 1 << 18  # scores held at a time


def nearest_code(z: Array, codes: Array) -> Array:
    """Compute all scores of a block of rows, then take each row's first largest."""
    check_range(z, codes)
    length = np.zeros_like(codes, shape=codes.shape[:1])  # (M,)
    for d in range(codes.shape[1]):
        length = _fma(codes[:, d], codes[:, d], length)
    indices = np.zeros_like(z, shape=(z.shape[0],), dtype=np.int64)
    block = max(1, BLOCK_VALUES // codes.shape[0])
    for first in range(0, z.shape[0], block):
        rows = z[first : first + block]
        scores = np.zeros_like(rows, shape=(rows.shape[0], codes.shape[0])) - length / 2
        for d in range(codes.shape[1]):
            scores = _fma(rows[:, d : d + 1], codes[:, d], scores)
        indices[first : first + block] = scores.argmax(axis=1)
    return indices


def check_range(z: Array, codes: Array) -> None:
    """Raise ValueError naming the first row with NaN, inf, or too large a value.

    No sum on the way to a score exceeds D · max|e| · (max|e| + max|z_n|). That it stays
    below half the largest float leaves room for its roundings.
    """
    depth = z.shape[1]
    if depth == 0:
        return
    z_max = abs(z).max(axis=1).astype(np.float64)  # (N,)
    code_max = abs(codes).max(axis=1).astype(np.float64)  # (M,)
    _raise_at(~np.isfinite(z_max), "of z has NaN or inf")
    _raise_at(~np.isfinite(code_max), "of codes has NaN or inf")
    limit = float(np.finfo(z.dtype).max) / 2
    large = code_max > math.sqrt(limit / depth)
    _raise_at(large, f"of codes is too large: |e|² may overflow {z.dtype}")
    top = float(code_max.max())
    if top > 0:
        large = z_max > limit / (depth * top) - top
        _raise_at(large, f"of z is too large: its scores may overflow {z.dtype}")


def _raise_at(bad: Array, problem: str) -> None:
    """Raise ValueError for the first row that is bad."""
    if bool(bad.any()):
        raise ValueError(f"nearest_code: row {int(bad.argmax())} {problem}")


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
