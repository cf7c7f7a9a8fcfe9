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
    """Run the weight gradient over up to 8 groups of images, then add the groups."""
    rows, cols = kernel
    n, height, wide, c = x.shape
    k = gy.shape[3]
    window = forward_window((height, wide), kernel, stride, padding, dilation)
    width = tile_width(x.dtype)
    inside = window.inside(height, wide)
    read_w = wide if inside else (window.grid_w - 1) * stride + window.cols
    taps, run = _runs(np.arange(rows) * dilation, np.arange(cols) * dilation, read_w, c)
    # Six rows of a tile are entries of a run, its columns are k; of few k and many c,
    # the other way round.
    turned = k <= 6 and c % width == 0
    panels, entries = (
        (run // width, 6) if turned else (-(-k // width), -(-run // 6) * 6)
    )
    partial = np.zeros((min(n, 8), panels, taps.size, entries, width), x.dtype)
    _weight_sums(
        *(images_of(x), images_of(gy), window, taps, run, inside, turned),
        *(partial.shape, partial.reshape(-1)),
    )
    total = partial.sum(axis=0)  # in the groups' order
    if turned:  # (panels, taps, 6, width) -> (taps, run, k)
        gw = total[:, :, :k].transpose(1, 0, 3, 2).reshape(rows, cols, c, k)
    else:
        gw = total[:, :, :run].transpose(1, 2, 0, 3).reshape(rows, cols, c, -1)[..., :k]
    return np.ascontiguousarray(gw)


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
    taps: Ints,
    run: int,
    inside: bool,
    turned: bool,
    parts: tuple[int, int, int, int, int],
    partial: Flat,
) -> None:
    """Fill partial (groups, panels, taps, entries, tile) with sums over images."""
    c, k = x.channels, gy.channels
    groups, panels, _, entries, tile = parts
    pixels = window.grid_h * window.grid_w
    read_h = (window.grid_h - 1) * window.step + window.rows
    read_w = x.width if inside else (window.grid_w - 1) * window.step + window.cols
    packs = not turned and k % tile > 0  # the last panel is filled up with zeros
    for task in prange(groups * panels):
        group, panel = task // panels, task % panels
        # Where each output pixel reads in x, and where its k stand.
        sources, others = np.empty(pixels, np.int64), np.empty(pixels, np.int64)
        padded = np.zeros(0 if inside else read_h * read_w * c, partial.dtype)
        columns = np.zeros(pixels * tile if packs else 0, partial.dtype)
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
                    others[i] = i * tile if packs else (image * pixels + i) * k
                    i += 1
            to = task * taps.size * entries * tile
            if turned:
                add_turned(
                    *(gy.values, others, k, read, sources, panel * tile, taps),
                    *(partial, to),
                )
            elif packs:
                first = image * pixels
                pack_panel(gy.values, first, pixels, k, panel * tile, tile, columns)
                add_entries(read, sources, taps, run, columns, others, 0, partial, to)
            else:
                at = panel * tile
                add_entries(
                    read, sources, taps, run, gy.values, others, at, partial, to
                )


def _add_entries(
    read: Flat,
    sources: Ints,
    taps: Ints,
    run: int,
    columns: Flat,
    others: Ints,
    column: int,
    partial: Flat,
    to: int,
) -> None:
    """Add an image's sums: rows of a tile are six entries of a run, columns are k."""
    tile = 2 * lanes_in(read)
    for t in range(taps.size):
        for first in range(0, sources.size, LINK):
            last = min(first + LINK, sources.size)
            for l in range(0, run, 6):
                at, count = taps[t] + l, min(6, run - l)
                sums = outer_tile(
                    *(read, sources, first, last, at, count, columns, others, column)
                )
                here = to + l * tile
                accumulate(sums, partial, here)
        to += (run + 5) // 6 * 6 * tile


def _add_turned(
    gy: Flat,
    others: Ints,
    k: int,
    read: Flat,
    sources: Ints,
    column: int,
    taps: Ints,
    partial: Flat,
    to: int,
) -> None:
    """Add an image's sums: rows of a tile are the k, columns are entries of a run."""
    for t in range(taps.size):
        for first in range(0, sources.size, LINK):
            last = min(first + LINK, sources.size)
            at = taps[t] + column
            sums = outer_tile(gy, others, first, last, 0, k, read, sources, at)
            accumulate(sums, partial, to)
        to += 12 * lanes_in(read)


add_entries = jit(_add_entries)
add_turned = jit(_add_turned)
_gather = jit(_gather_bands, parallel=True)
_weight_sums = jit(_weight_sums_of_groups, parallel=True)
