"""Adam, and the sum of all squares, on CUDA: the host side of the .cu files here.

The `Table` of all arrays is made once for arrays that stay where they are, as those of
a captured step do; then a step is one launch.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._cuda import (
    Rung,
    Source,
    address_of,
    contiguous,
    empty,
    launch,
    module_of,
)
from tinyvq_kernels._graph import keep
from tinyvq_kernels._types import Array

THREADS = 256
PIECE, SQUARES_PIECE = 1024, 4096  # values per block, as in the .cu files
ADAM = {
    "f": Source("optimizer/adam.cu", {"REAL": "float", "SQRT": "sqrtf"}),
    "d": Source("optimizer/adam.cu", {"REAL": "double", "SQRT": "sqrt"}),
}
SQUARES = {
    "f": Source("optimizer/square_sum.cu", {"REAL": "float"}),
    "d": Source("optimizer/square_sum.cu", {"REAL": "double"}),
}
SOURCES: dict[Any, Source] = {
    **{("adam", char): source for char, source in ADAM.items()},
    **{("squares", char): source for char, source in SQUARES.items()},
}


class Table(NamedTuple):
    """Where all arrays are, and which piece of which one is a block's.

    arrays     K of each kind (parameters, gradients, ...), kept alive here; contiguous
    addresses  of those, int64
    sizes      (K,) values, int64
    owners     (B,) which of the K is each block's, int32
    firsts     (B,) its first value of it, int64
    """

    arrays: tuple[Array, ...]
    addresses: Array
    sizes: Array
    owners: Array
    firsts: Array


def table_of(piece: int, *kinds: Sequence[Array]) -> Table:
    """List arrays, which must be contiguous, and cut them into pieces."""
    arrays, like = tuple(chain(*kinds)), kinds[0][0]
    addresses = tuple(map(address_of, arrays))
    sizes = tuple(array.size for array in kinds[0])
    device = str(getattr(like, "device", "cpu"))
    table = Table(arrays, *_cut(addresses, sizes, piece, module_of(like), device))
    return keep(table)


@lru_cache(maxsize=32)
def _cut(
    addresses: tuple[int, ...],
    sizes: tuple[int, ...],
    piece: int,
    module: Any,
    device: str,
) -> tuple[Array, Array, Array, Array]:
    """Make all of a table but the arrays, which mostly stay where they were."""
    count = np.array(sizes, np.int64)
    pieces = -(-count // piece)
    owners = np.repeat(np.arange(count.size, dtype=np.int32), pieces)
    begins = np.repeat(pieces.cumsum() - pieces, pieces)
    firsts = (np.arange(owners.size) - begins) * piece
    words = np.array(addresses, np.int64)
    words.flags.writeable = False
    place = module.asarray
    return place(words), place(count), place(owners), place(firsts)


def fused(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    numbers: Array,
) -> None:
    """Update all parameters in one launch; arguments as in the reference."""
    table = table_of(PIECE, parameters, [*map(contiguous, gradients)], m, v)
    k = len(parameters)
    launch(
        ADAM[numbers.dtype.char],
        "adam_fused",
        grid=(table.owners.size, 1, 1),
        block=(THREADS, 1, 1),
        arguments=(
            *table[1:],
            *(numbers[:k], numbers[k : 2 * k], numbers[2 * k :], np.int32(k)),
        ),
        reached=table.arrays,
    )


def plain(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    numbers: Array,
) -> None:
    """Update with a launch per parameter; arguments as in the reference."""
    k = len(parameters)
    for i, (p, g, *moments) in enumerate(zip(parameters, gradients, m, v, strict=True)):
        rate, root = (numbers[at : at + 1] for at in (i, k + i))
        launch(
            ADAM[p.dtype.char],
            "adam_plain",
            grid=(-(-p.size // THREADS), 1, 1),
            block=(THREADS, 1, 1),
            arguments=(
                *(p, contiguous(g), *moments, numbers[2 * k :], rate, root),
                np.int64(p.size),
            ),
        )


def square_sum(arrays: Sequence[Array]) -> Array:
    """Add up the squares of all values -> (), float64."""
    table = table_of(SQUARES_PIECE, [*map(contiguous, arrays)])
    source, blocks = SQUARES[arrays[0].dtype.char], table.owners.size
    sums, total = (empty(size, np.float64, like=arrays[0]) for size in (blocks, 1))
    steps = (
        ("square_pieces", blocks, (*table[1:], sums), table.arrays),
        ("add_pieces", 1, (sums, total, np.int32(blocks)), ()),
    )
    for kernel, grid, arguments, reached in steps:
        launch(
            source,
            kernel,
            grid=(grid, 1, 1),
            block=(THREADS, 1, 1),
            arguments=arguments,
            reached=reached,
        )
    return total.reshape(())


LADDER = {
    "plain": Rung(plain, "a launch per parameter"),
    "fused": Rung(fused, "one launch for all, by a table of addresses"),
}
SQUARE_LADDER = {
    "pieces": Rung(square_sum, "two launches for all, by a table of addresses"),
}
