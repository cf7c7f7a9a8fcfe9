"""Nearest-code search on CUDA, the host side of the rung for compute capability 9.0.

The filter is in `nearest_code_hopper.cu`, what comes before and after it, which the
emulator runs too, in `nearest_code_settle.cu`.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tinyvq_kernels._cuda import (
    Rung,
    Source,
    contiguous,
    empty,
    flag,
    launch,
    module_of,
)
from tinyvq_kernels._types import Array
from tinyvq_kernels.search.gpu import DEEPEST, FLOAT, end, small_depth, tensor_cores

TILE, SLAB = 128, 32  # rows or codes × values of a slab, as in nearest_code_hopper.cu
GROUPS = (4, 8, 16)  # codes of which the filter stores the largest score
AHEAD = 2  # slabs begun before it looks through scores, if a row has as many
CLUSTER = 2  # blocks that read codes together
FILTERS = 352  # threads of its blocks
POOL = 14 * 16384 + 1024  # bytes of their shared memory: 14 slabs, from a multiple
PACKED = 32  # codes that a block packs
SETTLERS = 256  # threads of a block that settles rows
LIMIT = np.float64(np.finfo(np.float32).max) / 2  # of sums, as in check_range
MAXIMA = 1 << 28  # bytes of largest scores that are stored at a time
SHALLOW, FEW = 16, 1 << 22  # D, and scores: of less `small_depth` has fewer to do

FILTER = {
    (group, ahead): Source(
        "search/nearest_code_hopper.cu",
        {"GROUP": group, "AHEAD": ahead, "CLUSTER": CLUSTER},
        hopper=True,
    )
    for group in GROUPS
    for ahead in range(1, AHEAD + 1)
}
SETTLE = {
    group: Source("search/nearest_code_settle.cu", {"GROUP": group}) for group in GROUPS
}
SOURCES: dict[Any, Source] = {**FILTER, **SETTLE}


class Packed(NamedTuple):
    """The codes, as the kernels of this rung read them; tiles of 128, zeros beyond M.

    slabs   (tiles, slabs, 128, 32), rounded to TF32, each slab as in shared memory
    groups  (tiles · 128 / GROUP, D / 4, GROUP, 4)
    starts  (tiles · 128,) -|e|²/2, -infinity beyond M
    top     (2,) the largest |e_md|, and the largest |e|²: bits of float64
    """

    slabs: Array
    groups: Array
    starts: Array
    top: Array
    group: int  # GROUP
    m: int
    depth: int
    flag: Array

    @property
    def tiles(self) -> int:
        """How many tiles of codes there are."""
        return -(-self.m // TILE)


def hopper(z: Array, codes: Array) -> Array:
    """Store the largest TF32 score of each few codes, rescore those that may hold best.

    Shapes as in the package's contract. On other devices, and where rows are not whole
    pieces of 16 bytes, take `tensor_cores`.
    """
    processors, n = _processors_for(z), len(z)
    if not processors or n == 0:
        return tensor_cores(z, codes)
    z, codes = contiguous(z), contiguous(codes)
    packed = pack(codes, group_for(*codes.shape))
    rows = slice_of(n, packed, processors)
    maxima = empty(rows * packed.tiles * TILE // packed.group, np.float32, like=z)
    found = empty(n, np.int64, like=z)
    for first in range(0, n, rows):
        part = z[first : first + rows]
        filtered(part, packed, maxima, processors)
        settle(part, packed, maxima, found[first : first + rows])
    return end(z, codes, packed.flag, found)


def by_shape(z: Array, codes: Array) -> Array:
    """Take `hopper` where the device has it and it is faster, else `small_depth`.

    Measured on an H200, D from 8 to 256 and N from 256 on: `hopper` takes 20 µs of
    three launches, and from about 2²² scores on it is ahead. Where all codes are alike
    to some hundredths of their length its filter leaves much open: it then takes up to
    four times as long as `small_depth`.
    """
    ahead = z.shape[1] >= SHALLOW and len(z) * len(codes) >= FEW
    if ahead and _processors_for(z):
        return hopper(z, codes)
    return small_depth(z, codes)


def group_for(m: int, depth: int) -> int:
    """Choose GROUP: of large groups many codes are read, of small ones many maxima.

    A row reads GROUP codes out of the L2 cache, at some 5 TB/s; M / GROUP maxima are
    found, written and read again, at some 1, which orders what an H200 took at D 64
    and 256, M 512 to 16384.
    """
    return min(GROUPS, key=lambda group: group * depth / 5 + 2 * m / group)


def slice_of(n: int, packed: Packed, processors: int) -> int:
    """How many rows to do at a time, so that their maxima take MAXIMA bytes."""
    most = MAXIMA // (packed.tiles * TILE // packed.group * 4)
    for whole in (processors // CLUSTER * CLUSTER * TILE, CLUSTER * TILE):
        if most >= whole:  # all processors have as many rows, if that can be
            return min(n, most // whole * whole)
    return min(n, CLUSTER * TILE)


def pack(codes: Array, group: int) -> Packed:
    """Bring codes (M, D) into the order of the kernels, and make all starts."""
    m, depth = codes.shape
    tiles, slabs = -(-m // TILE), -(-depth // SLAB)
    packed = Packed(
        empty(tiles * slabs * TILE * SLAB, np.float32, like=codes),
        empty(tiles * TILE * depth, np.float32, like=codes),
        empty(tiles * TILE, np.float32, like=codes),
        module_of(codes).zeros(2, np.uint64),
        *(group, m, depth, flag(codes)),
    )
    launch(
        SETTLE[group],
        "nearest_code_pack",
        grid=(tiles * TILE // PACKED, 1, 1),
        block=(256, 1, 1),
        arguments=(
            *(codes, *packed[:4], LIMIT, packed.flag, np.int32(m), np.int32(depth)),
        ),
    )
    return packed


def filtered(z: Array, packed: Packed, maxima: Array, processors: int) -> None:
    """Store the largest scores of each group of codes, (tiles, N, 128 / GROUP)."""
    n, tiles, slabs = len(z), packed.tiles, -(-packed.depth // SLAB)
    blocks = -(-n // (TILE * CLUSTER)) * CLUSTER
    share = -(-tiles // max(1, min(tiles, processors // blocks)))
    launch(
        FILTER[packed.group, min(slabs, AHEAD)],
        "nearest_code_filter_hopper",
        grid=(min(blocks, processors // CLUSTER * CLUSTER), -(-tiles // share), 1),
        block=(FILTERS, 1, 1),
        arguments=(
            *(z, packed.slabs, packed.starts, maxima),
            *map(np.int32, (n, packed.depth, tiles, share)),
        ),
        shared=POOL,
    )


def settle(z: Array, packed: Packed, maxima: Array, found: Array) -> None:
    """Write the nearest codes, (N,) int64, by the maxima of `filtered`."""
    launch(
        SETTLE[packed.group],
        "nearest_code_settle",
        grid=(-(-len(z) * packed.group // SETTLERS), 1, 1),
        block=(SETTLERS, 1, 1),
        arguments=(
            *(z, *packed[1:4], LIMIT, maxima, found, packed.flag),
            *map(np.int32, (len(z), packed.m, packed.depth, packed.tiles)),
        ),
    )


def _processors_for(z: Array) -> int:
    """Count the multiprocessors that can search for rows like these: 0, or all."""
    depth = z.shape[1]
    suits = 0 < depth <= DEEPEST and depth % 4 == 0
    return _processors_of_hopper(z) if suits else 0


def _processors_of_hopper(z: Array) -> int:
    """Count the multiprocessors of the device, 0 where it is of another kind."""
    if isinstance(z, np.ndarray):
        return 0
    cuda = module_of(z).cuda
    return _count_processors(cuda, cuda.runtime.getDevice())


@cache
def _count_processors(cuda: Any, device: int) -> int:
    there = cuda.Device(device)
    if there.compute_capability != "90":
        return 0
    return int(there.attributes["MultiProcessorCount"])


LADDER = {
    "hopper": Rung(
        *(hopper, "the filter by warpgroups, which stores largest scores", FLOAT),
        emulated=False,
    ),
    "by_shape": Rung(
        by_shape,
        "hopper for many scores where the device has it, else small_depth",
        FLOAT,
    ),
}
