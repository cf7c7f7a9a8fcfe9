"""2-D convolution on CUDA where an image has few channels: the host side of a rung.

What the kernels do is told in `conv2d_narrow.cu` and `conv2d_narrow_weights.cu`. Each
function takes any call: one that they are not for runs on the rung before.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array
from tinyvq_kernels.convolution import gpu
from tinyvq_kernels.convolution.gpu import Geometry, add_many_parts, geometry_of

FEW = 4  # channels
THREADS, WEIGHTS = 128, 8192  # of a block, as in conv2d_narrow.cu
CREW, SPAN = 64, 32  # threads, pixels of a chunk, as in conv2d_narrow_weights.cu
# The weight gradient has a part for two chunks, so that one is fetched while the other
# is multiplied. More blocks than a large device holds at once (10 on each of 132
# multiprocessors), or more parts than add_many_parts adds in a few steps, gain nothing.
MOST_BLOCKS, MOST_PARTS = 1320, 512

GATHER = {
    (macro, value): Source("convolution/conv2d_narrow.cu", {macro: value})
    for macro, values in (("COLUMNS", (32, 64)), ("FEW", (1, 2, 3, 4)))
    for value in values
}
WEIGHT = {
    columns: Source("convolution/conv2d_narrow_weights.cu", {"COLUMNS": columns})
    for columns in (32, 64)
}
SOURCES: dict[Any, Source] = {**GATHER, **WEIGHT}


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Run the forward convolution; shapes as in the package's contract."""
    g = geometry_of(x.shape, w.shape, stride, padding, dilation)
    run = _kernel_for(g.c, g.k, g.r * g.s)
    if run is None or not _counts_in_32_bits(g):
        return gpu.conv2d(x, w, b, stride, padding, dilation)
    y = empty((g.n, g.p, g.q, g.k), x.dtype, like=x)
    run(False, contiguous(x), contiguous(w), b, y, g)
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
    """Run the input gradient, all phases of the stride in one launch."""
    shape = (gy.shape[0], *size, w.shape[2])
    g = geometry_of(shape, w.shape, stride, padding, dilation)
    taps = -(-g.r // g.stride) * -(-g.s // g.stride)
    run = _kernel_for(g.k, g.c, taps) if 1 in (g.stride, g.dilation) else None
    if run is None or not _counts_in_32_bits(g):
        return gpu.conv2d_input_grad(gy, w, size, b, stride, padding, dilation)
    gx = empty(shape, gy.dtype, like=gy)
    run(True, contiguous(gy), contiguous(w), b, gx, g)
    return gx


def _counts_in_32_bits(g: Geometry) -> bool:
    """Tell whether the kernels' numbers are large enough for such arrays."""
    return max(g.n * g.h * g.w * g.c, g.n * g.p * g.q * g.k) < 2**30


def _kernel_for(source: int, target: int, taps: int) -> Callable[..., None] | None:
    """Choose by the channels of both, and the taps of a phase at most."""
    kept = source % 4 == 0 and taps * source * target <= WEIGHTS
    if 0 < target <= FEW and source > 0 and kept:
        return _to_few
    return _from_few if 0 < source <= FEW else None


def _from_few(
    gradient: bool, source: Array, w: Array, b: Array | None, target: Array, g: Geometry
) -> None:
    columns = _columns(target.shape[3])
    pixels = THREADS // (columns // 4) * 4  # of a block
    rows, phases = _largest_phase(gradient, target, g)
    launch(
        GATHER["COLUMNS", columns],
        "conv2d_from_few_channels",
        grid=(-(-rows // pixels), -(-target.shape[3] // columns), phases),
        block=(THREADS, 1, 1),
        arguments=_arguments(gradient, source, w, b, target, g),
    )


def _to_few(
    gradient: bool, source: Array, w: Array, b: Array | None, target: Array, g: Geometry
) -> None:
    lanes = 4  # a lane has 8 channels, or more where there are over 256
    while lanes < 32 and lanes * 8 < source.shape[3]:
        lanes *= 2
    rows, phases = _largest_phase(gradient, target, g)
    launch(
        GATHER["FEW", target.shape[3]],
        "conv2d_to_few_channels",
        grid=(-(-rows // (THREADS // lanes * 4)), 1, phases),
        block=(THREADS, 1, 1),
        arguments=(*_arguments(gradient, source, w, b, target, g), np.int32(lanes)),
    )


def _columns(channels: int) -> int:
    return 32 if channels <= 32 else 64


def _largest_phase(gradient: bool, target: Array, g: Geometry) -> tuple[int, int]:
    """Count the pixels of the largest phase, and the phases."""
    n, th, tw, _ = target.shape
    spread = g.stride if gradient else 1
    return n * -(-th // spread) * -(-tw // spread), spread**2


def _arguments(
    gradient: bool, source: Array, w: Array, b: Array | None, target: Array, g: Geometry
) -> tuple[Any, ...]:
    """List what both kernels take."""
    _, sh, sw, sc = source.shape
    n, th, tw, tc = target.shape
    sizes = (n, sh, sw, sc, g.r, g.s, th, tw, tc, g.stride, g.padding, g.dilation)
    numbers = (b is not None, gradient, *sizes)
    bias = w if b is None else contiguous(b)
    return (source, w, bias, target, *map(np.int32, numbers))


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the weight gradient, in partial sums over pixels."""
    made = (*kernel, x.shape[3], gy.shape[3])
    g = geometry_of(x.shape, made, stride, padding, dilation)
    turned = g.c > FEW
    few, wide = (gy, x) if turned else (x, gy)
    fits = 0 < few.shape[3] <= FEW and (g.stride == 1 or not turned)
    if not fits or 0 in few.shape + wide.shape or not _counts_in_32_bits(g):
        return gpu.conv2d_weight_grad(x, gy, kernel, stride, padding, dilation)
    (_, fh, fw, fc), (n, wh, ww, wc) = few.shape, wide.shape
    columns = _columns(wc)
    rows = CREW // (columns // 4) * 4
    blocks = (-(-g.r * g.s * fc // rows), -(-wc // columns))
    full = MOST_BLOCKS // (blocks[0] * blocks[1])
    parts = max(1, min(n * wh * ww // (2 * SPAN), MOST_PARTS, full))
    gw = empty(made, x.dtype, like=x)
    sums = gw if parts == 1 else empty((parts, *made), x.dtype, like=x)
    settings = (g.stride, g.padding, g.dilation, parts)
    numbers = (turned, n, fh, fw, fc, g.r, g.s, wh, ww, wc, *settings)
    launch(
        WEIGHT[columns],
        "conv2d_weight_grad_narrow",
        grid=(*blocks, parts),
        block=(CREW, 1, 1),
        arguments=(contiguous(few), contiguous(wide), sums, *map(np.int32, numbers)),
    )
    if parts > 1:
        add_many_parts(sums, gw)
    return gw


NARROW: dict[str, Callable[..., Array]] = {
    "conv2d": conv2d,
    "conv2d_input_grad": conv2d_input_grad,
    "conv2d_weight_grad": conv2d_weight_grad,
}


def ladder(op: str) -> dict[str, Rung]:
    """List the rungs of an operation."""
    what = f"tiles for images of at most {FEW} channels, or else register_tiled"
    return {"narrow": Rung(NARROW[op], what, dtypes=("float32",))}
