"""2-D convolution on CUDA's tensor cores: the host side of the rung `tensor_cores`.

float32 in and out, sums in float32, but the factors of products rounded to TF32: each
product is off by up to 2⁻¹⁰ of itself, and infinity makes sums NaN. How it is done is
told in `conv2d_tensor.cu`. It runs only where it is asked for,

    with use_kernels(conv2d="tensor_cores", conv2d_input_grad="tensor_cores",
                     conv2d_weight_grad="tensor_cores"):

and on devices of compute capability 8.0 or later. Where channels do not come in fours,
as an image's three, and for arrays of more than 2³⁰ values, `narrow` runs
instead. On NumPy's arrays, in the emulator, shuffles and fmas stand for the tensor
cores.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array
from tinyvq_kernels.convolution import gpu_narrow
from tinyvq_kernels.convolution.gpu import (
    FORWARD,
    INPUT,
    WEIGHT,
    Geometry,
    Plan,
    add_many_parts,
    fill,
    geometry_of,
    product_of,
)


class Tile(NamedTuple):
    """What a block makes, by how many warps; how many chunks it has room for."""

    rows: int
    columns: int
    warps: tuple[int, int]  # down and across
    stages: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.warps[0] * self.warps[1] * 32

    @property
    def shared(self) -> int:
        """Bytes of shared memory: a stage has 16 entries of each row and column."""
        return self.stages * (self.rows + self.columns) * 16 * 4


SMALL = Tile(64, 64, (2, 2), 6)
WIDE = Tile(128, 128, (2, 2), 4)
MIDDLE = Tile(128, 64, (2, 2), 4)
NARROW = Tile(128, 32, (4, 1), 4)
TILES = SMALL, WIDE, MIDDLE, NARROW
ENOUGH = 264  # blocks that keep a large device busy: two a multiprocessor
PART = 256  # of the inner index, at least, a part
MOST_PARTS = 4, 64  # of the inner index: of channels and taps, of pixels
MOST = 2**30  # values of an input, which the kernels count in 32 bits


def source_of(which: int, tile: Tile, portable: bool) -> Source:
    """Name the kernel of a pass; portable where there are no tensor cores."""
    macros = {
        **{"GRADIENT": which, "ROWS": tile.rows, "COLUMNS": tile.columns},
        **{"WARPS_DOWN": tile.warps[0], "WARPS_ACROSS": tile.warps[1]},
        **{"STAGES": tile.stages, "PORTABLE": int(portable)},
    }
    return Source("convolution/conv2d_tensor.cu", macros)


TENSOR = {
    (which, tile, portable): source_of(which, tile, portable)
    for which in (FORWARD, INPUT, WEIGHT)
    for tile in TILES
    for portable in (False, True)
}
SOURCES: dict[Any, Source] = {key: TENSOR[key] for key in TENSOR if not key[2]}


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Run the forward convolution; shapes as in the package's contract."""
    if not _takes(x, w, w.shape[2:]):
        return gpu_narrow.conv2d(x, w, b, stride, padding, dilation)
    g = geometry_of(x.shape, w.shape, stride, padding, dilation)
    y = empty((g.n, g.p, g.q, g.k), x.dtype, like=x)
    _gather(FORWARD, x, w, b, y, g)
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
    if not _takes(gy, w, w.shape[2:]):
        return gpu_narrow.conv2d_input_grad(gy, w, size, b, stride, padding, dilation)
    shape = (gy.shape[0], *size, w.shape[2])
    g = geometry_of(shape, w.shape, stride, padding, dilation)
    gx = empty(shape, gy.dtype, like=gy)
    _gather(INPUT, gy, w, b, gx, g)
    return gx


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the weight gradient, in partial sums over pixels."""
    if not _takes(x, gy, (x.shape[3], gy.shape[3])):
        return gpu_narrow.conv2d_weight_grad(x, gy, kernel, stride, padding, dilation)
    made = (*kernel, x.shape[3], gy.shape[3])
    g = geometry_of(x.shape, made, stride, padding, dilation)
    gw, portable = empty(made, x.dtype, like=x), isinstance(x, np.ndarray)
    most = min(MOST_PARTS[1], g.n * g.p * g.q // PART)
    tile, blocks = _cut(g.r * g.s * g.c, g.k, most)
    parts = max(1, min(most, ENOUGH // max(1, blocks[0] * blocks[1])))
    sums = gw if parts == 1 else empty((parts, *made), x.dtype, like=x)
    launch(
        TENSOR[WEIGHT, tile, portable],
        "conv2d_weight_grad_tensor_cores",
        grid=(*blocks, parts),
        block=(tile.threads, 1, 1),
        arguments=(
            *(contiguous(x), contiguous(gy), sums, *g.arguments),
            np.int32(parts),
        ),
        shared=tile.shared,
    )
    if parts > 1:
        add_many_parts(sums, gw)
    return gw


def _takes(first: Array, second: Array, channels: tuple[int, ...]) -> bool:
    """Whether a float4 is of one pixel, or tap, and offsets fit into 32 bits."""
    return max(first.size, second.size) <= MOST and all(c % 4 == 0 for c in channels)


def _gather(
    which: int, source: Array, w: Array, b: Array | None, target: Array, g: Geometry
) -> None:
    product, portable = product_of(which, g), isinstance(w, np.ndarray)
    # By the inner index alone, or an image's result would depend on the batch.
    parts = max(1, min(MOST_PARTS[0], product.inner // PART))
    tile, blocks = _cut(product.rows, product.columns, product.phases)
    apart = parts > 1 and not _is_enough(blocks, product.phases)
    plan = Plan(
        TENSOR[which, tile, portable],
        *("conv2d_tensor_cores", blocks, tile.threads, parts, apart, tile.shared),
    )
    fill(plan, contiguous(source), contiguous(w), b, target, g, product.phases)


def _cut(rows: int, columns: int, times: int) -> tuple[Tile, tuple[int, int]]:
    """Choose the tile, and count the blocks down and across.

    times  how many such products there are, phases or parts
    """
    even = -(-columns // 64) % 2 == 0  # else half of the last wide tile would be idle
    large = NARROW if columns <= 32 else WIDE if even else MIDDLE
    for tile in (large, SMALL):
        blocks = -(-rows // tile.rows), -(-columns // tile.columns)
        if _is_enough(blocks, times):
            break
    return tile, blocks


def _is_enough(blocks: tuple[int, int], times: int) -> bool:
    return blocks[0] * blocks[1] * times >= ENOUGH * 3 // 4


RUNS: dict[str, Callable[..., Array]] = {
    "conv2d": conv2d,
    "conv2d_input_grad": conv2d_input_grad,
    "conv2d_weight_grad": conv2d_weight_grad,
}


def ladder(op: str) -> dict[str, Rung]:
    """List the rung of an operation."""
    what = "products of TF32 on tensor cores, copies that do not wait"
    rung = Rung(RUNS[op], what, ("float32",), emulated=False, tf32=True)
    return {"tensor_cores": rung}
