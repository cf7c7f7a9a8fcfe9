"""2-D convolution on CPU cores: register tiles straight from a padded image.

Forward and input gradient are the same walk, `_gather`: for each output pixel, a few
runs of neighbouring input values times packed weights. Its geometry is a `Window`.

    forward         source pixel of output (u, v) is (u·stride - padding, ...)
    input gradient  every input row h with (h + padding) % stride == phase meets the
                    same taps r of the kernel: those with r·dilation ≡ phase. So the
                    gradient splits into stride² phases, each a stride-1 convolution of
                    gy with a part of the flipped kernel, written stride pixels apart.

The weight gradient has pixels as its inner dimension: six neighbouring kernel entries
(r, s, c..c+5) times two vectors of output channels.
"""

from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._simd import broadcast, fma, load, splat
from tinyvq_kernels._tile import (
    Tile,
    multiply_tile,
    pack_columns,
    store_rows,
    store_tile,
    tile_width,
)
from tinyvq_kernels._types import Array, Flat, Ints


class Window(NamedTuple):
    """Which source pixels an output pixel reads, and where it is written.

    Output pixel (u, v) of a grid_h × grid_w grid reads source pixels from
    (u·step + top, v·step + left) on, `rows` × `cols` of them at most, and is written to
    pixel (u·spread + out_top, v·spread + out_left).
    """

    grid_h: int
    grid_w: int
    step: int
    top: int
    left: int
    rows: int
    cols: int
    spread: int
    out_top: int
    out_left: int

    def inside(self, height: int, width: int) -> bool:
        """Tell whether no pixel outside the image is ever read."""
        return (
            self.top >= 0
            and self.left >= 0
            and (self.grid_h - 1) * self.step + self.top + self.rows <= height
            and (self.grid_w - 1) * self.step + self.left + self.cols <= width
        )


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Run the forward convolution; shapes as in the package's contract."""
    rows, cols, c, k = w.shape
    window = _forward_window(x.shape[1:3], (rows, cols), stride, padding, dilation)
    packed = _pack(flat(w), rows * cols * c, k, x.dtype)
    y = np.empty((x.shape[0], window.grid_h, window.grid_w, k), x.dtype)
    _run(
        x, packed, b, y, window, np.arange(rows) * dilation, np.arange(cols) * dilation
    )
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
    """Run the input gradient, phase by phase."""
    c = w.shape[2]
    gx = np.empty((gy.shape[0], *size, c), gy.dtype)
    for phase_h in range(stride):
        for phase_w in range(stride):
            r, source_r, out_top, top = _phase(
                phase_h, w.shape[0], stride, padding, dilation
            )
            s, source_s, out_left, left = _phase(
                phase_w, w.shape[1], stride, padding, dilation
            )
            grid_h = -(-(size[0] - out_top) // stride)
            grid_w = -(-(size[1] - out_left) // stride)
            if grid_h <= 0 or grid_w <= 0:
                continue
            if not (r.size and s.size):  # no tap ever reads these pixels
                gx[:, out_top::stride, out_left::stride] = 0 if b is None else b
                continue
            window = Window(
                grid_h,
                grid_w,
                1,
                top,
                left,
                int(source_r[-1]) + 1,
                int(source_s[-1]) + 1,
                stride,
                out_top,
                out_left,
            )
            taps = w[r[:, None], s].transpose(0, 1, 3, 2)  # (R', S', K, C)
            packed = _pack(flat(taps), r.size * s.size * w.shape[3], c, gy.dtype)
            _run(gy, packed, b, gx, window, source_r, source_s)
    return gx


def _phase(
    phase: int, taps: int, stride: int, padding: int, dilation: int
) -> tuple[Ints, Ints, int, int]:
    """Work out one phase of one axis.

    Input pixel h meets tap r at output p = (h + padding - r·dilation) / stride. With
    h = first + u·stride this is p = u + entry - back_r, where back_r grows with r. So:
    the taps by growing p, their source offsets from the first, `first`, and the source
    of u = 0.
    """
    first = (phase - padding) % stride
    entry = (first + padding - phase) // stride
    r = np.arange(taps)
    r = r[(r * dilation) % stride == phase][::-1]
    back = (r * dilation - phase) // stride
    nearest = int(back[0]) if back.size else 0
    return r, nearest - back, first, entry - nearest


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the weight gradient over up to 8 groups of images, then add the groups."""
    rows, cols = kernel
    n, height, wide, c = x.shape
    k = gy.shape[3]
    window = _forward_window((height, wide), kernel, stride, padding, dilation)
    width = tile_width(x.dtype)
    padded_w = (window.grid_w - 1) * stride + window.cols
    taps, run = _runs(
        np.arange(rows) * dilation, np.arange(cols) * dilation, padded_w, c
    )
    groups = max(1, min(n, 8))
    panels = -(-k // width)
    partial = np.zeros(groups * panels * rows * cols * c * width, x.dtype)
    _weight_sums(flat(x), flat(gy), n, height, wide, c, k, window, taps, run, partial)
    total = partial.reshape(groups, panels, rows * cols * c, width)
    total = total.sum(axis=0) if groups > 1 else total[0]  # in the order of the groups
    gw = total.transpose(1, 0, 2).reshape(rows, cols, c, panels * width)
    return np.ascontiguousarray(gw[..., :k])


def _forward_window(
    image: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Window:
    rows, cols = ((taps - 1) * dilation + 1 for taps in kernel)
    grid_h = (image[0] + 2 * padding - rows) // stride + 1
    grid_w = (image[1] + 2 * padding - cols) // stride + 1
    return Window(grid_h, grid_w, stride, -padding, -padding, rows, cols, 1, 0, 0)


def _pack(matrix: Flat, length: int, columns: int, dtype: Any) -> Flat:
    width = tile_width(dtype)
    packed = np.empty(-(-columns // width) * length * width, dtype)
    pack_columns(matrix, length, columns, width, packed)
    return packed


def _runs(rows: Ints, cols: Ints, width: int, channels: int) -> tuple[Ints, int]:
    """List the offset of each run of values that a tile reads, and their length.

    Columns that are neighbours make one run with all their channels.
    """
    starts = rows * width
    if cols[-1] == cols.size - 1:
        return starts * channels, cols.size * channels
    return ((starts[:, None] + cols) * channels).reshape(-1), channels


def _run(
    source: Array,
    packed: Flat,
    bias: Array | None,
    out: Array,
    window: Window,
    rows: Ints,
    cols: Ints,
) -> None:
    n, height, width, c = source.shape
    k = out.shape[3]
    start = np.zeros(-(-k // tile_width(out.dtype)) * tile_width(out.dtype), out.dtype)
    if bias is not None:
        start[:k] = bias
    direct = window.inside(height, width)
    read_w = width if direct else (window.grid_w - 1) * window.step + window.cols
    taps, run = _runs(rows, cols, read_w, c)
    # Bands of output rows: at least 8 tasks a call where the size allows.
    band = min(window.grid_h, max(1, -(-n * window.grid_h // 8)))
    _gather(
        flat(source),
        (n, height, width, c),
        packed,
        start,
        out.reshape(-1),
        (out.shape[1], out.shape[2], k),
        window,
        taps,
        run,
        band,
        direct,
    )


def _gather_images(
    source: Flat,
    source_shape: tuple[int, int, int, int],
    packed: Flat,
    start: Flat,
    out: Flat,
    out_shape: tuple[int, int, int],
    window: Window,
    taps: Ints,
    run: int,
    band: int,
    direct: bool,
) -> None:
    n, height, width, c = source_shape
    out_h, out_w, k = out_shape
    tile = 64 // out.itemsize
    bands = (window.grid_h + band - 1) // band
    for task in prange(n * bands):
        image = task // bands
        first = (task % bands) * band
        rows = min(band, window.grid_h - first)
        pixels = rows * window.grid_w
        # Where each output pixel starts to read, and where it is written; the last
        # tile's missing rows repeat the last pixel and are not stored.
        base = np.empty(pixels + 5, np.int64)
        dest = np.empty(pixels, np.int64)
        top = first * window.step + window.top
        if direct:
            read = source
            origin = ((image * height + top) * width + window.left) * c
            read_w = width
        else:
            read_w = (window.grid_w - 1) * window.step + window.cols
            read_h = (rows - 1) * window.step + window.rows
            read = np.empty(read_h * read_w * c, source.dtype)
            pad_image(
                source, image, source_shape, top, window.left, read_h, read_w, read
            )
            origin = 0
        i = 0
        for u in range(rows):
            to = (first + u) * window.spread + window.out_top
            for v in range(window.grid_w):
                base[i] = origin + (u * read_w + v) * window.step * c
                column = v * window.spread + window.out_left
                dest[i] = ((image * out_h + to) * out_w + column) * k
                i += 1
        base[pixels:] = base[pixels - 1]
        spare = np.empty(6 * tile, out.dtype)
        length = taps.size * run
        for column in range(0, k, tile):
            panel = column * length
            columns = min(tile, k - column)
            for i in range(0, pixels, 6):
                sums = multiply_tile(
                    read, base, i, taps, run, packed, panel, start, column
                )
                rows_left = min(6, pixels - i)
                store_rows(sums, out, dest, i, rows_left, column, columns, spare)


def _pad_image(
    source: Flat,
    image: int,
    shape: tuple[int, int, int, int],
    top: int,
    left: int,
    rows: int,
    cols: int,
    padded: Flat,
) -> None:
    """Copy the rows × cols pixels from (top, left) on, zeros outside the image."""
    _, height, width, c = shape
    padded[:] = 0
    first = max(0, -left)
    last = min(cols, width - left)
    if last <= first:
        return
    count = (last - first) * c
    for row in range(max(0, -top), min(rows, height - top)):
        to = (row * cols + first) * c
        at = ((image * height + top + row) * width + left + first) * c
        for i in range(count):
            padded[to + i] = source[at + i]


def _weight_sums_grouped(
    x: Flat,
    gy: Flat,
    n: int,
    height: int,
    width: int,
    c: int,
    k: int,
    window: Window,
    taps: Ints,
    run: int,
    partial: Flat,
) -> None:
    """Fill partial (groups, panels, taps·run, tile) with sums over a group's images."""
    tile = 64 // x.itemsize
    panels = (k + tile - 1) // tile
    length = taps.size * run
    groups = partial.size // (panels * length * tile)
    pixels = window.grid_h * window.grid_w
    read_h = (window.grid_h - 1) * window.step + window.rows
    read_w = (window.grid_w - 1) * window.step + window.cols
    for task in prange(groups * taps.size):
        group = task // taps.size
        tap = task % taps.size
        read = np.empty(read_h * read_w * c, x.dtype)
        columns = np.empty(panels * pixels * tile, x.dtype)
        spare = np.empty(6 * tile, x.dtype)
        for image in range(group * n // groups, (group + 1) * n // groups):
            pad_image(
                x,
                image,
                (n, height, width, c),
                window.top,
                window.left,
                read_h,
                read_w,
                read,
            )
            one = gy[image * pixels * k : (image + 1) * pixels * k]
            pack_columns(one, pixels, k, tile, columns)
            for panel in range(panels):
                for l in range(0, run, 6):
                    to = ((group * panels + panel) * length + tap * run + l) * tile
                    sums = pixel_tile(
                        read,
                        taps[tap] + l,
                        min(6, run - l),
                        columns,
                        panel * pixels * tile,
                        window,
                        read_w * c,
                        c,
                    )
                    store_tile(sums, spare, 0)
                    for i in range(min(6, run - l) * tile):
                        partial[to + i] += spare[i]


def _pixel_tile(
    a: Flat,
    first: int,
    rows: int,
    w: Flat,
    at: int,
    window: Window,
    row_stride: int,
    c: int,
) -> Tile:
    """Return Σ_pixels a[pixel + first + i] · w[pixel, j]: 6 rows × 2 vectors.

    Rows beyond `rows` repeat the last one.
    """
    lanes = 32 // a.itemsize
    i1 = min(1, rows - 1)
    i2 = min(2, rows - 1)
    i3 = min(3, rows - 1)
    i4 = min(4, rows - 1)
    i5 = min(5, rows - 1)
    tile = 2 * lanes
    nothing = splat(a.dtype.type(0))
    a00 = a01 = a10 = a11 = a20 = a21 = nothing
    a30 = a31 = a40 = a41 = a50 = a51 = nothing
    for u in range(window.grid_h):
        pixel = first + u * window.step * row_stride
        for _ in range(window.grid_w):
            w0 = load(w, at)
            w1 = load(w, at + lanes)
            at += tile
            x = broadcast(a, pixel)
            a00 = fma(x, w0, a00)
            a01 = fma(x, w1, a01)
            x = broadcast(a, pixel + i1)
            a10 = fma(x, w0, a10)
            a11 = fma(x, w1, a11)
            x = broadcast(a, pixel + i2)
            a20 = fma(x, w0, a20)
            a21 = fma(x, w1, a21)
            x = broadcast(a, pixel + i3)
            a30 = fma(x, w0, a30)
            a31 = fma(x, w1, a31)
            x = broadcast(a, pixel + i4)
            a40 = fma(x, w0, a40)
            a41 = fma(x, w1, a41)
            x = broadcast(a, pixel + i5)
            a50 = fma(x, w0, a50)
            a51 = fma(x, w1, a51)
            pixel += window.step * c
    return a00, a01, a10, a11, a20, a21, a30, a31, a40, a41, a50, a51


pad_image = jit(_pad_image)
pixel_tile = jit(_pixel_tile, inline=True)
_gather = jit(_gather_images, parallel=True)
_weight_sums = jit(_weight_sums_grouped, parallel=True)
