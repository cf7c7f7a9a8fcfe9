"""The weight gradient in Winograd's form, which `winograd.py` derives.

A chunk of tiles at a time: first V = Bᵀ d B and the upstream gradient A gy Aᵀ of all
its tiles, then for each of the (r + 1)² positions a matrix product over tiles. No sum
depends on the number of threads, for each is one task.
"""

import numba
import numpy as np

from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import lanes_in
from tinyvq_kernels._tile import (
    LINK,
    accumulate,
    outer_tile,
    tile_width,
)
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.convolution._transforms import (
    transform_gradient,
    transform_upstream,
)
from tinyvq_kernels.convolution._window import (
    Images,
    forward_window,
    images_of,
    pad_image,
)
from tinyvq_kernels.convolution.winograd import (
    PAD,
    Plan,
    padded_size,
    plan_of,
    tiles_before,
    transform_band,
)

CHUNK = 1 << 15  # values of V a chunk, about, for each position


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the weight gradient; shapes as in the package's contract."""
    taps, c, k = kernel[0], x.shape[3], gy.shape[3]
    window = forward_window(x.shape[1:3], kernel, stride, padding, dilation)
    deepest = max(c * stride**2, k)
    plan = plan_of(window, taps // stride, stride, c, deepest)
    units = x.shape[0] * plan.bands
    at_once = max(1, min(units, CHUNK // (deepest * plan.band * plan.across)))
    tiles = at_once * plan.band * plan.across
    squares, width = plan.points**2, tile_width(x.dtype)
    panels, height = -(-k // width), -(-plan.depth // 6) * 6
    v = np.empty(squares * (tiles * plan.depth + PAD) + 6, x.dtype)
    v[-6:] = 0  # the last rows of a tile may be none of v's
    # The columns of the last panel beyond k are 0; all others are written.
    make = np.empty if k % width == 0 else np.zeros
    upstream = make(squares * (panels * tiles * width + PAD), x.dtype)
    m = np.zeros(squares * panels * height * width, x.dtype)
    rows, columns = np.arange(tiles) * plan.depth, np.arange(tiles) * width
    images, upper = images_of(x), images_of(gy)
    for first in range(0, units, at_once):
        last = min(first + at_once, units)
        workers = min(last - first, numba.get_num_threads())
        _factors(images, upper, plan, first, last, tiles, v, upstream, workers)
        count = _tiles_between(first, last, plan)
        _products(v, upstream, rows, columns, count, plan, panels, m)
    gw = np.empty((*kernel, c, k), x.dtype)
    _transform_back(m, panels, plan, taps, c, k, gw.reshape(-1))
    return gw


def _tiles_between(first: int, last: int, plan: Plan) -> int:
    count: int = tiles_before(last, plan) - tiles_before(first, plan)
    return count


def _factor_units(
    images: Images,
    upper: Images,
    plan: Plan,
    first: int,
    last: int,
    tiles: int,
    v: Flat,
    upstream: Flat,
    workers: int,
) -> None:
    """Write V and A gy Aᵀ of the tiles of units first .. last-1.

    v (e, tiles, depth), upstream (e, panels, tiles, tile)
    """
    wide = 4 * plan.band * plan.across * upper.channels
    begin = tiles_before(first, plan)
    for worker in prange(workers):
        read = np.empty(max(padded_size(plan, images.channels), wide), v.dtype)
        units = last - first
        for i in range(units * worker // workers, units * (worker + 1) // workers):
            tile = tiles_before(first + i, plan) - begin
            step = tiles * plan.depth + PAD
            transform_band(images, first + i, plan, read, v, tile, step)
            upstream_band(upper, first + i, plan, read, upstream, tile, tiles)


def _upstream_band(
    upper: Images, unit: int, plan: Plan, read: Flat, out: Flat, first: int, tiles: int
) -> None:
    """Write A gy Aᵀ of a unit's tiles; outputs beyond the last count as 0."""
    k = upper.channels
    lanes = lanes_in(out)
    wide = 2 * lanes
    step = (k + wide - 1) // wide * tiles * wide + PAD
    top = unit % plan.bands * plan.band
    rows, row = min(plan.band, plan.down - top), 2 * plan.across * k
    pad_image(upper, unit // plan.bands, 2 * top, 0, 2 * rows, 2 * plan.across, read)
    for tile in range(rows * plan.across):
        at = tile // plan.across * 2 * row + tile % plan.across * 2 * k
        for j in range(0, k, lanes):
            to = (j // wide * tiles + first + tile) * wide + j % wide
            transform_upstream(read, at + j, row, k, plan.points, out, to, step)


def _product_tasks(
    v: Flat,
    upstream: Flat,
    rows: Ints,
    columns: Ints,
    count: int,
    plan: Plan,
    panels: int,
    m: Flat,
) -> None:
    """Add to m (e, panels, depth, tile) what the first `count` tiles give."""
    wide, tiles = 2 * lanes_in(v), rows.size
    height = (plan.depth + 5) // 6 * 6
    for task in prange(plan.points * plan.points * panels):
        e = task // panels
        values = e * (tiles * plan.depth + PAD)
        w = task * tiles * wide + e * PAD
        for first in range(0, count, LINK):
            last = min(first + LINK, count)
            for channel in range(0, plan.depth, 6):
                to, at = (task * height + channel) * wide, values + channel
                sums = outer_tile(*(v, rows, first, last, at, 6, upstream, columns, w))
                accumulate(sums, m, to)


def _transform_tasks(
    m: Flat, panels: int, plan: Plan, taps: int, c: int, k: int, gw: Flat
) -> None:
    """Turn the sums m (e, panels, depth, tile) into gw (taps, taps, c, k)."""
    lanes, s = lanes_in(m), plan.phases
    wide, height = 2 * lanes, (plan.depth + 5) // 6 * 6
    row, column = s * taps * c * k, s * c * k
    for channel in prange(plan.depth):
        phase = channel // c
        begin = (phase // s * taps + phase % s) * c * k + channel % c * k
        for j in range(0, k, lanes):
            at = (j // wide * height + channel) * wide + j % wide
            step = panels * height * wide
            transform_gradient(m, at, step, plan.r, gw, begin + j, row, column)


upstream_band = jit(_upstream_band)
_transform_back = jit(_transform_tasks, parallel=True)
_factors = jit(_factor_units, parallel=True)
_products = jit(_product_tasks, parallel=True)
