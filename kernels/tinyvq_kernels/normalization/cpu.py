"""Group norm on CPU cores: passes over blocks of positions, channels innermost.

Channels are neighbours in memory, so each pass keeps a sum a *channel* and adds a row
of channels at a time, which vectorises; the sums of its channels make that of a group.
Rows are slices, counted from 0: in `x[at + k]` Numba would look for negative indices,
and LLVM would find no vectors.
"""

from typing import NamedTuple

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._types import Array, Flat

BLOCK = 8192  # values per task, about


class Tiles(NamedTuple):
    """How x (N,L,C) is cut: a task takes a block of `rows` positions of one item, or,
    where items are smaller than that, all positions of several `items`.
    """

    n: int
    length: int
    c: int
    groups: int
    rows: int
    items: int
    blocks: int  # an item
    tasks: int


def tiles_of(shape: tuple[int, ...], groups: int) -> Tiles:
    """Cut by size alone."""
    n, length, c = shape
    rows = max(1, min(length, BLOCK // c))
    items = max(1, BLOCK // (length * c))
    blocks = -(-length // rows)
    return Tiles(n, length, c, groups, rows, items, blocks, -(-n // items) * blocks)


def group_norm(
    x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise; shapes as in the package's contract."""
    values, tiles = flat(x), tiles_of(x.shape, groups)
    # (N,blocks,G), and float64, as all sums are
    means, squares = np.empty((2, tiles.n, tiles.blocks, groups))
    _measure(values, tiles, flat(means), flat(squares))
    # Σ (x - mean)² is, over all blocks, Σ (x - their mean)² + size (their mean - mean)²
    # (Chan, Golub and LeVeque, "Updating formulae", 1979).
    ends = np.minimum(np.arange(1, tiles.blocks + 1) * tiles.rows, tiles.length)
    sizes = np.diff(ends, prepend=0)[:, None] * (tiles.c // groups)  # (blocks,1)
    count = sizes.sum()
    with np.errstate(invalid="ignore"):  # of an infinite mean, as the contract says
        mean = (means * sizes).sum(axis=1) / count  # (N,G)
        squares += (means - mean[:, None]) ** 2 * sizes
    rstd = 1 / np.sqrt(squares.sum(axis=1) / count + eps)
    mean, rstd = mean.astype(x.dtype), rstd.astype(x.dtype)
    y = np.empty_like(values)
    _normalize(values, tiles, flat(mean), flat(rstd), flat(weight), flat(bias), y)
    return y.reshape(x.shape), mean, rstd


def group_norm_grad(
    x: Array, gy: Array, mean: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Differentiate; shapes as in the package's contract."""
    tiles = tiles_of(x.shape, mean.shape[1])
    given = flat(x), flat(gy), tiles, flat(mean), flat(rstd), flat(weight)
    along_one, along_y = np.empty((2, tiles.n, tiles.blocks, tiles.groups))
    gb, gw = np.empty((2, tiles.tasks, tiles.c))
    _project(*given, flat(along_one), flat(along_y), flat(gb), flat(gw))
    count = tiles.length * (tiles.c // tiles.groups)
    along_one, along_y = (
        (a.sum(axis=1) / count).astype(x.dtype)  # (N,G)
        for a in (along_one, along_y)
    )
    gx = np.empty_like(given[0])
    _take_out(*given, flat(along_one), flat(along_y), gx)
    gw, gb = (a.sum(axis=0).astype(x.dtype) for a in (gw, gb))
    return gx.reshape(x.shape), gw, gb


def _fold_halves(values: Flat) -> float:
    """Add all values up: the second half to the first, in place, again and again."""
    width = values.size
    while width > 1:
        half = (width + 1) // 2
        first, second = values[:half], values[half:width]
        for k in range(second.size):
            first[k] += second[k]
        width = half
    return float(values[0])


def _spread_groups(of_group: Flat, of_channel: Flat) -> None:
    """Give each channel the value of its group."""
    size = of_channel.size // of_group.size
    for g in range(of_group.size):
        of_channel[g * size : (g + 1) * size] = of_group[g]


def _measure_blocks(x: Flat, tiles: Tiles, means: Flat, squares: Flat) -> None:
    """Find the mean, and the sum of squares about it, of each block and group."""
    n, length, c, groups, rows, items, blocks, tasks = tiles
    size = c // groups
    for task in prange(tasks):
        several, block = task // blocks, task % blocks
        first, last = block * rows, min((block + 1) * rows, length)
        total, centre = np.empty(c), np.empty(c)
        for item in range(several * items, min((several + 1) * items, n)):
            to = (item * blocks + block) * groups
            total[:] = 0
            for row in range(first, last):
                at = (item * length + row) * c
                here = x[at : at + c]
                for k in range(c):
                    total[k] += here[k]
            for g in range(groups):
                part = slice(g * size, (g + 1) * size)
                means[to + g] = _fold(total[part]) / ((last - first) * size)
                centre[part] = means[to + g]
            total[:] = 0
            for row in range(first, last):
                at = (item * length + row) * c
                here = x[at : at + c]
                for k in range(c):
                    difference = here[k] - centre[k]
                    total[k] += difference * difference
            for g in range(groups):
                squares[to + g] = _fold(total[g * size : (g + 1) * size])


def _normalize_blocks(
    x: Flat, tiles: Tiles, mean: Flat, rstd: Flat, weight: Flat, bias: Flat, y: Flat
) -> None:
    """y = (x - mean) · (rstd · weight) + bias."""
    n, length, c, groups, rows, items, blocks, tasks = tiles
    for task in prange(tasks):
        several, block = task // blocks, task % blocks
        centre, scale = np.empty_like(weight), np.empty_like(weight)
        for item in range(several * items, min((several + 1) * items, n)):
            of_item = slice(item * groups, (item + 1) * groups)
            _spread(mean[of_item], centre)
            _spread(rstd[of_item], scale)
            scale *= weight
            for row in range(block * rows, min((block + 1) * rows, length)):
                at = (item * length + row) * c
                here, out = x[at : at + c], y[at : at + c]
                for k in range(c):
                    out[k] = (here[k] - centre[k]) * scale[k] + bias[k]


def _project_blocks(
    x: Flat,
    gy: Flat,
    tiles: Tiles,
    mean: Flat,
    rstd: Flat,
    weight: Flat,
    along_one: Flat,
    along_y: Flat,
    gb: Flat,
    gw: Flat,
) -> None:
    """Add up gy · weight and gy · weight · ŷ of each block and group; and, of each task
    and channel, gy and gy · ŷ.
    """
    n, length, c, groups, rows, items, blocks, tasks = tiles
    size = c // groups
    for task in prange(tasks):
        several, block = task // blocks, task % blocks
        centre, scale = np.empty_like(weight), np.empty_like(weight)
        one, y = np.empty(c), np.empty(c)
        gb_here, gw_here = gb[task * c : (task + 1) * c], gw[task * c : (task + 1) * c]
        gb_here[:] = 0
        gw_here[:] = 0
        for item in range(several * items, min((several + 1) * items, n)):
            of_item = slice(item * groups, (item + 1) * groups)
            _spread(mean[of_item], centre)
            _spread(rstd[of_item], scale)
            one[:] = 0
            y[:] = 0
            for row in range(block * rows, min((block + 1) * rows, length)):
                at = (item * length + row) * c
                here, up = x[at : at + c], gy[at : at + c]
                for k in range(c):
                    one[k] += up[k]
                    y[k] += up[k] * ((here[k] - centre[k]) * scale[k])
            gb_here += one
            gw_here += y
            one *= weight
            y *= weight
            to = (item * blocks + block) * groups
            for g in range(groups):
                along_one[to + g] = _fold(one[g * size : (g + 1) * size])
                along_y[to + g] = _fold(y[g * size : (g + 1) * size])


def _take_out_blocks(
    x: Flat,
    gy: Flat,
    tiles: Tiles,
    mean: Flat,
    rstd: Flat,
    weight: Flat,
    along_one: Flat,
    along_y: Flat,
    gx: Flat,
) -> None:
    """gx = (gy · weight - along_one - ŷ · along_y) · rstd."""
    n, length, c, groups, rows, items, blocks, tasks = tiles
    for task in prange(tasks):
        several, block = task // blocks, task % blocks
        centre, scale = np.empty_like(weight), np.empty_like(weight)
        one, y = np.empty_like(weight), np.empty_like(weight)
        for item in range(several * items, min((several + 1) * items, n)):
            of_item = slice(item * groups, (item + 1) * groups)
            _spread(mean[of_item], centre)
            _spread(rstd[of_item], scale)
            _spread(along_one[of_item], one)
            _spread(along_y[of_item], y)
            for row in range(block * rows, min((block + 1) * rows, length)):
                at = (item * length + row) * c
                here, up, out = x[at : at + c], gy[at : at + c], gx[at : at + c]
                for k in range(c):
                    normal = (here[k] - centre[k]) * scale[k]
                    out[k] = (up[k] * weight[k] - one[k] - normal * y[k]) * scale[k]


_fold = jit(_fold_halves, inline=True)
_spread = jit(_spread_groups, inline=True)
_measure = jit(_measure_blocks, parallel=True)
_normalize = jit(_normalize_blocks, parallel=True)
_project = jit(_project_blocks, parallel=True)
_take_out = jit(_take_out_blocks, parallel=True)
