"""One call of a kernel operation, and how its results are judged.

A sum of `terms` products in any order, fused or not, is off by at most
γ_(terms+1) · Σ|products|, with γ_n = n u / (1 - n u): each product meets at most one
rounding of its own and `terms` additions (Higham, "Accuracy and Stability of Numerical
Algorithms", 2002, section 3.1). Σ|products| is what the reference makes of the absolute
values. The float64 reference that we compare with is off by the same bound with its own
u, so the two bounds add up.

Where the factors are rounded to TF32, to 11 significant bits, a product is off by that,
twice, and an addition of tensor cores by 2⁻²²: nearest_code_tensor.cu says why.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tinyvq_kernels import use_kernels

Array = npt.NDArray[Any]
Arrays = tuple[Array, ...]


def unit_roundoff(dtype: npt.DTypeLike) -> float:
    """u: half the distance from 1 to the next float."""
    return float(np.finfo(dtype).eps) / 2


def gamma(n: int, dtype: npt.DTypeLike) -> float:
    """γ_n, the relative error of n roundings in a row."""
    nu = n * unit_roundoff(dtype)
    return nu / (1 - nu)


def gamma_tf32(n: int) -> float:
    """Compute the same where factors are of TF32, n counting the additions alone."""
    nu = n * 2.0**-22
    return (1 + 2.0**-11) ** 2 / (1 - nu) - 1


def cast(arrays: Arrays, dtype: npt.DTypeLike) -> Arrays:
    """Copy arrays, floats in another dtype."""
    return tuple(np.array(a, dtype if a.dtype.kind == "f" else None) for a in arrays)


@dataclass(frozen=True)
class KernelCase:
    """One call of one operation.

    arrays     the inputs, floats in float64: a test casts them
    call       runs the operation on such arrays and returns all results
    terms      how many products meet in a sum, at most
    magnitude  inputs whose results are Σ|products|; by default the absolute values
    in_place   the inputs that the operation writes to
    bounds     where a sum of products does not describe the operation: from a dtype
               and the inputs in float64, how far each result may be off
    """

    op: str
    label: str
    arrays: Arrays
    call: Callable[..., Arrays]
    terms: int
    magnitude: Callable[..., Arrays] = lambda *arrays: tuple(map(np.abs, arrays))
    in_place: tuple[int, ...] = ()
    bounds: Callable[..., Arrays] | None = None

    def __str__(self) -> str:
        return f"{self.op}-{self.label}"

    def cast(self, dtype: npt.DTypeLike) -> Arrays:
        """Copy the inputs, floats in another dtype."""
        return cast(self.arrays, dtype)

    def run(self, variant: str, arrays: Arrays) -> Arrays:
        """Call one variant."""
        with use_kernels(**{self.op: variant}):
            return self.call(*arrays)

    def check(self, results: Arrays, inputs: Arrays, tf32: bool = False) -> None:
        """Raise AssertionError unless the results fit the float64 reference.

        tf32  whether factors may be rounded to TF32
        """
        if self.op == "nearest_code":
            check_nearest(results[0], *inputs)
            return
        exact = cast(inputs, np.float64)
        expected = self.run("reference", cast(exact, np.float64))
        bounds = self._bounds(inputs[0].dtype, exact, tf32)
        assert len(results) == len(expected)
        for got, want, bound in zip(results, expected, bounds, strict=True):
            assert got.shape == want.shape
            if want.dtype.kind == "i":
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)
                continue
            assert got.dtype == inputs[0].dtype
            excess = np.abs(got.astype(np.float64) - want) - bound
            assert (excess <= 0).all(), (  # NaN is no answer
                f"{self}: off by {excess.max():.3g} more than the bound allows, "
                f"at {np.unravel_index(excess.argmax(), excess.shape)}"
            )

    def _bounds(self, dtype: npt.DTypeLike, exact: Arrays, tf32: bool) -> Arrays:
        """How far each result may be off."""
        if self.bounds is not None and not tf32:
            return self.bounds(dtype, *exact)
        sizes = self.run("reference", cast(self.magnitude(*exact), np.float64))
        n = self.terms + 1
        ours = gamma_tf32(n) if tf32 else gamma(n, dtype)
        both = ours + gamma(n, np.float64)
        return tuple(both * np.abs(size) for size in sizes)


def check_nearest(indices: Array, z: Array, codes: Array) -> None:
    """Hold the contract's promise: the choice is within 2 B of the best true score.

    The true scores are computed in float64 here and are off by the same B with its u.
    """
    assert indices.dtype == np.int64
    assert indices.shape == z.shape[:1]
    z64, codes64 = z.astype(np.float64), codes.astype(np.float64)
    scores = z64 @ codes64.T - (codes64**2).sum(axis=1) / 2  # (N, M)
    if scores.size == 0:
        return
    depth = z.shape[1]
    longest = np.sqrt((codes64**2).sum(axis=1).max())
    lengths = np.sqrt((z64**2).sum(axis=1))
    bound = np.zeros(len(z))
    for dtype in (z.dtype, np.float64):
        g = gamma(depth + 1, dtype)
        tiny = 2 * depth * float(np.finfo(dtype).smallest_subnormal)
        bound += g * (1 + g) * longest * (lengths + longest) + tiny
    chosen = scores[np.arange(len(z)), indices]
    assert (chosen >= scores.max(axis=1) - 2 * bound).all()


def draw(label: str, *shape: int) -> Array:
    """Standard normal values, a function of the label and the shape."""
    seed = zlib.crc32(repr((label, shape)).encode())
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))
