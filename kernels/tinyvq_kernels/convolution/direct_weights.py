"""The weight gradient of a 2-D convolution on CPU cores: sums over pixels.

    gw[r,s,c,k] = Σ_npq x[n,i,j,c] · gy[n,p,q,k]
                  i = p·stride + r·dilation - padding,  j alike of q and s

is a matrix product with pixels as its inner dimension: on the left a row for each entry
(r, s, c) of the kernel, on the right a column for each k. Nothing is gathered for it:
entry e of pixel p stands at x[sources[p] + entries[e]]. A register tile is six entries
times two vectors of k; where k are few and c many it is turned, six k times two vectors
of entries, which are neighbours in memory because images are channels-last.

Tasks share images out in groups, each with sums of its own. The groups are added in
order, so that the result does not depend on how many threads there are.
"""

import numpy as np

from tinyvq_kernels._jit import jit, prange
from tinyvq_kernels._layout import pack_panel
from tinyvq_kernels._simd import lanes_in
from tinyvq_kernels._tile import LINK, accumulate, outer_tile, tile_width
from tinyvq_kernels._types import Array, Flat, Ints
from tinyvq_kernels.convolution._window import (
    Images,
    Window,
    forward_window,
    images_of,
    pad_image,
    runs_of,
)


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
    reads = np.arange(rows) * dilation, np.arange(cols) * dilation
    taps, run = runs_of(*reads, read_w, c)
    entries = (taps[:, None] + np.arange(run)).reshape(-1)  # where each (r,s,c) reads
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
_weight_sums = jit(_weight_sums_of_groups, parallel=True)
_add_groups = jit(_sum_of_groups, parallel=True)
