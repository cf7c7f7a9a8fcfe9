"""Group norm on CUDA: the host side of `group_norm.cu`."""

from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array

LANES, LINES = 32, 8  # channels and positions of a block, as in group_norm.cu
THREADS = 256  # of the other blocks, at most
ROWS = 64  # positions of a band, at least
BANDS = 1024  # of an item, at most
EACH = 4  # values that a thread normalises
MOST_VALUES = 2**31 - 65535 * THREADS  # a step of all blocks beyond the end is counted
SOURCES = {
    "f": Source("normalization/group_norm.cu", {"REAL": "float"}),
    "d": Source("normalization/group_norm.cu", {"REAL": "double"}),
}


class Bands(NamedTuple):
    """How `number` stretches of `length` positions each are cut into bands."""

    number: int
    length: int
    rows: int
    bands: int  # of each stretch


def _bands(number: int, length: int) -> Bands:
    """Cut by size alone."""
    rows = max(ROWS, -(-length // BANDS))
    return Bands(number, length, rows, -(-length // rows))


Cut = tuple[tuple[int, int, int], tuple[int, int, int]]  # grid and block


def _groups(number: int, count: int) -> Cut:
    """A block per group of so many values, of whole warps."""
    return (number, 1, 1), (min(THREADS, max(1, -(-count // 32)) * 32), 1, 1)


def _tiles(blocks: int, c: int, bands: int = 1) -> Cut:
    """Cut channels into tiles of LANES, for blocks of LINES lines."""
    return (blocks, -(-c // LANES), bands), (LANES, LINES, 1)


def _values(n: int, count: int) -> Cut:
    """Cut n items of so many values into pieces.

    Raises ValueError where kernels, which count them in 32 bits, could not.
    """
    if count >= MOST_VALUES:
        raise ValueError(f"on a GPU an item has fewer than {MOST_VALUES:,} values")
    return (n, min(65535, -(-count // (THREADS * EACH))), 1), (THREADS, 1, 1)


def _run(kernel: str, like: Array, cut: Cut, *arguments: Any) -> None:
    """Launch a kernel for the dtype of `like`; Python's integers become int32."""
    launch(
        SOURCES[like.dtype.char],
        kernel,
        grid=cut[0],
        block=cut[1],
        arguments=tuple(np.int32(a) if isinstance(a, int) else a for a in arguments),
    )


# ---- forward -------------------------------------------------------------------------


def plain(
    x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise with a block per group; shapes as in the package's contract."""
    n, length, c = x.shape
    given = tuple(map(contiguous, (x, weight, bias)))
    y = empty(x.shape, x.dtype, like=x)
    mean, rstd = (empty((n, groups), x.dtype, like=x) for _ in range(2))
    cut = _groups(n * groups, length * c // groups)
    sizes = length, c, groups
    _run("group_norm_plain", x, cut, *given, y, mean, rstd, np.float64(eps), *sizes)
    return y, mean, rstd


def banded(
    x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """Measure bands of positions, or short groups as `plain` does."""
    n, length, c = x.shape
    if length <= ROWS:
        return plain(x, weight, bias, groups, eps)
    x, weight, bias = map(contiguous, (x, weight, bias))
    _, _, rows, bands = _bands(n, length)
    sums = tuple(empty((n, bands, c), np.float64, like=x) for _ in range(2))
    mean, rstd = (empty((n, groups), x.dtype, like=x) for _ in range(2))
    y = empty(x.shape, x.dtype, like=x)
    sizes = length, c, groups
    _run("measure_bands", x, _tiles(n, c, bands), x, *sums, length, c, rows, bands)
    cut = _groups(n * groups, bands * c // groups)
    results = mean, rstd, np.float64(eps)
    _run("combine_bands", x, cut, *sums, *results, *sizes, rows, bands)
    cut = _values(n, length * c)
    _run("normalize", x, cut, x, mean, rstd, weight, bias, y, *sizes)
    return y, mean, rstd


# ---- gradient ------------------------------------------------------------------------


def grad_plain(
    x: Array, gy: Array, mean: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Differentiate with a block per group; shapes as in the package's contract."""
    n, length, c = x.shape
    groups = mean.shape[1]
    given = tuple(map(contiguous, (x, gy, mean, rstd)))
    gx = empty(x.shape, x.dtype, like=x)
    cut = _groups(n * groups, length * c // groups)
    arguments = (*given, contiguous(weight), gx, length, c, groups)
    _run("group_norm_grad_plain", x, cut, *arguments)
    sums = _project(given, _bands(min(n, 1), n * length))
    return gx, *_of_channels(*sums, like=x)


def grad_banded(
    x: Array, gy: Array, mean: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Project bands of positions, or short groups as `grad_plain` does."""
    n, length, c = x.shape
    groups = mean.shape[1]
    if length <= ROWS:
        return grad_plain(x, gy, mean, rstd, weight)
    given, weight = tuple(map(contiguous, (x, gy, mean, rstd))), contiguous(weight)
    bands = _bands(n, length)
    sums = _project(given, bands)
    along = tuple(empty((n, groups), x.dtype, like=x) for _ in range(2))
    gx = empty(x.shape, x.dtype, like=x)
    sizes = length, c, groups
    cut = _groups(n * groups, bands.bands * c // groups)
    _run("project_groups", x, cut, *sums, weight, *along, *sizes, bands.bands)
    cut = _values(n, length * c)
    _run("take_out", x, cut, *given, weight, *along, gx, *sizes)
    return gx, *_of_channels(*sums, like=x)


def _project(given: tuple[Array, ...], bands: Bands) -> tuple[Array, Array]:
    """Add up gy, and gy · ŷ, of each band and channel."""
    x, _, mean, _ = given
    _, length, c = x.shape
    number, stretch, rows, each = bands
    one, normal = (empty((number * each, c), np.float64, like=x) for _ in range(2))
    sizes = length, c, mean.shape[1], stretch, rows, each
    cut = _tiles(number * each, c)
    _run("project_bands", x, cut, *given, one, normal, *sizes)
    return one, normal


def _of_channels(one: Array, normal: Array, like: Array) -> tuple[Array, Array]:
    """Add up all bands: gw and gb."""
    bands, c = one.shape
    gw, gb = (empty(c, like.dtype, like=like) for _ in range(2))
    cut = (-(-c // LANES), 1, 1), (LANES, LINES, 1)
    _run("project_channels", like, cut, one, normal, gw, gb, bands, c)
    return gw, gb


LADDERS = {
    "group_norm": {
        "plain": Rung(plain, "a block per group, three passes"),
        "banded": Rung(banded, "bands of positions and all channels, then groups"),
    },
    "group_norm_grad": {
        "plain": Rung(grad_plain, "a block per group; gw and gb by bands of positions"),
        "banded": Rung(grad_banded, "sums of bands for groups and channels alike"),
    },
}
