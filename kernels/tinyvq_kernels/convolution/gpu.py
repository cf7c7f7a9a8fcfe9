"""2-D convolution on CUDA: the host side of the rungs.

Each allocates, cuts the work into blocks and launches; what the kernels do is told in
`conv2d.cu`, `conv2d_registers.cu` and `add_parts.cu`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._cuda import REALS, Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array
from tinyvq_kernels.convolution._window import forward_window

THREADS = 128  # of plain
TILE = 16  # of tiled, as in conv2d.cu
SHAPES = ((64, 64), (128, 64), (128, 32))  # of tiles in registers, rows × columns
ENOUGH = 792  # blocks of 64 threads that keep a large device busy
MANY = 65536  # results that keep a device busy with a thread each
PART = 128  # of the inner index, at least, a part
MOST_PIXELS = 2**31 - 128
# Of the weight gradient, which has as many parts as fill a device: with 64 at most, a
# kernel of 3 × 3 × 32 × 32 and 8 images of 64 × 64 had 192 blocks, and took 55
# microseconds on an H200, where 12 would do. But the products of 64 pixels take about
# as long as writing and reading their sum; and 8 MB of sums stay in the second cache.
PIXELS, MOST_SUMS = 64, 2**21
FORWARD, INPUT, WEIGHT = range(3)  # which pass


def _macros(
    which: int, shape: tuple[int, int], source4: bool, target4: bool
) -> dict[str, int]:
    rows, columns = shape
    fours = {"SOURCE4": int(source4), "TARGET4": int(target4)}
    return {"GRADIENT": which, "ROWS": rows, "COLUMNS": columns, **fours}


STEPS = {real: Source("convolution/conv2d.cu", REALS[real]) for real in REALS}
TILES = {
    (which, shape, source4, target4): Source(
        "convolution/conv2d_registers.cu",
        _macros(which, shape, source4, target4),
    )
    for which in (FORWARD, INPUT, WEIGHT)
    for shape in SHAPES
    for source4 in (False, True)
    for target4 in (False, True)
}
ADD = Source("convolution/add_parts.cu")
SOURCES: dict[Any, Source] = {**STEPS, **TILES, "add": ADD}


class Geometry(NamedTuple):
    """The sizes of a convolution, in the order in which kernels take them."""

    n: int
    h: int
    w: int
    c: int
    r: int
    s: int
    k: int
    p: int
    q: int
    stride: int
    padding: int
    dilation: int

    @property
    def arguments(self) -> tuple[np.int32, ...]:
        """What kernels take."""
        return tuple(map(np.int32, self))


def geometry_of(
    image: tuple[int, ...],
    weights: tuple[int, ...],
    stride: int,
    padding: int,
    dilation: int,
) -> Geometry:
    """Of shapes (N,H,W,C) and (R,S,C,K), and the settings.

    Raises ValueError where kernels, which count pixels in 32 bits, could not.
    """
    (n, h, w, c), (r, s, _, k) = image, weights
    window = forward_window((h, w), (r, s), stride, padding, dilation)
    p, q = window.grid_h, window.grid_w
    if n * max(h * w, p * q) >= MOST_PIXELS:
        raise ValueError(f"on a GPU a batch has fewer than {MOST_PIXELS:,} pixels")
    return Geometry(n, h, w, c, r, s, k, p, q, stride, padding, dilation)


# ---- plain and tiled -----------------------------------------------------------------


def _step(
    kernel: str, rows: int, columns: int, arrays: tuple[Array, ...], *scalars: np.int32
) -> Array:
    """Run a kernel of conv2d.cu, whose last array is its result (rows, columns)."""
    if kernel.endswith("plain"):
        grid, block = (-(-rows * columns // THREADS), 1, 1), (THREADS, 1, 1)
    else:
        grid, block = (-(-rows // TILE), -(-columns // TILE), 1), (TILE, TILE, 1)
    source = STEPS[arrays[0].dtype.char]
    launch(source, kernel, grid=grid, block=block, arguments=(*arrays, *scalars))
    return arrays[-1]


def _conv2d_step(
    rung: str,
    x: Array,
    w: Array,
    b: Array | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    g = geometry_of(x.shape, w.shape, stride, padding, dilation)
    y = empty((g.n, g.p, g.q, g.k), x.dtype, like=x)
    arrays = (*map(contiguous, (x, w, w if b is None else b)), y)
    has_bias = np.int32(b is not None)
    return _step(f"conv2d_{rung}", g.n * g.p * g.q, g.k, arrays, has_bias, *g.arguments)


def _input_grad_step(
    rung: str,
    gy: Array,
    w: Array,
    size: tuple[int, int],
    b: Array | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    shape = (gy.shape[0], *size, w.shape[2])
    g = geometry_of(shape, w.shape, stride, padding, dilation)
    gx = empty(shape, gy.dtype, like=gy)
    arrays = (*map(contiguous, (gy, w, w if b is None else b)), gx)
    has_bias = np.int32(b is not None)
    kernel = f"conv2d_input_grad_{rung}"
    return _step(kernel, g.n * g.h * g.w, g.c, arrays, has_bias, *g.arguments)


def _weight_grad_step(
    rung: str,
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    shape = (*kernel, x.shape[3], gy.shape[3])
    g = geometry_of(x.shape, shape, stride, padding, dilation)
    arrays = (contiguous(x), contiguous(gy), empty(shape, x.dtype, like=x))
    name = f"conv2d_weight_grad_{rung}"
    return _step(name, g.r * g.s * g.c, g.k, arrays, *g.arguments)


# ---- tiles in registers --------------------------------------------------------------


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Run the forward convolution; shapes as in the package's contract."""
    g = geometry_of(x.shape, w.shape, stride, padding, dilation)
    y = empty((g.n, g.p, g.q, g.k), x.dtype, like=x)
    _gather(FORWARD, contiguous(x), contiguous(w), b, y, g)
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
    gx = empty(shape, gy.dtype, like=gy)
    _gather(INPUT, contiguous(gy), contiguous(w), b, gx, g)
    return gx


class Product(NamedTuple):
    """The matrix product that a pass is, of the largest phase of the stride."""

    rows: int
    columns: int
    inner: int
    phases: int


class Plan(NamedTuple):
    """How a rung runs a product: the kernel, its blocks, and parts of the inner index.

    apart  whether each part has blocks of its own, whose sums are then added up
    """

    source: Source
    kernel: str
    blocks: tuple[int, int]
    threads: int
    parts: int
    apart: bool
    shared: int = 0  # bytes of dynamic shared memory


def product_of(which: int, g: Geometry) -> Product:
    """Describe the forward pass, or the input gradient."""
    if which == FORWARD:
        return Product(g.n * g.p * g.q, g.k, g.r * g.s * g.c, 1)
    down, along, r, s = (-(-size // g.stride) for size in (g.h, g.w, g.r, g.s))
    return Product(g.n * down * along, g.c, r * s * g.k, g.stride**2)


def _gather(
    which: int, source: Array, w: Array, b: Array | None, target: Array, g: Geometry
) -> None:
    """Fill the target, from partial sums where there would be few blocks."""
    product = product_of(which, g)
    shape, blocks = _cut(product.rows, product.columns, product.phases)
    # By the inner index alone, or an image's result would depend on the batch.
    parts = max(1, min(8, product.inner // PART))
    alone = product.phases * _threads(shape, blocks) < ENOUGH * 64
    reads, makes = (
        ([source, w], [target]) if which == INPUT else ([source], [target, w])
    )
    plan = Plan(
        TILES[which, shape, _in_fours(*reads), _in_fours(*makes)],
        *("conv2d_register_tiled", blocks, shape[0] * shape[1] // 64),
        *(parts, alone and parts > 1),
    )
    fill(plan, source, w, b, target, g, product.phases)


def fill(
    plan: Plan,
    source: Array,
    w: Array,
    b: Array | None,
    target: Array,
    g: Geometry,
    phases: int,
) -> None:
    """Run a kernel that gathers the target (N,TH,TW,TC) of a source and weights."""
    _, sh, sw, sc = source.shape
    n, th, tw, tc = target.shape
    parts, apart = plan.parts, plan.apart
    sums = empty((parts, *target.shape), target.dtype, target) if apart else target
    bias = w if b is None else contiguous(b)
    has_bias = b is not None
    period = g.stride // math.gcd(g.stride, g.dilation)
    sizes = (n, sh, sw, sc, g.r, g.s, th, tw, tc, g.stride, g.padding, g.dilation)
    launch(
        plan.source,
        plan.kernel,
        grid=(*plan.blocks, phases * (parts if apart else 1)),
        block=(plan.threads, 1, 1),
        arguments=(
            *(source, w, bias, sums, np.int32(has_bias and not apart)),
            *map(np.int32, (*sizes, period, parts, 1 if apart else parts)),
        ),
        shared=plan.shared,
    )
    if apart:
        add_parts(sums, bias, target, np.int32(has_bias))


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
    x, gy, gw = contiguous(x), contiguous(gy), empty(made, x.dtype, like=x)
    shape, blocks = _cut(g.r * g.s * g.c, g.k, 1)
    pixels, threads = g.n * g.p * g.q, max(1, _threads(shape, blocks))
    most = MOST_SUMS // max(1, gw.size)
    parts = max(1, min(ENOUGH * 64 // threads, pixels // PIXELS, most))
    sums = gw if parts == 1 else empty((parts, *made), x.dtype, like=x)
    launch(
        TILES[WEIGHT, shape, _in_fours(x), _in_fours(gy, sums)],
        "conv2d_weight_grad_register_tiled",
        grid=(*blocks, parts),
        block=(shape[0] * shape[1] // 64, 1, 1),
        arguments=(x, gy, sums, *g.arguments, np.int32(parts)),
    )
    if parts > 1:
        add_many_parts(sums, gw)
    return gw


def _cut(
    rows: int, columns: int, phases: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose the shape of the tiles, and count the blocks down and across."""
    small, large, narrow = SHAPES
    if columns <= narrow[1]:
        shape = narrow
    else:
        across = -(-columns // large[1]) * phases
        shape = large if -(-rows // large[0]) * across >= ENOUGH else small
    return shape, (-(-rows // shape[0]), -(-columns // shape[1]))


def _threads(shape: tuple[int, int], blocks: tuple[int, int]) -> int:
    return blocks[0] * blocks[1] * (shape[0] * shape[1] // 64)


def add_parts(parts: Array, bias: Array, sums: Array, has_bias: np.int32) -> None:
    """Add (parts, ...) in order, then the bias."""
    channels = max(1, sums.shape[-1])
    launch(
        ADD,
        "add_parts",
        grid=(-(-sums.size // 256), 1, 1),
        block=(256, 1, 1),
        arguments=(
            *(parts, bias, sums, has_bias, np.int32(len(parts))),
            *(np.int64(sums.size), np.int32(channels)),
        ),
    )


def add_many_parts(parts: Array, sums: Array) -> None:
    """Add (parts, ...) in a fixed order, fast for hundreds of them."""
    if sums.size >= MANY:
        add_parts(parts, sums, sums, np.int32(0))
        return
    launch(
        ADD,
        "add_many_parts",
        grid=(-(-sums.size // 32), 1, 1),
        block=(32, 32, 1),
        arguments=(parts, sums, np.int32(len(parts)), np.int64(sums.size)),
    )


def _in_fours(*arrays: Array) -> bool:
    """Whether the channels of all come in fours, which are then aligned."""
    return all(a.shape[-1] % 4 == 0 for a in arrays)


STEP: dict[str, Callable[..., Array]] = {
    "conv2d": _conv2d_step,
    "conv2d_input_grad": _input_grad_step,
    "conv2d_weight_grad": _weight_grad_step,
}
REGISTERS: dict[str, Callable[..., Array]] = {
    "conv2d": conv2d,
    "conv2d_input_grad": conv2d_input_grad,
    "conv2d_weight_grad": conv2d_weight_grad,
}


def ladder(op: str) -> dict[str, Rung]:
    """List the rungs of an operation."""
    return {
        "plain": Rung(partial(STEP[op], "plain"), "a thread per result"),
        "tiled": Rung(
            partial(STEP[op], "tiled"), "a matrix product in tiles in shared memory"
        ),
        "register_tiled": Rung(
            REGISTERS[op],
            "8 × 8 sums a thread; phases of the stride; partial sums",
            dtypes=("float32",),
        ),
    }
