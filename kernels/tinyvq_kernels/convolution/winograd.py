"""Convolution with fewer products: Winograd's form for tiles of 2×2 outputs.

Two outputs of a filter with r taps, y_m = Σ_ρ d_{m+ρ} g_ρ, take 2 r products when they
are computed as they are written, and r + 1 in Winograd's form:

    y = Aᵀ [(G g) ⊙ (Bᵀ d)]        d has r + 1 values, g has r, y has 2

For r = 2, with u = d0 - d1, v = d1, w = d2 - d1:

    y0 = u g0 + v (g0 + g1)        = d0 g0 + d1 g1
    y1 = v (g0 + g1) + w g1        = d1 g0 + d2 g1

For r = 3, with the four products m of

    Bᵀ d = d0 - d2, d1 + d2, d2 - d1, d3 - d1
    G g  = g0, (g0 + g1 + g2)/2, (g0 - g1 + g2)/2, g2

    y0 = m0 + m1 + m2              = d0 g0 + d1 g1 + d2 g2
    y1 = m1 - m2 + m3              = d1 g0 + d2 g1 + d3 g2

In two dimensions each matrix is applied to rows and to columns: (r + 1)² products make
2×2 outputs, 9 instead of 16 for r = 2, 16 instead of 36 for r = 3. ⊙ is for one
channel; over all of them it is (r + 1)² matrix products (tiles × channels) · (channels
× K), and those are where the time goes.

    forward          V = Bᵀ d B for every tile and channel, U = G g Gᵀ, M = V U,
                     y = Aᵀ M A
    input gradient   the forward, of gy and of the kernel turned round
    weight gradient  y is linear in g, so its adjoint is: gg = Gᵀ [V ⊙ (A gy Aᵀ)] G,
                     where ⊙ now also sums over tiles

A kernel of 4×4 with stride 2 is one of r = 2 with stride 1 on each of the four
half-size images of even or odd rows and columns, which are taken as so many channels
more. So `phases` is the stride, and a kernel has r · phases taps a side.

The matrices hold 0, ±1 and ±1/2, so all that is lost is a rounding or two in each
transform. The bound on that is its own; `tests/kernels/winograd_bounds.py` computes it.
(Measured, errors were at most twice those of the direct form.) What is not finite
spreads further: an infinite pixel reaches all outputs of its tiles as NaN.

Source: Lavin and Gray, arXiv:1509.09308.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import transpose
from tinyvq_kernels._simd import VECTOR_BYTES, add, lanes_in, load, store
from tinyvq_kernels._tile import multiply_panels, tile_width
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.convolution._transforms import (
    transform_products,
    transform_source,
    transform_taps,
)
from tinyvq_kernels.convolution._window import (
    Images,
    Window,
    forward_window,
    images_of,
    pad_image,
    phases_of,
)

BLOCK = 6144  # values of one V a block, about: V and M stay in the second-level cache
# Between the positions e of V and M, in values: at a distance that is a multiple of 4
# KiB they would all fall into the same few lines of a cache.
PAD = VECTOR_BYTES // 4


class Plan(NamedTuple):
    """How the outputs of images are cut into tiles of 2×2.

    r, points      taps a side of a phase, and r + 1
    phases         the stride of the source
    depth          channels times phases²
    top, left      the source pixel of output (0, 0), perhaps outside the image
    down, across   tiles in a column and in a row of an image
    band, bands    rows of tiles in a unit of work, and units an image
    group          units a block
    """

    r: int
    points: int
    phases: int
    depth: int
    top: int
    left: int
    down: int
    across: int
    band: int
    bands: int
    group: int


def plan_of(window: Window, r: int, phases: int, channels: int, widest: int) -> Plan:
    """Cut a grid of outputs so that a block's tiles, `widest` deep, fit a cache."""
    tiles = max(96, BLOCK // widest)
    down, across = -(-window.grid_h // 2), -(-window.grid_w // 2)
    band = -(-down // min(down, -(-down * across // tiles)))
    bands = -(-down // band)
    group = max(1, tiles // (band * across)) if bands == 1 else 1
    depth = channels * phases * phases
    corner = window.top, window.left
    return Plan(r, r + 1, phases, depth, *corner, down, across, band, bands, group)


def suits(
    kernel: tuple[int, int], c: int, k: int, stride: int, dilation: int, dtype: Any
) -> bool:
    """Tell whether a convolution has this form: whole vectors of channels, r 2 or 3."""
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    return (
        kernel[0] == kernel[1]
        and dilation == 1
        and kernel[0] in (2 * stride, 3 * stride)
        and min(c, k) > 0
        and c % lanes == k % lanes == 0
    )


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Run the forward convolution; shapes as in the package's contract."""
    taps, _, c, k = w.shape
    window = forward_window(x.shape[1:3], w.shape[:2], stride, padding, dilation)
    y = np.empty((x.shape[0], window.grid_h, window.grid_w, k), x.dtype)
    of_phase = np.arange(taps).reshape(-1, stride).T  # (phases, r)
    plan = plan_of(window, taps // stride, stride, c, c * stride**2)
    _run(x, flat(w), _places(of_phase, of_phase, w.shape), b, y, window, plan)
    return y


def conv2d_input_grad(
    gy: Array,
    w: Array,
    size: tuple[int, int],
    b: Array | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the input gradient, phase by phase: each is a forward with stride 1."""
    taps, _, c, k = w.shape
    turned = np.empty(w.size, w.dtype)
    transpose(flat(w), k, c, turned)  # (R,S,K,C)
    gx = np.empty((gy.shape[0], *size, c), gy.dtype)
    for phase in phases_of(size, (taps, taps), stride, padding, dilation):
        places = _places(phase.rows[None], phase.cols[None], w.shape)
        plan = plan_of(phase.window, phase.rows.size, 1, k, k)
        _run(gy, turned, places, b, gx, phase.window, plan)
    return gx


def _places(rows: Ints, cols: Ints, shape: tuple[int, ...]) -> Ints:
    """List where the taps of each phase stand in a kernel, column by column.

    rows, cols  (phases, r), the taps of each phase -> (phases, phases, r, r), flat
    """
    taps = rows[:, None, None, :] * shape[1] + cols[None, :, :, None]
    return (taps * shape[2] * shape[3]).reshape(-1)


def _run(
    source: Array,
    w: Flat,
    places: Ints,
    bias: Array | None,
    out: Array,
    window: Window,
    plan: Plan,
) -> None:
    c, k = source.shape[3], out.shape[3]
    width = tile_width(out.dtype)
    make = np.empty if k % width == 0 else np.zeros  # what no kernel fills is 0
    u = make(plan.points**2 * -(-k // width) * plan.depth * width, out.dtype)
    _transform_kernel(w, places, c, k, plan, u)
    start = np.zeros(k, out.dtype) if bias is None else flat(bias)
    workers = min(source.shape[0] * plan.bands, numba.get_num_threads())
    _convolve(images_of(source), u, start, images_of(out), window, plan, workers)


def _transform_channels(
    w: Flat, places: Ints, c: int, k: int, plan: Plan, u: Flat
) -> None:
    """Fill u (e, panels, depth, tile) with G g Gᵀ of each channel of each phase."""
    lanes = lanes_in(w)
    wide = 2 * lanes
    step = (k + wide - 1) // wide * plan.depth * wide
    for channel in prange(plan.depth):
        phase, at = channel // c, channel % c * k
        for j in range(0, k, lanes):
            to = (j // wide * plan.depth + channel) * wide + j % wide
            i = phase * plan.r * plan.r
            transform_taps(w, at + j, places, i, plan.r, u, to, step)


def _tiles_before(unit: int, plan: Plan) -> int:
    """Count the tiles of all units before this one."""
    image, band = unit // plan.bands, unit % plan.bands
    return (image * plan.down + band * plan.band) * plan.across


def _transform_band(
    source: Images, unit: int, plan: Plan, read: Flat, v: Flat, first: int, step: int
) -> None:
    """Write V of a unit's tiles, from tile `first` of v (e, tiles, depth) on.

    read  memory for the padded source of a unit
    step  from one position e of v to the next
    """
    c, s, r = source.channels, plan.phases, plan.r
    lanes = lanes_in(v)
    top = unit % plan.bands * plan.band
    rows = min(plan.band, plan.down - top)
    read_h, read_w = s * (2 * rows + r - 1), s * (2 * plan.across + r - 1)
    from_row = plan.top + 2 * top * s
    pad_image(source, unit // plan.bands, from_row, plan.left, read_h, read_w, read)
    row, pixel = s * read_w * c, s * c
    to = first * plan.depth
    for y in range(0, 2 * s * rows, 2 * s):
        for x in range(0, 2 * s * plan.across, 2 * s):
            for phase in range(s * s):
                at = ((y + phase // s) * read_w + x + phase % s) * c
                for j in range(to, to + c, lanes):
                    transform_source(read, at, row, pixel, plan.points, v, j, step)
                    at += lanes
                to += c


def _write_band(
    m: Flat,
    first: int,
    step: int,
    unit: int,
    plan: Plan,
    window: Window,
    bias: Flat,
    out: Images,
) -> None:
    """Turn the products of a unit's tiles, m (e, tiles, k), into outputs."""
    k, spread = out.channels, window.spread
    lanes = lanes_in(m)
    top = unit % plan.bands * plan.band
    down, right = spread * out.width * k, spread * k
    for tile in range(min(plan.band, plan.down - top) * plan.across):
        p, q = 2 * (top + tile // plan.across), 2 * (tile % plan.across)
        row = unit // plan.bands * out.height + p * spread + window.out_top
        to = (row * out.width + q * spread + window.out_left) * k
        has_lower, has_right = p + 1 < window.grid_h, q + 1 < window.grid_w
        for j in range(0, k, lanes):
            at = (first + tile) * k + j
            upper, lower = transform_products(m, at, step, plan.points)
            more = load(bias, j)
            store(out.values, to + j, add(upper[0], more))
            if has_right:
                store(out.values, to + right + j, add(upper[1], more))
            if has_lower:
                store(out.values, to + down + j, add(lower[0], more))
                if has_right:
                    store(out.values, to + down + right + j, add(lower[1], more))


def _multiply_block(
    v: Flat, u: Flat, m: Flat, size: int, count: int, depth: int, k: int, squares: int
) -> None:
    """m[e] = v[e] · u[e] for the first `count` of `size` tiles."""
    v_step, m_step = size * depth + PAD, size * k + PAD
    wide = 2 * lanes_in(m)
    panels = (k + wide - 1) // wide
    rows, dest = np.empty(count + 5, np.int64), np.empty(count, np.int64)
    for i in range(count + 5):
        rows[i] = min(i, count - 1) * depth
    for i in range(count):
        dest[i] = i * k
    start, spare = np.zeros(panels * wide, m.dtype), np.empty(6 * wide, m.dtype)
    tap = np.zeros(1, np.int64)
    for e in range(squares):
        tap[0] = e * v_step
        panel, to = e * panels * depth * wide, e * m_step
        multiply_panels(
            *(v, rows, count, tap, depth, u, panel, start, m, dest, to, k, spare)
        )


def _convolve_units(
    source: Images,
    u: Flat,
    bias: Flat,
    out: Images,
    window: Window,
    plan: Plan,
    workers: int,
) -> None:
    k = out.channels
    size = plan.group * plan.band * plan.across
    squares = plan.points * plan.points
    units = source.number * plan.bands
    v_step, m_step = size * plan.depth + PAD, size * k + PAD
    for worker in prange(workers):
        read = np.empty(padded_size(plan, source.channels), u.dtype)
        v = np.empty(squares * v_step, u.dtype)
        m = np.empty(squares * m_step, u.dtype)
        last = units * (worker + 1) // workers
        for begin in range(units * worker // workers, last, plan.group):
            end = min(begin + plan.group, last)
            before = tiles_before(begin, plan)
            for unit in range(begin, end):
                tile = tiles_before(unit, plan) - before
                transform_band(source, unit, plan, read, v, tile, v_step)
            count = tiles_before(end, plan) - before
            multiply_block(v, u, m, size, count, plan.depth, k, squares)
            for unit in range(begin, end):
                tile = tiles_before(unit, plan) - before
                write_band(m, tile, m_step, unit, plan, window, bias, out)


def _padded_size(plan: Plan, channels: int) -> int:
    """Count the values of a unit's padded source."""
    high, wide = 2 * plan.band + plan.r - 1, 2 * plan.across + plan.r - 1
    return plan.phases * plan.phases * high * wide * channels


padded_size = jit(_padded_size)
tiles_before = jit(_tiles_before)
transform_band = jit(_transform_band)
write_band = jit(_write_band)
multiply_block = jit(_multiply_block, allocates=True)
_transform_kernel = jit(_transform_channels, parallel=True)
_convolve = jit(_convolve_units, parallel=True)
