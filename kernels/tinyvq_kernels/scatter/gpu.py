"""Scatter-add on CUDA: the host side of `code_sums.cu`."""

import numpy as np

from tinyvq_kernels._cuda import (
    Rung,
    Source,
    check,
    contiguous,
    empty,
    flag,
    launch,
    module_of,
)
from tinyvq_kernels._types import Array

THREADS, BAND, LANES = 256, 1024, 32  # as in code_sums.cu
ROWS, WIDTH = 64, 64  # of the rung "banded"
EACH = 8  # bands that a warp adds up, where a block has not yet all its warps
SOURCES = {
    "f": Source("scatter/code_sums.cu", {"REAL": "float"}),
    "d": Source("scatter/code_sums.cu", {"REAL": "double"}),
}


def plain(z: Array, indices: Array, num_codes: int) -> tuple[Array, Array]:
    """A thread per sum; shapes as in the package's contract."""
    (n, depth), up = z.shape, flag(z)
    sums = empty((num_codes, depth), z.dtype, like=z)
    counts = empty(num_codes, np.int64, like=z)
    launch(
        SOURCES[z.dtype.char],
        "code_sums_plain",
        grid=(num_codes, -(-max(1, depth) // LANES), 1),
        block=(LANES, 1, 1),
        arguments=(
            *(contiguous(z), _words(indices), sums, counts, up),
            *map(np.int32, (n, num_codes, depth)),
        ),
    )
    _check(up, num_codes)
    return sums, counts


def by_code(z: Array, indices: Array, num_codes: int) -> tuple[Array, Array]:
    """List the rows by code, then sum each code's; shapes as in the contract."""
    (n, depth), up = z.shape, flag(z)
    source, chosen = SOURCES[z.dtype.char], _words(indices)
    rows, codes = np.int32(n), np.int32(num_codes)
    bands = -(-n // BAND)
    table = module_of(z).zeros((bands, num_codes), np.int32)
    begins, listed = (empty(size, np.int32, like=z) for size in (num_codes, n))
    counts = empty(num_codes, np.int64, like=z)
    sums = empty((num_codes, depth), z.dtype, like=z)
    steps = (
        ("count_in_bands", -(-n // THREADS), (chosen, table, up, rows, codes)),
        (
            "add_up_bands",
            -(-num_codes // THREADS),
            (table, counts, np.int32(bands), codes),
        ),
        ("begin_codes", 1, (counts, begins, codes)),
        ("list_rows", bands, (chosen, table, begins, listed, rows, codes)),
        (
            "sum_listed_rows",
            num_codes,
            (contiguous(z), listed, begins, counts, sums, np.int32(depth)),
        ),
    )
    for kernel, blocks, arguments in steps:
        block = (THREADS, 1, 1)
        launch(source, kernel, grid=(blocks, 1, 1), block=block, arguments=arguments)
    _check(up, num_codes)
    return sums, counts


def banded(z: Array, indices: Array, num_codes: int) -> tuple[Array, Array]:
    """Sum each band's rows by code, then each code's bands; shapes as in the contract.

    The partial sum of a code in a band stands in the row of its first place there.
    """
    (n, depth), up = z.shape, flag(z)
    source, bands = SOURCES[z.dtype.char], -(-n // ROWS)
    across = max(1, -(-depth // WIDTH))  # where D is 0 one block is left, to count
    parts = empty((n, depth), z.dtype, like=z)
    table = empty((bands, num_codes), np.int32, like=z)
    launch(
        source,
        "sum_in_bands",
        grid=(bands, across, 1),
        block=(THREADS, 1, 1),
        arguments=(
            *(contiguous(z), _words(indices), parts, table, up),
            *map(np.int32, (n, num_codes, depth)),
        ),
    )
    sums = empty((num_codes, depth), z.dtype, like=z)
    counts = empty(num_codes, np.int64, like=z)
    warps = max(1, min(THREADS // 32, -(-bands // EACH)))
    launch(
        source,
        "sum_bands",
        grid=(num_codes, across, 1),
        block=(32 * warps, 1, 1),
        arguments=(
            *(parts, table, sums, counts),
            *map(np.int32, (bands, num_codes, depth)),
        ),
    )
    _check(up, num_codes)
    return sums, counts


def _words(indices: Array) -> Array:
    return contiguous(indices.astype(np.int64, copy=False))


def _check(up: Array, num_codes: int) -> None:
    """Raise IndexError where a row chose a code that there is not."""
    try:
        check(up, "code_sums")
    except ValueError:
        raise IndexError(
            f"code_sums: indices must be in 0 .. {num_codes - 1}"
        ) from None


LADDER = {
    "plain": Rung(plain, "a thread per sum, which looks at all rows"),
    "sorted": Rung(by_code, "rows listed by code first, a block per code"),
    "banded": Rung(banded, "bands of 64 rows summed by code, then a code's bands"),
}
