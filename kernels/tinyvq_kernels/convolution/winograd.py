"""Convolution with fewer products: Winograd's form for tiles of 2×2 outputs.

Two outputs of a filter with r taps, y_m = Σ_ρ d_{m+ρ} g_ρ, take 2 r products when they
are computed as they are written, and r + 1 in Winograd's form:

    y = Aᵀ [(G g) ⊙ (Bᵀ d)]        d has r + 1 values, g has r, y has 2

For r = 2, with u = d0 - d1, v = d1, w = d2 - d1:

    y0 = u g0 + v (g0 + g1)        = d0 g0 + d1 g1
    y1 = v (g0 + g1) + w g1        = d1 g0 + d2 g1

For r = 3 the four values of Bᵀ d are d0 - d2, d1 + d2, d2 - d1, d3 - d1. In two
dimensions each matrix is applied to rows and to columns: (r + 1)² products make 2×2
outputs, 9 instead of 16 for r = 2, 16 instead of 36 for r = 3. ⊙ is for one channel;
over all of them it is (r + 1)² matrix products (tiles × channels) · (channels × K), and
those are where the time goes.

    forward          V = Bᵀ d B for every tile and channel, U = G g Gᵀ, M = V U,
                     y = Aᵀ M A
    input gradient   the forward, of gy and of the kernel turned round
    weight gradient  y is linear in g, so its adjoint is: gg = Gᵀ [V ⊙ (A gy Aᵀ)] G,
                     where ⊙ now also sums over tiles

A kernel of 4×4 with stride 2 is one of r = 2 with stride 1 on each of the four
half-size images of even or odd rows and columns, which are taken as so many channels
more. So `phases` is the stride, and a kernel has r · phases taps a side.

The matrices hold 0, ±1 and ±1/2, so all that is lost is a rounding or two in each
transform: errors are those of the direct form, within a factor of two (`tests/` hold it
to that). What is not finite spreads further: an infinite pixel reaches all outputs of
its tiles as NaN.

Source: Lavin and Gray, arXiv:1509.09308.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import transpose
from tinyvq_kernels._simd import VECTOR_BYTES, add, load, splat, store
from tinyvq_kernels._tile import TILE_BYTES, multiply_panels, tile_width
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.convolution._transforms import (
    after4,
    collect3,
    load3,
    load4,
    spread2,
    spread3,
    store3,
    store4,
    transform_source,
)
from tinyvq_kernels.convolution._window import (
    Window,
    forward_window,
    pad_image,
    phase_of,
)

BLOCK = 6144  # values of one V a block, about: V and M stay in the second-level cache


class Plan(NamedTuple):
    """How the outputs of images are cut into tiles of 2×2.

    r, points      taps a side of a phase, and r + 1
    phases         the stride of the source
    depth          channels times phases²
    down, across   tiles in a column and in a row of an image
    band, bands    rows of tiles in a unit of work, and units an image
    group          units a block
    """

    r: int
    points: int
    phases: int
    depth: int
    down: int
    across: int
    band: int
    bands: int
    group: int

    @property
    def block(self) -> int:
        """Count the tiles of a block, at most."""
        return self.group * self.band * self.across


def plan_of(window: Window, r: int, phases: int, channels: int, tiles: int) -> Plan:
    """Cut a grid of outputs so that a block has about so many tiles."""
    down, across = -(-window.grid_h // 2), -(-window.grid_w // 2)
    bands = min(down, -(-down * across // tiles))
    band = -(-down // bands)
    bands = -(-down // band)
    group = max(1, tiles // (band * across)) if bands == 1 else 1
    depth = channels * phases * phases
    return Plan(r, r + 1, phases, depth, down, across, band, bands, group)


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
    order = np.arange(taps).reshape(-1, stride).T.reshape(-1)  # phase by phase
    _run(x, flat(w), (c, k), taps, order, order, b, y, window, stride)
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
    down = [phase_of(i, taps, stride, padding, dilation) for i in range(stride)]
    for r, _, out_top, top in down:
        for s, _, out_left, left in down:
            grid_h = -(-(size[0] - out_top) // stride)
            grid_w = -(-(size[1] - out_left) // stride)
            if grid_h <= 0 or grid_w <= 0:
                continue
            window = Window(
                *(grid_h, grid_w, 1, top, left, r.size, s.size),
                *(stride, out_top, out_left),
            )
            _run(gy, turned, (k, c), taps, r, s, b, gx, window, 1)
    return gx


def _run(
    source: Array,
    w: Flat,
    channels: tuple[int, int],
    taps: int,
    rows: Ints,
    cols: Ints,
    bias: Array | None,
    out: Array,
    window: Window,
    phases: int,
) -> None:
    """Convolve by the taps named, w (taps, taps, *channels)."""
    c, k = channels
    r = rows.size // phases
    plan = plan_of(window, r, phases, c, max(24, BLOCK // (c * phases * phases)))
    width = tile_width(out.dtype)
    panels = -(-k // width)
    u = np.zeros(plan.points**2 * panels * plan.depth * width, out.dtype)
    _transform_kernel(w, taps, c, k, rows, cols, plan, u)
    start = np.zeros(k, out.dtype) if bias is None else flat(bias)
    units = source.shape[0] * plan.bands
    workers = min(units, numba.get_num_threads())
    _convolve(
        flat(source),
        source.shape,
        u,
        start,
        out.reshape(-1),
        out.shape,
        window,
        plan,
        workers,
    )


def _transform_taps(
    w: Flat,
    taps: int,
    c: int,
    k: int,
    rows: Ints,
    cols: Ints,
    plan: Plan,
    u: Flat,
) -> None:
    """Fill u (e, panels, depth, tile) with G g Gᵀ of each channel of each phase."""
    lanes = VECTOR_BYTES // w.itemsize
    wide = 2 * lanes
    panels = (k + wide - 1) // wide
    step = panels * plan.depth * wide
    r = plan.r
    for channel in prange(plan.depth):
        half = splat(w.dtype.type(0.5))
        phase = channel // c
        y, x = phase // plan.phases * r, phase % plan.phases * r
        here = (channel % c) * k
        size = c * k
        for j in range(0, k, lanes):
            to = ((j // wide) * plan.depth + channel) * wide + j % wide
            at = here + j
            if r == 3:
                r0, r1, r2 = rows[y] * taps, rows[y + 1] * taps, rows[y + 2] * taps
                s0, s1, s2 = cols[x], cols[x + 1], cols[x + 2]
                a = spread3(
                    (
                        load(w, at + (r0 + s0) * size),
                        load(w, at + (r1 + s0) * size),
                        load(w, at + (r2 + s0) * size),
                    ),
                    half,
                )
                b = spread3(
                    (
                        load(w, at + (r0 + s1) * size),
                        load(w, at + (r1 + s1) * size),
                        load(w, at + (r2 + s1) * size),
                    ),
                    half,
                )
                d = spread3(
                    (
                        load(w, at + (r0 + s2) * size),
                        load(w, at + (r1 + s2) * size),
                        load(w, at + (r2 + s2) * size),
                    ),
                    half,
                )
                store4(u, to, step, spread3((a[0], b[0], d[0]), half))
                store4(u, to + 4 * step, step, spread3((a[1], b[1], d[1]), half))
                store4(u, to + 8 * step, step, spread3((a[2], b[2], d[2]), half))
                store4(u, to + 12 * step, step, spread3((a[3], b[3], d[3]), half))
            else:
                r0, r1 = rows[y] * taps, rows[y + 1] * taps
                s0, s1 = cols[x], cols[x + 1]
                a3 = spread2(
                    (load(w, at + (r0 + s0) * size), load(w, at + (r1 + s0) * size))
                )
                b3 = spread2(
                    (load(w, at + (r0 + s1) * size), load(w, at + (r1 + s1) * size))
                )
                store3(u, to, step, spread2((a3[0], b3[0])))
                store3(u, to + 3 * step, step, spread2((a3[1], b3[1])))
                store3(u, to + 6 * step, step, spread2((a3[2], b3[2])))


def _transform_band(
    source: Flat,
    shape: tuple[int, int, int, int],
    image: int,
    top: int,
    left: int,
    tile_rows: int,
    plan: Plan,
    read: Flat,
    v: Flat,
    first: int,
    step: int,
) -> None:
    """Write V of a band of tiles, from tile `first` of v (e, tiles, depth) on."""
    c = shape[3]
    lanes = VECTOR_BYTES // v.itemsize
    s = plan.phases
    read_w = s * (2 * plan.across + plan.r - 1)
    pad_image(
        source,
        image,
        shape,
        top,
        left,
        s * (2 * tile_rows + plan.r - 1),
        read_w,
        read,
        0,
    )
    for ty in range(tile_rows):
        for tx in range(plan.across):
            to = (first + ty * plan.across + tx) * plan.depth
            for phase in range(s * s):
                y, x = 2 * ty * s + phase // s, 2 * tx * s + phase % s
                at = (y * read_w + x) * c
                for j in range(0, c, lanes):
                    transform_source(
                        read,
                        at + j,
                        s * read_w * c,
                        s * c,
                        plan.points,
                        v,
                        to + phase * c + j,
                        step,
                    )


def _write_band(
    m: Flat,
    first: int,
    step: int,
    tile_rows: int,
    top: int,
    plan: Plan,
    window: Window,
    bias: Flat,
    out: Flat,
    image: int,
    out_shape: tuple[int, int, int, int],
) -> None:
    """Turn the products m (e, tiles, k) of a band into outputs."""
    _, out_h, out_w, k = out_shape
    lanes = VECTOR_BYTES // m.itemsize
    for ty in range(tile_rows):
        p = 2 * (top + ty)
        for tx in range(plan.across):
            q = 2 * tx
            tile = (first + ty * plan.across + tx) * k
            row = p * window.spread + window.out_top
            col = q * window.spread + window.out_left
            to = ((image * out_h + row) * out_w + col) * k
            down, right = window.spread * out_w * k, window.spread * k
            lower, wider = p + 1 < window.grid_h, q + 1 < window.grid_w
            for j in range(0, k, lanes):
                at = tile + j
                if plan.points == 4:
                    a = after4(load4(m, at, 4 * step))
                    b = after4(load4(m, at + step, 4 * step))
                    c = after4(load4(m, at + 2 * step, 4 * step))
                    d = after4(load4(m, at + 3 * step, 4 * step))
                    upper = after4((a[0], b[0], c[0], d[0]))
                    under = after4((a[1], b[1], c[1], d[1]))
                else:
                    a3 = collect3(load3(m, at, 3 * step))
                    b3 = collect3(load3(m, at + step, 3 * step))
                    c3 = collect3(load3(m, at + 2 * step, 3 * step))
                    upper = collect3((a3[0], b3[0], c3[0]))
                    under = collect3((a3[1], b3[1], c3[1]))
                more = load(bias, j)
                store(out, to + j, add(upper[0], more))
                if wider:
                    store(out, to + right + j, add(upper[1], more))
                if lower:
                    store(out, to + down + j, add(under[0], more))
                    if wider:
                        store(out, to + down + right + j, add(under[1], more))


def _convolve_blocks(
    source: Flat,
    shape: tuple[int, int, int, int],
    u: Flat,
    bias: Flat,
    out: Flat,
    out_shape: tuple[int, int, int, int],
    window: Window,
    plan: Plan,
    workers: int,
) -> None:
    c, k = shape[3], out_shape[3]
    wide = TILE_BYTES // out.itemsize
    panel = (k + wide - 1) // wide * plan.depth * wide
    size = plan.group * plan.band * plan.across
    squares = plan.points * plan.points
    units = shape[0] * plan.bands
    s = plan.phases
    for worker in prange(workers):
        read = np.empty(
            s * s * (2 * plan.band + plan.r - 1) * (2 * plan.across + plan.r - 1) * c,
            out.dtype,
        )
        v = np.empty(squares * size * plan.depth, out.dtype)
        m = np.empty(squares * size * k, out.dtype)
        rows = np.empty(size + 5, np.int64)
        dest = np.empty(size + 5, np.int64)
        for i in range(size + 5):
            rows[i] = min(i, size - 1) * plan.depth
            dest[i] = i * k
        taps = np.zeros(1, np.int64)
        start = np.zeros(panel // plan.depth, out.dtype)
        spare = np.empty(6 * wide, out.dtype)
        last = units * (worker + 1) // workers
        for begin in range(units * worker // workers, last, plan.group):
            count = 0
            for unit in range(begin, min(begin + plan.group, last)):
                top = unit % plan.bands * plan.band
                tile_rows = min(plan.band, plan.down - top)
                transform_band(
                    source,
                    shape,
                    unit // plan.bands,
                    window.top + 2 * top * s,
                    window.left,
                    tile_rows,
                    plan,
                    read,
                    v,
                    count,
                    size * plan.depth,
                )
                count += tile_rows * plan.across
            for e in range(squares):
                taps[0] = e * size * plan.depth
                multiply_panels(
                    v,
                    rows,
                    count,
                    taps,
                    plan.depth,
                    u,
                    e * panel,
                    start,
                    m,
                    dest,
                    e * size * k,
                    k,
                    spare,
                )
            count = 0
            for unit in range(begin, min(begin + plan.group, last)):
                top = unit % plan.bands * plan.band
                tile_rows = min(plan.band, plan.down - top)
                write_band(
                    m,
                    count,
                    size * k,
                    tile_rows,
                    top,
                    plan,
                    window,
                    bias,
                    out,
                    unit // plan.bands,
                    out_shape,
                )
                count += tile_rows * plan.across


transform_band = jit(_transform_band)
write_band = jit(_write_band)
_transform_kernel = jit(_transform_taps, parallel=True)
_convolve = jit(_convolve_blocks, parallel=True)
