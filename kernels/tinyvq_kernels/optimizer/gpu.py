"""Adam on CUDA: the host side of `adam.cu`.

`fused` is three steps that a captured training step takes apart: the `Table` of all
arrays is made once, for arrays that stay where they are; `coefficients` change with
each step; `update` is the launch, and all that has to be captured.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, address_of, contiguous, launch, module_of
from tinyvq_kernels._types import Array

THREADS = 256
PIECE = 1024  # values a block, as in adam.cu
SOURCES = {
    "f": Source("optimizer/adam.cu", {"REAL": "float", "SQRT": "sqrtf"}),
    "d": Source("optimizer/adam.cu", {"REAL": "double", "SQRT": "sqrt"}),
}


class Table(NamedTuple):
    """Where all arrays are, and which piece of which parameter a block updates.

    arrays     parameters, gradients, m and v, kept alive here; all contiguous
    addresses  (4K,) of those, int64
    sizes      (K,) values, int64
    owners     (B,) the parameter of each block, int32
    firsts     (B,) its first value of it, int64
    """

    arrays: tuple[Array, ...]
    addresses: Array
    sizes: Array
    owners: Array
    firsts: Array


def table_of(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
) -> Table:
    """List arrays, which must be contiguous, and cut them into pieces."""
    arrays, like = (*parameters, *gradients, *m, *v), parameters[0]
    addresses, sizes = map(address_of, arrays), (p.size for p in parameters)
    device = str(getattr(like, "device", "cpu"))
    return Table(arrays, *_cut(tuple(addresses), tuple(sizes), module_of(like), device))


@lru_cache(maxsize=8)
def _cut(
    addresses: tuple[int, ...], sizes: tuple[int, ...], module: Any, device: str
) -> tuple[Array, Array, Array, Array]:
    """Make all of a table but the arrays, which mostly stay where they were."""
    count = np.array(sizes, np.int64)
    pieces = -(-count // PIECE)
    owners = np.repeat(np.arange(count.size, dtype=np.int32), pieces)
    begins = np.repeat(pieces.cumsum() - pieces, pieces)
    firsts = (np.arange(owners.size) - begins) * PIECE
    words = np.array(addresses, np.int64)
    words.flags.writeable = False
    place = module.asarray
    return place(words), place(count), place(owners), place(firsts)


def coefficients(
    rates: Sequence[float],
    roots: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
    like: Array,
) -> tuple[Array, Array, Array]:
    """Bring a step's numbers to where `like` is: rates, roots (K,), factors (6,)."""
    place, dtype = module_of(like).asarray, like.dtype
    # 1 - β in double: in float32, 1 - 0.999 is off by 1 part in 80,000.
    factors = [beta1, 1 - beta1, beta2, 1 - beta2, eps, 1 - shrink]
    given = np.array([*rates, *roots, *factors], dtype)
    placed, k = place(given), len(rates)
    return placed[:k], placed[k : 2 * k], placed[2 * k :]


def update(table: Table, rates: Array, roots: Array, factors: Array) -> None:
    """Update all parameters in one launch."""
    launch(
        SOURCES[rates.dtype.char],
        "adam_fused",
        grid=(table.owners.size, 1, 1),
        block=(THREADS, 1, 1),
        arguments=(*table[1:], rates, roots, factors, np.int32(table.sizes.size)),
        reached=table.arrays,
    )


def fused(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    rates: Sequence[float],
    roots: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
) -> None:
    """Update in place; arguments as in the reference."""
    table = table_of(parameters, [*map(contiguous, gradients)], m, v)
    like = parameters[0]
    update(table, *coefficients(rates, roots, beta1, beta2, eps, shrink, like))


def plain(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    rates: Sequence[float],
    roots: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
) -> None:
    """Update with a launch a parameter; arguments as in the reference."""
    of_each = coefficients(rates, roots, beta1, beta2, eps, shrink, parameters[0])
    for i, (p, g, *moments) in enumerate(zip(parameters, gradients, m, v, strict=True)):
        rate, root = (a[i : i + 1] for a in of_each[:2])
        launch(
            SOURCES[p.dtype.char],
            "adam_plain",
            grid=(-(-p.size // THREADS), 1, 1),
            block=(THREADS, 1, 1),
            arguments=(
                *(p, contiguous(g), *moments, of_each[2], rate, root),
                np.int64(p.size),
            ),
        )


LADDER = {
    "plain": Rung(plain, "a launch a parameter"),
    "fused": Rung(fused, "one launch for all, by a table of addresses"),
}
