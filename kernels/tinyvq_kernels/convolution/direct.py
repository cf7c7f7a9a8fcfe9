"""2-D convolution on CPU cores: register tiles straight from a padded image.

Forward and input gradient are the same walk, `_gather`: for each output pixel, a few
runs of neighbouring input values times packed weights. Its geometry is a `Window`.

    forward         source pixel of output (u, v) is (u·stride - padding, ...)
    input gradient  every input row h with (h + padding) % stride == phase meets the
                    same taps r of the kernel: those with r·dilation ≡ phase. So the
                    gradient splits into stride² phases, each a stride-1 convolution of
                    gy with a part of the flipped kernel, written stride pixels apart.

The weight gradient has pixels as its inner dimension: six kernel entries (r, s, c)
times two vectors of output channels.
"""

import math

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import pack_columns, pack_panel
from tinyvq_kernels._simd import lanes_in
from tinyvq_kernels._tile import (
    LINK,
    accumulate,
    dot_rows,
    multiply_panels,
    outer_tile,
    tile_width,
)
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.convolution._window import (
    Images,
    Window,
    forward_window,
    images_of,
    pad_image,
    phases_of,
)


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Run the forward convolution; shapes as in the package's contract."""
    rows, cols, _, k = w.shape
    window = forward_window(x.shape[1:3], (rows, cols), stride, padding, dilation)
    packed = _pack(w)
    y = np.empty((x.shape[0], window.grid_h, window.grid_w, k), x.dtype)
    _run(
        x,
        packed,
        b,
        y,
        window,
        np.arange(rows) * dilation,
        np.arange(cols) * dilation,
        _is_narrow(w),
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
    if w.shape[:2] == (1, 1) and (stride, padding) == (1, 0):  # a matrix product
        return conv2d(gy, w.swapaxes(2, 3), b, 1, 0, 1)
    c = w.shape[2]
    gx = np.empty((gy.shape[0], *size, c), gy.dtype)
    for phase in phases_of(size, w.shape[:2], stride, padding, dilation):
        window = phase.window
        if not (phase.rows.size and phase.cols.size):  # no tap reads these pixels
            here = gx[:, window.out_top :: stride, window.out_left :: stride]
            here[...] = 0 if b is None else b
            continue
        taps = w[phase.rows[:, None], phase.cols].transpose(0, 1, 3, 2)  # (R',S',K,C)
        reads = phase.row_sources, phase.col_sources
        _run(gy, _pack(taps), b, gx, window, *reads, _is_narrow(taps))
    return gx


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the weight gradient over groups of images, then add the groups up."""
    rows, cols = kernel
    n, height, wide, c = x.shape
    k = gy.shape[3]
    window = forward_window((height, wide), kernel, stride, padding, dilation)
    width = tile_width(x.dtype)
    inside = window.inside(height, wide)
    read_w = wide if inside else (window.grid_w - 1) * stride + window.cols
    taps, run = _runs(np.arange(rows) * dilation, np.arange(cols) * dilation, read_w, c)
    entries = (taps[:, None] + np.arange(run)).reshape(-1)  # where each (r,s,c) reads
    # Six rows of a tile are entries, its columns are k; of few k and many c, the other
    # way round.
    turned = 0 < k <= 6 and c > 0 and c % width == 0
    down, across = (k, entries.size) if turned else (entries.size, k)
    tiles, panels = -(-down // 6), -(-across // width)
    groups = min(n, 8 if turned else max(1, -(-8 // max(panels, 1))))
    parts = groups, panels, tiles * 6, width
    partial = np.zeros(parts, x.dtype)
    images = images_of(x), images_of(gy)
    _weight_sums(*images, window, entries, inside, turned, parts, partial.reshape(-1))
    gw = np.empty((rows, cols, c, k), x.dtype)
    _add_groups(partial.reshape(-1), parts, down, across, turned, gw.reshape(-1))
    return gw


def _is_narrow(taps: Array) -> bool:
    """Tell whether a kernel (R,S,C,K) makes so few channels that dots are better."""
    lanes = tile_width(taps.dtype) // 2
    _, _, c, k = taps.shape
    return bool(1 <= k <= 3 and c > 0 and c % lanes == 0)


def _pack(taps: Array) -> Flat:
    """Put a kernel (R,S,C,K) into panels, or into three rows where K is that small."""
    *runs, columns = taps.shape
    length = math.prod(runs)
    if _is_narrow(taps):
        rows = np.zeros((3, length), taps.dtype)
        rows[:columns] = taps.reshape(length, columns).T
        return rows.reshape(-1)
    width = tile_width(taps.dtype)
    packed = np.empty(-(-columns // width) * length * width, taps.dtype)
    pack_columns(flat(taps), length, columns, width, packed)
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
    narrow: bool,
) -> None:
    n, height, width, c = source.shape
    k = out.shape[3]
    if window == Window(height, width, 1, 0, 0, 1, 1, 1, 0, 0):  # pixel by pixel
        source = source.reshape(1, n * height, width, c)
        out = out.reshape(1, n * height, width, k)
        window, n, height = window._replace(grid_h=n * height), 1, n * height
    start = np.zeros(-(-k // tile_width(out.dtype)) * tile_width(out.dtype), out.dtype)
    if bias is not None:
        start[:k] = bias
    inside = window.inside(height, width)
    read_w = width if inside else (window.grid_w - 1) * window.step + window.cols
    taps, run = _runs(rows, cols, read_w, c)
    # Bands of output rows: at least 8 tasks a call where the size allows.
    band = min(window.grid_h, max(1, -(-n * window.grid_h // 8)))
    _gather(
        *(images_of(source), packed, start, images_of(out), window),
        *(taps, run, band, inside, narrow),
    )


def _gather_bands(
    source: Images,
    packed: Flat,
    start: Flat,
    out: Images,
    window: Window,
    taps: Ints,
    run: int,
    band: int,
    inside: bool,
    narrow: bool,
) -> None:
    c, k = source.channels, out.channels
    bands = (window.grid_h + band - 1) // band
    for task in prange(source.number * bands):
        image, first = task // bands, task % bands * band
        rows = min(band, window.grid_h - first)
        pixels = rows * window.grid_w
        # Where each output pixel starts to read, and where it is written; the last
        # tile's missing rows repeat the last pixel and are not stored.
        base = np.empty(pixels + 5, np.int64)
        dest = np.empty(pixels, np.int64)
        top = first * window.step + window.top
        read, read_w = source.values, source.width
        origin = ((image * source.height + top) * source.width + window.left) * c
        if not inside:
            read_w = (window.grid_w - 1) * window.step + window.cols
            read_h = (rows - 1) * window.step + window.rows
            read, origin = np.empty(read_h * read_w * c, read.dtype), 0
            pad_image(source, image, top, window.left, read_h, read_w, read)
        i = 0
        for u in range(rows):
            row = image * out.height + (first + u) * window.spread + window.out_top
            to = (row * out.width + window.out_left) * k
            for v in range(window.grid_w):
                base[i] = origin + (u * read_w + v) * window.step * c
                dest[i] = to + v * window.spread * k
                i += 1
        base[pixels:] = base[pixels - 1]
        if narrow:
            dot_rows(read, base, pixels, taps, run, packed, start, out.values, dest, k)
        else:
            spare = np.empty(12 * lanes_in(read), read.dtype)
            multiply_panels(
                *(read, base, pixels, taps, run, packed, 0, start),
                *(out.values, dest, 0, k, spare),
            )


def _weight_sums_of_groups(
    x: Images,
    gy: Images,
    window: Window,
    entries: Ints,
    inside: bool,
    turned: bool,
    parts: tuple[int, int, int, int],
    partial: Flat,
) -> None:
    """Fill partial (groups, panels, 6 · tiles, tile width) with sums over images."""
    c, k = x.channels, gy.channels
    groups, panels, height, width = parts
    pixels = window.grid_h * window.grid_w
    read_h = (window.grid_h - 1) * window.step + window.rows
    read_w = x.width if inside else (window.grid_w - 1) * window.step + window.cols
    packs = not turned and k % width > 0  # the last panel is filled up with zeros
    at_once = panels if turned else 1
    for task in prange(groups * panels // at_once):
        group, panel = task * at_once // panels, task * at_once % panels
        # Where each output pixel reads in x, and where its k stand.
        sources, others = np.empty(pixels, np.int64), np.empty(pixels, np.int64)
        padded = np.zeros(0 if inside else read_h * read_w * c, partial.dtype)
        columns = np.zeros(pixels * width if packs else 0, partial.dtype)
        all_k = np.arange(k)
        for image in range(
            group * x.number // groups, (group + 1) * x.number // groups
        ):
            read = x.values if inside else padded
            origin = ((image * x.height + window.top) * x.width + window.left) * c
            if not inside:
                origin = 0
                pad_image(x, image, window.top, window.left, read_h, read_w, padded)
            i = 0
            for u in range(window.grid_h):
                for v in range(window.grid_w):
                    sources[i] = origin + (u * read_w + v) * window.step * c
                    others[i] = i * width if packs else (image * pixels + i) * k
                    i += 1
            to = (group * panels + panel) * height * width
            if turned:
                for j in range(panels):
                    here = to + j * height * width
                    add_products(
                        *(gy.values, others, all_k, read, sources, entries[j * width]),
                        *(partial, here),
                    )
            elif packs:
                first = image * pixels
                pack_panel(gy.values, first, pixels, k, panel * width, width, columns)
                add_products(read, sources, entries, columns, others, 0, partial, to)
            else:
                at = panel * width
                add_products(read, sources, entries, gy.values, others, at, partial, to)


def _add_products(
    a: Flat,
    rows: Ints,
    entries: Ints,
    w: Flat,
    w_rows: Ints,
    column: int,
    partial: Flat,
    to: int,
) -> None:
    """Add an image's sums over pixels, six entries of a by two vectors of w a tile."""
    for first in range(0, rows.size, LINK):
        last = min(first + LINK, rows.size)
        for e in range(0, entries.size, 6):
            sums = outer_tile(a, rows, first, last, entries, e, w, w_rows, column)
            accumulate(sums, partial, to + e * 2 * lanes_in(w))


def _sum_of_groups(
    partial: Flat,
    parts: tuple[int, int, int, int],
    down: int,
    across: int,
    turned: bool,
    gw: Flat,
) -> None:
    """Add the groups up, in order, into gw (down, across), or turned (across, down)."""
    groups, panels, height, width = parts
    for row in prange(down):
        for panel in range(panels):
            valid = min(width, across - panel * width)
            total = np.zeros(width, partial.dtype)
            for group in range(groups):
                at = ((group * panels + panel) * height + row) * width
                here = partial[at : at + width]
                for j in range(width):
                    total[j] += here[j]
            for j in range(valid):
                column = panel * width + j
                gw[column * down + row if turned else row * across + column] = total[j]


add_products = jit(_add_products)
_gather = jit(_gather_bands, parallel=True)
_weight_sums = jit(_weight_sums_of_groups, parallel=True)
_add_groups = jit(_sum_of_groups, parallel=True)
