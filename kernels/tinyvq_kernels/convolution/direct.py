"""2-D convolution on CPU cores: register tiles straight from a padded image.

Forward and input gradient are the same walk, `_gather`: for each output pixel, a few
runs of neighbouring input values times packed weights. Its geometry is a `Window`.

    forward         source pixel of output (u, v) is (u·stride - padding, ...)
    input gradient  every input row h with (h + padding) % stride == phase meets the
                    same taps r of the kernel: those with r·dilation ≡ phase. So the
                    gradient splits into stride² phases, each a stride-1 convolution of
                    gy with a part of the flipped kernel, written stride pixels apart.

Four taps, stride 2, padding 1, as the models use them: input rows 1, 3, 5, … meet taps
2 and 0, rows 0, 2, 4, … taps 3 and 1; each is a convolution of gy with two taps, and
nothing is multiplied by the zeros that a stride would put between gy's rows.

The weight gradient is another walk, and stands in `direct_weights`.
"""

import math

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import pack_columns
from tinyvq_kernels._simd import lanes_in
from tinyvq_kernels._tile import dot_rows, multiply_panels, tile_width
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.convolution._window import (
    Images,
    Window,
    forward_window,
    images_of,
    pad_image,
    phases_of,
    runs_of,
)
from tinyvq_kernels.convolution.direct_weights import conv2d_weight_grad

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"]


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
    taps, run = runs_of(rows, cols, read_w, c)
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


_gather = jit(_gather_bands, parallel=True)
