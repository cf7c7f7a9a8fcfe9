"""Nearest-code search on CUDA: the host side of the rungs.

Each allocates, runs `code_starts`, cuts the work into blocks and launches; what the
kernels do is told in `nearest_code.cu`, `nearest_code_registers.cu` and
`nearest_code_tensor.cu`.
"""

from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._cuda import (
    REALS,
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
from tinyvq_kernels.search.reference import check_range

STARTS = 32  # codes per block of `code_starts`, as in nearest_code.cu
TILE = 16  # of the rung "tiled", as in nearest_code.cu
ENOUGH = 512  # blocks that keep a large device busy
SIDES = (64, 128)  # of the tiles of rows × codes in registers
DEPTHS = {4: 8, 8: 8, 12: 4, 16: 4}  # of small_depth: vectors that a thread has
SMALL_THREADS, PASSING = 128, 128  # of small_depth, as in nearest_code_registers.cu

FLOAT = ("float32",)
DEEPEST = 4096  # D that the error bound of nearest_code_tensor.cu was derived for
WARPS = {False: 2, True: 1}  # down its blocks, two across; each 64 rows × 64 codes
GROUP = 2048  # rows that one of its last blocks looks through
RESCORING = 8  # shares of the codes where few rows are left

STEPS = {real: Source("search/nearest_code.cu", REALS[real]) for real in REALS}
TILES = {
    (side, aligned): Source(
        "search/nearest_code_registers.cu",
        {"ROWS": side, "CODES": side, "ALIGNED": int(aligned)},
    )
    for side in SIDES
    for aligned in (False, True)
}
SMALL = {
    (depth, aligned): Source(
        "search/nearest_code_registers.cu",
        {"DEPTH": depth, "VECTORS": vectors, "ALIGNED": int(aligned)},
    )
    for depth, vectors in DEPTHS.items()
    for aligned in (False, True)
}
TENSOR = {
    (portable, aligned): Source(
        "search/nearest_code_tensor.cu",
        {
            **{"PORTABLE": int(portable), "ALIGNED": int(aligned)},
            **{"WARPS_DOWN": WARPS[portable], "WARPS_ACROSS": 2},
        },
    )
    for portable in (False, True)
    for aligned in (False, True)
}
SOURCES: dict[Any, Source] = {**STEPS, **TILES, **SMALL}
SOURCES |= {("tensor", key): TENSOR[False, key] for key in (False, True)}


class Call(NamedTuple):
    """What all rungs take: contiguous arrays, and what `code_starts` made of them."""

    z: Array
    codes: Array
    starts: Array  # (M,) -|e|²/2
    top: Array  # (2,) the largest |e_md|, and the largest |e|²: bits of float64
    limit: np.float64
    flag: Array

    @property
    def sizes(self) -> tuple[np.int32, np.int32, np.int32]:
        """N, M and D."""
        return (
            np.int32(len(self.z)),
            np.int32(len(self.codes)),
            np.int32(self.z.shape[1]),
        )

    @property
    def aligned(self) -> bool:
        """Whether all rows start at multiples of 16 bytes."""
        return bool(self.z.shape[1] % 4 == 0)


def plain(z: Array, codes: Array) -> Array:
    """A thread per vector; shapes as in the package's contract."""
    call = _begin(z, codes)
    found = empty(len(z), np.int64, like=z)
    launch(
        STEPS[z.dtype.char],
        "nearest_code_plain",
        grid=(-(-len(z) // 128), 1, 1),
        block=(128, 1, 1),
        arguments=(*call[:5], found, call.flag, *call.sizes),
    )
    return _end(call, found)


def tiled(z: Array, codes: Array) -> Array:
    """A thread per score of a tile in shared memory; shapes as in the contract."""
    call = _begin(z, codes)
    found = empty(len(z), np.int64, like=z)
    launch(
        STEPS[z.dtype.char],
        "nearest_code_tiled",
        grid=(-(-len(z) // TILE), 1, 1),
        block=(TILE, TILE, 1),
        arguments=(*call[:5], found, call.flag, *call.sizes),
    )
    return _end(call, found)


def register_tiled(z: Array, codes: Array) -> Array:
    """Search with 8 × 8 scores a thread; shapes as in the package's contract."""
    return _tiles(_begin(z, codes), "nearest_code_register_tiled")


def double_buffered(z: Array, codes: Array) -> Array:
    """Search so, the next chunk being fetched meanwhile; shapes as in the contract."""
    return _tiles(_begin(z, codes), "nearest_code_double_buffered")


def small_depth(z: Array, codes: Array) -> Array:
    """Keep z in registers where D is small, else take `double_buffered`."""
    depth = -(-max(1, z.shape[1]) // 4) * 4
    if depth not in DEPTHS:
        return double_buffered(z, codes)
    call = _begin(z, codes)
    rows = DEPTHS[depth] * SMALL_THREADS
    source = SMALL[depth, call.aligned]
    return _share(
        call, source, "nearest_code_small_depth", rows, PASSING, SMALL_THREADS
    )


def _tiles(call: Call, kernel: str) -> Array:
    """Run tiles of rows × codes: large ones where they are enough."""
    small, large = SIDES
    many = -(-len(call.z) // large) * -(-len(call.codes) // large) >= ENOUGH
    side = large if many else small
    source = TILES[side, call.aligned]
    return _share(call, source, kernel, side, side, side * side // 64)


def _share(
    call: Call, source: Source, kernel: str, rows: int, codes: int, threads: int
) -> Array:
    """Cut z into blocks of rows, and the codes into shares if those are too few."""
    n, m, _ = call.sizes
    blocks = -(-int(n) // rows)
    tiles = -(-int(m) // codes)
    shares = max(1, min(tiles, ENOUGH // max(1, blocks)))
    share = -(-tiles // shares) * codes
    words = module_of(call.z).zeros(len(call.z), np.uint64)
    launch(
        source,
        kernel,
        grid=(blocks, -(-int(m) // share), 1),
        block=(threads, 1, 1),
        arguments=(*call[:5], words, call.flag, *call.sizes, np.int32(share)),
    )
    return _codes_of(call, words)


def _codes_of(call: Call, words: Array) -> Array:
    """Read the codes out of the words."""
    launch(
        TILES[SIDES[0], False],
        "codes_of_words",
        grid=(-(-len(words) // 256), 1, 1),
        block=(256, 1, 1),
        arguments=(words, call.sizes[0]),
    )
    return _end(call, words.view(np.int64))


def tensor_cores(z: Array, codes: Array) -> Array:
    """Filter by TF32 scores, rescore what they leave open; shapes as in the contract.

    In the emulator, fmas and shuffles stand for the tensor cores.
    """
    if z.shape[1] > DEEPEST:
        return double_buffered(z, codes)
    call, portable = _begin(z, codes), isinstance(z, np.ndarray)
    n, m, depth = call.sizes
    source, rows = TENSOR[portable, call.aligned], WARPS[portable] * 64
    block = (rows, 1, 1)  # two warps across
    blocks, tiles = -(-int(n) // rows), -(-int(m) // 128)
    share = -(-tiles // max(1, min(tiles, ENOUGH // max(1, blocks)))) * 128
    shares = -(-int(m) // share)
    best, second = (empty((shares * 2, int(n)), np.float32, like=z) for _ in range(2))
    two = best, second, empty((shares * 2, int(n)), np.int32, like=z)
    launch(
        source,
        "nearest_code_filter",
        grid=(blocks, shares, 1),
        block=block,
        arguments=(*call[:3], *two, n, m, depth, np.int32(share)),
    )
    return _answers(call, two)


def _answers(call: Call, two: tuple[Array, Array, Array]) -> Array:
    """Decide by the best two scores of each share, (shares, N); rescore the others."""
    portable = isinstance(call.z, np.ndarray)
    source, (n, m, depth) = TENSOR[portable, call.aligned], call.sizes
    words = empty(int(n), np.uint64, like=call.z)
    threshold = empty(int(n), np.float32, like=call.z)
    launch(
        source,
        "nearest_code_decide",
        grid=(-(-int(n) // 4), 1, 1),
        block=(128, 1, 1),
        arguments=(
            *(call.z, call.top, call.limit, *two, words, threshold, call.flag),
            *(n, depth, np.int32(len(two[0]))),
        ),
    )
    tiles = -(-int(m) // 128)
    share = -(-tiles // min(tiles, RESCORING)) * 128
    launch(
        source,
        "nearest_code_rescore",
        grid=(-(-int(n) // GROUP), -(-int(m) // share), 1),
        block=(WARPS[portable] * 64, 1, 1),
        arguments=(*call[:3], threshold, words, n, m, depth, np.int32(share)),
    )
    return _codes_of(call, words)


def _begin(z: Array, codes: Array) -> Call:
    """Make all starts, and what refusals are decided by."""
    z, codes = contiguous(z), contiguous(codes)
    m, depth = codes.shape
    call = Call(
        *(z, codes, empty(m, z.dtype, like=z), module_of(z).zeros(2, np.uint64)),
        *(np.float64(np.finfo(z.dtype).max) / 2, flag(z)),
    )
    launch(
        STEPS[z.dtype.char],
        "code_starts",
        grid=(-(-m // STARTS), 1, 1),
        block=(256, 1, 1),
        arguments=(*call[1:], np.int32(m), np.int32(depth)),
    )
    return call


def _end(call: Call, found: Array) -> Array:
    return end(call.z, call.codes, call.flag, found)


def end(z: Array, codes: Array, raised: Array, found: Array) -> Array:
    """Return the codes; where input was refused, say which row."""
    try:
        check(raised, "nearest_code")
    except ValueError:
        check_range(z, codes)
        raise
    return found


LADDER = {
    "plain": Rung(plain, "a thread per vector"),
    "tiled": Rung(tiled, "a thread per score, tiles in shared memory"),
    "register_tiled": Rung(
        register_tiled, "8 × 8 scores a thread, codes shared out to blocks", FLOAT
    ),
    "double_buffered": Rung(
        double_buffered, "the next chunk is fetched while this one is used", FLOAT
    ),
    "small_depth": Rung(
        small_depth, "up to 16 values per vector: z stays in registers", FLOAT
    ),
    "tensor_cores": Rung(
        tensor_cores, "TF32 scores as a filter, exact ones where it leaves doubt", FLOAT
    ),
}
