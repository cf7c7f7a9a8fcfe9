"""The weight gradient in Winograd's form, which `winograd.py` derives.

A chunk of tiles at a time: first V = Bᵀ d B and the upstream gradient A gy Aᵀ of all
its tiles, then for each of the (r + 1)² positions a matrix product over tiles. No sum
depends on the number of threads, for each is one task.
"""

import numba
import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import VECTOR_BYTES, splat, store
from tinyvq_kernels._tile import (
    LINK,
    TILE_BYTES,
    add_tiles,
    load_tile,
    outer_tile,
    store_tile,
    tile_width,
)
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.convolution._transforms import (
    collect3,
    collect4,
    load3,
    load4,
    store3,
    transform_upstream,
)
from tinyvq_kernels.convolution._window import Window, forward_window, pad_image
from tinyvq_kernels.convolution.winograd import (
    BLOCK,
    Plan,
    plan_of,
    transform_band,
)

CHUNK = 1 << 16  # values of V a chunk, about, for each position


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the weight gradient: chunks of tiles, one after another."""
    n, _, _, c = x.shape
    k = gy.shape[3]
    window = forward_window(x.shape[1:3], kernel, stride, padding, dilation)
    r = kernel[0] // stride
    deepest = max(c * stride * stride, k)
    plan = plan_of(window, r, stride, c, max(24, BLOCK // deepest))
    units = n * plan.bands
    at_once = max(1, min(units, CHUNK // (deepest * plan.band * plan.across)))
    tiles = at_once * plan.band * plan.across
    width = tile_width(x.dtype)
    panels = -(-k // width)
    height = -(-plan.depth // 6) * 6
    v = np.empty(plan.points**2 * tiles * plan.depth + 6, x.dtype)
    v[-6:] = 0  # the last tile reads beyond its rows
    upstream = np.zeros(plan.points**2 * panels * tiles * width, x.dtype)
    m = np.zeros(plan.points**2 * panels * height * width, x.dtype)
    rows, columns = np.arange(tiles) * plan.depth, np.arange(tiles) * width
    for first in range(0, units, at_once):
        last = min(first + at_once, units)
        workers = min(last - first, numba.get_num_threads())
        _factors(
            flat(x),
            x.shape,
            flat(gy),
            gy.shape,
            window,
            plan,
            first,
            last,
            tiles,
            v,
            upstream,
            workers,
        )
        count = (last - first) * plan.band * plan.across
        _products(v, upstream, rows, columns, count, plan, tiles, panels, m)
    gw = np.empty((*kernel, c, k), x.dtype)
    _transform_back(m, panels, plan, kernel[0], c, k, gw.reshape(-1))
    return gw


def _factor_blocks(
    x: Flat,
    shape: tuple[int, int, int, int],
    gy: Flat,
    gy_shape: tuple[int, int, int, int],
    window: Window,
    plan: Plan,
    first: int,
    last: int,
    tiles: int,
    v: Flat,
    upstream: Flat,
    workers: int,
) -> None:
    """Write V and A gy Aᵀ of the units first .. last-1; v (e, tiles, depth), and
    upstream (e, panels, tiles, tile). Missing tiles of a last band have no upstream.
    """
    c, k = shape[3], gy_shape[3]
    lanes = VECTOR_BYTES // v.itemsize
    wide = 2 * lanes
    panels = (k + wide - 1) // wide
    s = plan.phases
    a_unit = plan.band * plan.across
    for worker in prange(workers):
        read = np.empty(
            max(
                s
                * s
                * (2 * plan.band + plan.r - 1)
                * (2 * plan.across + plan.r - 1)
                * c,
                4 * a_unit * k,
            ),
            v.dtype,
        )
        begin = first + (last - first) * worker // workers
        end = first + (last - first) * (worker + 1) // workers
        for unit in range(begin, end):
            image, top = unit // plan.bands, unit % plan.bands * plan.band
            tile = (unit - first) * a_unit
            transform_band(
                x,
                shape,
                image,
                window.top + 2 * top * s,
                window.left,
                plan.band,
                plan,
                read,
                v,
                tile,
                tiles * plan.depth,
            )
            pad_image(
                gy, image, gy_shape, 2 * top, 0, 2 * plan.band, 2 * plan.across, read, 0
            )
            row = 2 * plan.across * k
            for ty in range(plan.band):
                for tx in range(plan.across):
                    at = 2 * ty * row + 2 * tx * k
                    for j in range(0, k, lanes):
                        to = ((j // wide) * tiles + tile) * wide + j % wide
                        transform_upstream(
                            read,
                            at + j,
                            row,
                            k,
                            plan.points,
                            upstream,
                            to,
                            panels * tiles * wide,
                        )
                    tile += 1


def _product_blocks(
    v: Flat,
    upstream: Flat,
    rows: Ints,
    columns: Ints,
    count: int,
    plan: Plan,
    tiles: int,
    panels: int,
    m: Flat,
) -> None:
    """Add to m (e, panels, depth, tile) what the first `count` tiles give."""
    wide = TILE_BYTES // v.itemsize
    height = (plan.depth + 5) // 6 * 6
    for task in prange(plan.points * plan.points * panels):
        values = task // panels * tiles * plan.depth
        for first in range(0, count, LINK):
            last = min(first + LINK, count)
            for channel in range(0, plan.depth, 6):
                to = (task * height + channel) * wide
                sums = outer_tile(
                    v,
                    rows,
                    first,
                    last,
                    values + channel,
                    6,
                    upstream,
                    columns,
                    task * tiles * wide,
                )
                store_tile(add_tiles(load_tile(m, to), sums), m, to)


def _transform_gradient(
    m: Flat, panels: int, plan: Plan, taps: int, c: int, k: int, gw: Flat
) -> None:
    """Turn the sums m (e, panels, depth, tile) into gw = Gᵀ m G (taps, taps, c, k)."""
    lanes = VECTOR_BYTES // m.itemsize
    wide = 2 * lanes
    height = (plan.depth + 5) // 6 * 6
    step = panels * height * wide
    s = plan.phases
    size = c * k
    for channel in prange(plan.depth):
        half = splat(m.dtype.type(0.5))
        phase = channel // c
        y, x = phase // s, phase % s
        for j in range(0, k, lanes):
            at = ((j // wide) * height + channel) * wide + j % wide
            to = (y * taps + x) * size + (channel % c) * k + j
            if plan.points == 4:
                a = collect4(load4(m, at, 4 * step), half)
                b = collect4(load4(m, at + step, 4 * step), half)
                d = collect4(load4(m, at + 2 * step, 4 * step), half)
                e = collect4(load4(m, at + 3 * step, 4 * step), half)
                row = s * taps * size
                store3(gw, to, s * size, collect4((a[0], b[0], d[0], e[0]), half))
                store3(gw, to + row, s * size, collect4((a[1], b[1], d[1], e[1]), half))
                store3(
                    gw, to + 2 * row, s * size, collect4((a[2], b[2], d[2], e[2]), half)
                )
            else:
                a3 = collect3(load3(m, at, 3 * step))
                b3 = collect3(load3(m, at + step, 3 * step))
                d3 = collect3(load3(m, at + 2 * step, 3 * step))
                for i in range(2):
                    upper = (
                        collect3((a3[0], b3[0], d3[0]))
                        if i == 0
                        else collect3((a3[1], b3[1], d3[1]))
                    )
                    store(gw, to + i * s * taps * size, upper[0])
                    store(gw, to + (i * s * taps + s) * size, upper[1])


_transform_back = jit(_transform_gradient, parallel=True)
_factors = jit(_factor_blocks, parallel=True)
_products = jit(_product_blocks, parallel=True)
