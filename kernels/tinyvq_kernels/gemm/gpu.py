"""Matrix product on CUDA: the host side of `matmul.cu`."""

import math

import numpy as np

from tinyvq_kernels._cuda import REALS, Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array

SMALL, LARGE = 4, 8  # rows and columns a thread
SOURCES = {
    "f": Source("gemm/matmul.cu", REALS["f"]),
    "d": Source("gemm/matmul.cu", REALS["d"]),
    SMALL: Source("gemm/matmul.cu", REALS["f"] | {"EACH": SMALL}),
    LARGE: Source("gemm/matmul.cu", REALS["f"] | {"EACH": LARGE}),
}
# Below so many elements of c, large tiles would leave most of a device without work:
# 128 tiles of 128×128.
FEW = 128 * 128 * 128


def plain(a: Array, b: Array) -> Array:
    """Multiply; shapes as in the package's contract."""
    return _run(SOURCES[a.dtype.char], "plain", (8, 32), (32, 8), a, b)


def tiled(a: Array, b: Array) -> Array:
    """Multiply by tiles in shared memory."""
    return _run(SOURCES[a.dtype.char], "tiled", (16, 16), (16, 16), a, b)


def registers(a: Array, b: Array) -> Array:
    """Multiply by tiles in registers, larger ones where there are enough of them."""
    elements = a.size // max(a.shape[-1], 1) * b.shape[-1]
    each = SMALL if elements < FEW else LARGE
    return _run(SOURCES[each], "registers", (16 * each, 16 * each), (16, 16), a, b)


def _run(
    source: Source,
    rung: str,
    tile: tuple[int, int],
    threads: tuple[int, int],
    a: Array,
    b: Array,
) -> Array:
    """Launch a block for each tile (rows, columns) of c."""
    c = empty((*a.shape[:-1], b.shape[-1]), a.dtype, like=a)
    batch = math.prod(a.shape[:-2])
    (i, l), j = a.shape[-2:], b.shape[-1]
    (a, a_turned), (b, b_turned) = _as_it_stands(a), _as_it_stands(b)
    b_step = 0 if b.ndim == 2 else l * j
    if b.ndim == 2 and not a_turned:  # one b: the batch is nothing but more rows
        batch, i = 1, batch * i
    tiles = -(-i // tile[0]) * -(-j // tile[1])
    launch(
        source,
        f"matmul_{rung}",
        grid=(batch * tiles, 1, 1),
        block=(*threads, 1),
        arguments=(
            *(a, b, c, np.int32(i), np.int32(l), np.int32(j)),
            *(np.int64(i * l), np.int64(b_step)),
            *(np.int32(a_turned), np.int32(b_turned)),
        ),
    )
    return c


def _as_it_stands(matrices: Array) -> tuple[Array, bool]:
    """Return matrices row by row, and whether those are the columns, as they stand."""
    turned = matrices.swapaxes(-1, -2)
    if turned.flags.c_contiguous and not matrices.flags.c_contiguous:
        return contiguous(turned), True
    return contiguous(matrices), False


LADDER = {
    "plain": Rung(plain, "an element a thread"),
    "tiled": Rung(tiled, "tiles in shared memory, read once a block"),
    "registers": Rung(
        registers, "a tile of registers a thread, float4", dtypes=("float32",)
    ),
}
