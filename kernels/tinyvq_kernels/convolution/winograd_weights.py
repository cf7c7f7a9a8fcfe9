"""The weight gradient in Winograd's form, which `winograd.py` derives.

A chunk of tiles at a time: first V = Bᵀ d B and the upstream gradient A gy Aᵀ of all
its tiles, then for each of the (r + 1)² positions a matrix product over tiles.

Where the sums are few, a group of images has its own, and one thread makes chunks so
small that all of it stays in that core's cache; where they are many, all threads share
a large chunk, and each takes some of the sums. Both cut by size alone, so that no sum
depends on the number of threads.
"""

from typing import NamedTuple

import numba
import numpy as np

from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import add, lanes_in, load, store
from tinyvq_kernels._tile import LINK, accumulate, outer_tile, tile_width
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

FEW = 1 << 19  # sums of all groups, at most: 2 MiB
SMALL = 4096  # values of V a chunk and position, about, where a group is a task ...
CHUNK = 1 << 15  # ... and where all threads share a chunk


class Cut(NamedTuple):
    """How the work is cut.

    units    bands of images, the least that is transformed at once
    at_once  of them in a chunk
    tiles    in a chunk, at most
    groups   of units, each with its own sums
    panels   of upstream channels, each a tile wide
    height   channels of V, in whole tiles
    """

    units: int
    at_once: int
    tiles: int
    groups: int
    panels: int
    height: int


class Chunk(NamedTuple):
    """Memory for the factors of a chunk, and where in it a tile or a channel stands.

    v (e, tiles, depth), upstream (e, panels, tiles, tile width); channels beyond the
    last upstream one are 0
    """

    v: Flat
    upstream: Flat
    rows: Ints
    columns: Ints
    channels: Ints


def cut_of(plan: Plan, images: int, k: int, width: int) -> Cut:
    """Cut by size alone."""
    units, of_unit = images * plan.bands, plan.band * plan.across
    sums = plan.points**2 * plan.depth * k
    few = sums <= FEW // 4
    tiles = (SMALL if few else CHUNK) // max(plan.depth, k)
    at_once = max(1, min(units, tiles // of_unit))
    groups = max(1, min(units, 8, FEW // sums)) if few else 1  # of no image: 1
    panels, height = -(-k // width), -(-plan.depth // 6) * 6
    return Cut(units, at_once, at_once * of_unit, groups, panels, height)


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
    plan = plan_of(window, taps // stride, stride, c, max(c * stride**2, k))
    width = tile_width(x.dtype)
    cut = cut_of(plan, x.shape[0], k, width)
    images, upper = images_of(x), images_of(gy)
    m = np.zeros(cut.groups * plan.points**2 * cut.panels * cut.height * width, x.dtype)
    if cut.groups > 1:
        _sum_groups(images, upper, plan, cut, m)
    else:
        chunk = new_chunk(plan, cut, m)
        for first in range(0, cut.units, cut.at_once):
            last = min(first + cut.at_once, cut.units)
            workers = min(last - first, numba.get_num_threads())
            _factors(images, upper, plan, cut, first, last, chunk, workers)
            _products(chunk, plan, cut, first, last, m)
    gw = np.empty((*kernel, c, k), x.dtype)
    _transform_back(m, plan, cut, taps, c, k, gw.reshape(-1))
    return gw


def _new_chunk(plan: Plan, cut: Cut, like: Flat) -> Chunk:
    squares, width = plan.points * plan.points, 2 * lanes_in(like)
    return Chunk(
        np.empty(squares * (cut.tiles * plan.depth + PAD), like.dtype),
        np.zeros(squares * (cut.panels * cut.tiles * width + PAD), like.dtype),
        np.arange(cut.tiles) * plan.depth,
        np.arange(cut.tiles) * width,
        np.arange(plan.depth),
    )


def _new_read(plan: Plan, channels: int, upper_channels: int, like: Flat) -> Flat:
    """Make memory for the padded source, or upstream gradient, of a unit."""
    upper_size = 4 * plan.band * plan.across * upper_channels
    return np.empty(max(padded_size(plan, channels), upper_size), like.dtype)


def _sum_units_of_groups(
    images: Images, upper: Images, plan: Plan, cut: Cut, m: Flat
) -> None:
    """Fill m (groups, e, panels, height, tile width): a group is one task."""
    size = m.size // cut.groups
    for group in prange(cut.groups):
        chunk = new_chunk(plan, cut, m)
        read = new_read(plan, images.channels, upper.channels, m)
        sums = m[group * size : (group + 1) * size]
        begin = cut.units * group // cut.groups
        end = cut.units * (group + 1) // cut.groups
        for first in range(begin, end, cut.at_once):
            last = min(first + cut.at_once, end)
            for unit in range(first, last):
                transform_unit(images, upper, plan, cut, first, unit, read, chunk)
            for task in range(plan.points * plan.points * cut.panels):
                add_products(task, chunk, plan, cut, first, last, sums)


def _factor_units(
    images: Images,
    upper: Images,
    plan: Plan,
    cut: Cut,
    first: int,
    last: int,
    chunk: Chunk,
    workers: int,
) -> None:
    units = last - first
    for worker in prange(workers):
        read = new_read(plan, images.channels, upper.channels, chunk.v)
        for i in range(units * worker // workers, units * (worker + 1) // workers):
            transform_unit(images, upper, plan, cut, first, first + i, read, chunk)


def _product_tasks(
    chunk: Chunk, plan: Plan, cut: Cut, first: int, last: int, m: Flat
) -> None:
    for task in prange(plan.points * plan.points * cut.panels):
        add_products(task, chunk, plan, cut, first, last, m)


def _transform_unit(
    images: Images,
    upper: Images,
    plan: Plan,
    cut: Cut,
    first: int,
    unit: int,
    read: Flat,
    chunk: Chunk,
) -> None:
    """Write V and A gy Aᵀ of a unit's tiles, in a chunk that begins at unit `first`."""
    tile = tiles_before(unit, plan) - tiles_before(first, plan)
    step = cut.tiles * plan.depth + PAD
    transform_band(images, unit, plan, read, chunk.v, tile, step)
    upstream_band(upper, unit, plan, read, chunk.upstream, tile, cut.tiles)


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


def _add_products(
    task: int, chunk: Chunk, plan: Plan, cut: Cut, first: int, last: int, m: Flat
) -> None:
    """Add to m (e, panels, height, tile width) what units first .. last-1 give.

    task  one position e and panel
    """
    width, e = 2 * lanes_in(m), task // cut.panels
    v = chunk.v[e * (cut.tiles * plan.depth + PAD) :]
    w = task * cut.tiles * width + e * PAD
    count = tiles_before(last, plan) - tiles_before(first, plan)
    for begin in range(0, count, LINK):
        end = min(begin + LINK, count)
        for channel in range(0, plan.depth, 6):
            sums = outer_tile(
                *(v, chunk.rows, begin, end, chunk.channels, channel),
                *(chunk.upstream, chunk.columns, w),
            )
            accumulate(sums, m, (task * cut.height + channel) * width)


def _add_groups(m: Flat, plan: Plan, cut: Cut, channel: int) -> None:
    """Add the sums of all groups up, in order, into those of the first."""
    lanes = lanes_in(m)
    size = m.size // cut.groups
    for group in range(1, cut.groups):
        for task in range(plan.points * plan.points * cut.panels):
            at = (task * cut.height + channel) * 2 * lanes
            other = group * size + at
            store(m, at, add(load(m, at), load(m, other)))
            store(m, at + lanes, add(load(m, at + lanes), load(m, other + lanes)))


def _transform_tasks(
    m: Flat, plan: Plan, cut: Cut, taps: int, c: int, k: int, gw: Flat
) -> None:
    """Turn the sums m (groups, e, panels, height, tile width) into gw."""
    lanes, s = lanes_in(m), plan.phases
    row, column = s * taps * c * k, s * c * k
    step = cut.panels * cut.height * 2 * lanes
    for channel in prange(plan.depth):
        add_groups(m, plan, cut, channel)
        phase = channel // c
        begin = (phase // s * taps + phase % s) * c * k + channel % c * k
        for j in range(0, k, lanes):
            panel = j // (2 * lanes)
            at = (panel * cut.height + channel) * 2 * lanes + j % (2 * lanes)
            transform_gradient(m, at, step, plan.r, gw, begin + j, row, column)


new_chunk = jit(_new_chunk, allocates=True)
new_read = jit(_new_read, allocates=True)
upstream_band = jit(_upstream_band)
transform_unit = jit(_transform_unit)
add_products = jit(_add_products)
add_groups = jit(_add_groups)
_transform_back = jit(_transform_tasks, parallel=True)
_sum_groups = jit(_sum_units_of_groups, parallel=True)
_factors = jit(_factor_units, parallel=True)
_products = jit(_product_tasks, parallel=True)
