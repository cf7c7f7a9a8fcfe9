"""Which source pixels an output pixel reads, and padded copies of images."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinyvq_kernels._door import flat
from tinyvq_kernels._jit import jit
from tinyvq_kernels._simd import copy
from tinyvq_kernels._types import Array, Flat, Ints


class Images(NamedTuple):
    """Images (number, height, width, channels), as one row of values."""

    values: Flat
    number: int
    height: int
    width: int
    channels: int


def images_of(array: Array) -> Images:
    """View an array (N,H,W,C) so; what is not contiguous is copied."""
    return Images(flat(array), *array.shape)


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


def forward_window(
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


def phase_of(
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


class Phase(NamedTuple):
    """One of stride² parts of an input gradient, a convolution of gy with stride 1.

    rows, cols                 taps of the kernel that it meets, by growing source pixel
    row_sources, col_sources   their sources, from the window's corner on
    """

    rows: Ints
    cols: Ints
    row_sources: Ints
    col_sources: Ints
    window: Window


def phases_of(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Iterator[Phase]:
    """List the phases of the input gradient that have pixels in an image (H, W)."""
    of_rows, of_cols = (
        [phase_of(phase, taps, stride, padding, dilation) for phase in range(stride)]
        for taps in kernel
    )
    for rows, row_sources, out_top, top in of_rows:
        for cols, col_sources, out_left, left in of_cols:
            grid_h = -(-(size[0] - out_top) // stride)
            grid_w = -(-(size[1] - out_left) // stride)
            if grid_h > 0 and grid_w > 0:
                reach_h, reach_w = (
                    int(sources[-1]) + 1 if sources.size else 0
                    for sources in (row_sources, col_sources)
                )
                window = Window(
                    *(grid_h, grid_w, 1, top, left, reach_h, reach_w),
                    *(stride, out_top, out_left),
                )
                yield Phase(rows, cols, row_sources, col_sources, window)


def runs_of(rows: Ints, cols: Ints, width: int, channels: int) -> tuple[Ints, int]:
    """List the offset of each run of values that a tile reads, and their length.

    Columns that are neighbours make one run with all their channels.
    """
    starts = rows * width
    if cols[-1] == cols.size - 1:
        return starts * channels, cols.size * channels
    return ((starts[:, None] + cols) * channels).reshape(-1), channels


def _pad_image(
    images: Images, image: int, top: int, left: int, rows: int, cols: int, padded: Flat
) -> None:
    """Copy rows × cols pixels from (top, left) on, zeros outside the image."""
    height, width, c = images.height, images.width, images.channels
    first = min(max(0, -left), cols)
    last = max(min(cols, width - left), first)
    for row in range(rows):
        to = padded[row * cols * c : (row + 1) * cols * c]
        if not 0 <= top + row < height:
            to[:] = 0
            continue
        to[: first * c] = 0
        to[last * c :] = 0
        begin = ((image * height + top + row) * width + left + first) * c
        inside = (row * cols + first) * c
        copy(padded, inside, images.values, begin, (last - first) * c)


pad_image = jit(_pad_image)
