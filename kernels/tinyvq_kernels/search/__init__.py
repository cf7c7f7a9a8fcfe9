"""Nearest-code search: which code is closest to each vector.

    nearest_code  z (N,D), codes (M,D)  -> indices (N,) int64

|z - e|² = |z|² - 2 (z·e - |e|²/2), so the nearest code has the largest *score*
z·e - |e|²/2: no square root, no distance, never an (N, M) array.

The float32 answer is *defined*, so that every variant on every machine agrees on every
index, bit for bit. With fma(a, b, c) = a·b + c rounded once:

    h[m]      |e_m|²:  start at 0, then  h = fma(e_md, e_md, h)  for d = 0 .. D-1
    s[n, m]   start at -h[m] / 2, then   s = fma(z_nd, e_md, s)  for d = 0 .. D-1
    answer    the lowest m among those with the largest s

Identical codes have identical scores, so they always tie, and the lowest wins.

How far is that from the true nearest code? A chain of D roundings that starts at c has
an error of at most γ_D (|c| + Σ_d |z_d e_d|) with γ_D = D u / (1 - D u), u = 2⁻²⁴
(Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1); the start
itself carries γ_D |e|²/2. Below the normal floats each rounding may lose half of the
smallest one, η = 2⁻¹⁴⁹. With Cauchy-Schwarz, each score is off by at most

    B = γ_D (|z| |e| + |e|²)  (1 + γ_D)  +  2 D η

so the answer is the true nearest code wherever the best two true scores differ by more
than 2 B, |e| being the longest code. In float64 the same holds with u = 2⁻⁵³ and
η = 2⁻¹⁰⁷⁴ (γ_D+1 for the reference, which has no fused step there).

A row of z or a code with NaN or inf raises ValueError, and so does one so large that a
sum could overflow: D · max|e| · (max|e| + max|z_n|) above half the largest float.
2·N·M·D flops.  Source: van den Oord et al., arXiv:1711.00937, eq. 1.
"""

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_rank
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.search import gpu, gpu_hopper, lanes, reference, tiled

declare(
    Kernel(
        "nearest_code",
        "cpu",
        "reference",
        lambda: reference.nearest_code,
        "the definition, with an emulated fma",
    ),
    Kernel(
        "nearest_code",
        "cuda",
        "reference",
        lambda: reference.nearest_code,
        "the definition, with an emulated fma",
    ),
    Kernel(
        "nearest_code",
        "cpu",
        "tiled",
        lambda: tiled.nearest_code,
        "register tiles, the running best kept beside them",
    ),
    Kernel(
        "nearest_code",
        "cpu",
        "lanes",
        lambda: lanes.nearest_code,
        "a vector per lane, so that a lane's best is its answer; codes are broadcast",
        default=True,
    ),
)
cuda_ladder("nearest_code", gpu.LADDER | gpu_hopper.LADDER, default="by_shape")


def nearest_code(z: Array, codes: Array) -> Array:
    """Index of the nearest code for each vector (squared Euclidean distance).

    z      (N, D) float32 | float64, any strides
    codes  (M, D) same dtype and device
    ->     (N,)   int64; ties go to the lowest index

    Raises TypeError for dtypes; ValueError for shapes, no codes, a row with NaN or inf,
    or scores too large for the dtype. Extra memory O(block·M), never (N, M).
    """
    op = "nearest_code"
    check_floats(op, z=z, codes=codes)
    check_rank(op, "N,D", "z", z)
    check_rank(op, "M,D", "codes", codes)
    if z.shape[1] != codes.shape[1]:
        raise ValueError(
            f"{op}: z {z.shape} and codes {codes.shape} differ in width, "
            f"{z.shape[1]} and {codes.shape[1]}"
        )
    if codes.shape[0] == 0:
        raise ValueError(
            f"{op}: there are no codes to choose from, codes {codes.shape}"
        )
    return resolve(op, z)(z, codes)
