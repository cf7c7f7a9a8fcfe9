"""Calls of group norm and its gradient, and how far their results may be off.

Below, u is the roundoff of the dtype, in which values are read, and U that of float64,
in which they are added up; e = γ_(n+8) of U has room for every sum over the n values of
a group, in any order, and for the few roundings that each of its terms meets.

group_norm. The mean is off by e · mean|x|, then rounded. The standard deviation is the
length of a vector, of all x - mean over √n. In it stand means (of blocks, and of their
differences from the whole) that are off by e · mean|x| each. So that length is off by
no more than 3 e · rms(x), and e of itself, whence rstd = 1/√(var + ε) is off by no more
than e (1 + 3 rms(x) · rstd) of itself, then rounded. In

    y = (x - mean) · (rstd · weight) + bias

x meets 3 roundings of the dtype, mean 6 (its own, those of rstd, its product with the
weight, and 3), bias 1: γ_6 (rstd |weight| (|x| + |mean|) + |bias|).

group_norm_grad. mean and rstd are given. ŷ = (x - mean) · rstd meets 2 roundings and
gy · ŷ a third; their sums, in float64, are rounded at the end. So gw is off by γ_4 and
gb by u of the sums of absolute values, and in

    gx = (gy · weight - along_one - ŷ · along_y) · rstd

gy · weight meets 4, along_one (its own, and 3) 4, ŷ · along_y 2 + 4 + 1 + 2 = 9.

The float64 reference makes the same errors, with U for u.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tinyvq_kernels
from kernel_case import Array, Arrays, KernelCase, draw, gamma, unit_roundoff

EPS = 1e-5


def shapes() -> Iterator[tuple[int, int, int, int]]:
    """N, L, C and groups, around tasks of about 8192 values."""
    for groups in (1, 2, 3, 6):
        yield 2, 7, 6, groups
    for c in (1, 2, 5, 7, 16, 33):  # one group, each channel its own
        yield 3, 4, c, 1
        yield 3, 4, c, c
    for length in (1, 2, 1169, 1170, 1171, 2340, 2341):  # 1170 rows of 7
        yield 1, length, 7, 7 if length % 2 else 1
    for length in (1023, 1024, 1025):
        yield 2, length, 8, 4
    for n in (7, 8, 9, 17):  # tasks of 8 items of 1024 values
        yield n, 16, 64, 32
    for n in (909, 911):  # layer norm: 910 items of 9 values
        yield n, 1, 9, 1
    for c in (8191, 8192, 8193):  # rows of a task, or more
        yield 2, 2, c, 1
    yield 0, 5, 4, 2
    yield 1, 1, 1, 1


def group_norm_cases() -> Iterator[KernelCase]:
    """Values whose mean is not 0, of one size in each case."""
    for k, (n, length, c, groups) in enumerate(shapes()):
        shift, scale = (0.5, 1.0) if k % 3 else (30.0, 2.0)

        def call(x: Array, weight: Array, bias: Array, groups: int = groups) -> Arrays:
            return tinyvq_kernels.group_norm(x, weight, bias, groups, EPS)

        def bounds(dtype: npt.DTypeLike, *given: Array, groups: int = groups) -> Arrays:
            return group_norm_bounds(dtype, *given, groups)

        yield KernelCase(
            "group_norm",
            f"{n}x{length}x{c}-{groups}",
            (
                shift + scale * draw("x", n, length, c),
                1 + 0.5 * draw("weight", c),
                draw("bias", c),
            ),
            call,
            terms=length * c // groups,
            bounds=bounds,
        )


def group_norm_bounds(
    dtype: npt.DTypeLike, x: Array, weight: Array, bias: Array, groups: int
) -> Arrays:
    """How far y, mean and rstd may be off."""
    n, length, c = x.shape
    split = x.reshape(n, length, groups, c // groups)
    axes = (1, 3)
    mean = split.mean(axis=axes)  # (N,G)
    rstd = 1 / np.sqrt(split.var(axis=axes) + EPS)
    root = np.sqrt((split**2).mean(axis=axes))
    e = gamma(length * c // groups + 8, np.float64)
    mean_off = e * np.abs(split).mean(axis=axes)
    rstd_off = e * (1 + 3 * root * rstd) * rstd

    def spread(a: Array) -> Array:
        return np.repeat(a, c // groups, axis=1)[:, None]  # (N,1,C)

    m, r, dm, dr = map(spread, (mean, rstd, mean_off, rstd_off))
    size = r * np.abs(weight) * (np.abs(x) + np.abs(m)) + np.abs(bias)
    y_off = np.abs(weight) * (r * dm + np.abs(x - m) * dr)
    last, both = gamma(6, dtype), gamma(6, dtype) + gamma(6, np.float64)
    one = unit_roundoff(dtype) + unit_roundoff(np.float64)
    return (
        both * size + 2 * (1 + last) * y_off,
        one * np.abs(mean) + 2 * (1 + last) * mean_off,
        one * rstd + 2 * (1 + last) * rstd_off,
    )


def group_norm_grad_cases() -> Iterator[KernelCase]:
    """Any mean and rstd: the formula takes them as they are."""
    for n, length, c, groups in shapes():
        yield KernelCase(
            "group_norm_grad",
            f"{n}x{length}x{c}-{groups}",
            (
                0.5 + draw("x", n, length, c),
                draw("gy", n, length, c),
                draw("mean", n, groups),
                0.1 + np.abs(draw("rstd", n, groups)),
                1 + 0.5 * draw("weight", c),
            ),
            tinyvq_kernels.group_norm_grad,
            terms=max(n * length, length * c // groups),
            bounds=group_norm_grad_bounds,
        )


def group_norm_grad_bounds(
    dtype: npt.DTypeLike, x: Array, gy: Array, mean: Array, rstd: Array, weight: Array
) -> Arrays:
    """How far gx, gw and gb may be off."""
    n, length, c = x.shape
    groups = mean.shape[1]
    shape = (n, length, groups, c // groups)
    r = rstd[:, None, :, None]
    y = np.abs((x.reshape(shape) - mean[:, None, :, None]) * r)
    up = np.abs(gy).reshape(shape)
    g = np.abs(gy * weight).reshape(shape)
    along_one, along_y = (a.mean(axis=(1, 3), keepdims=True) for a in (g, g * y))
    gx = r * (g + along_one + y * along_y)
    gw, gb = ((up * a).sum(axis=(0, 1)).reshape(c) for a in (y, np.ones(shape)))
    e = gamma(max(n * length, length * c // groups) + 8, np.float64)

    def both(roundings: int) -> float:
        return gamma(roundings, dtype) + gamma(roundings, np.float64) + 2 * e

    return both(9) * gx.reshape(x.shape), both(4) * gw, both(1) * gb
