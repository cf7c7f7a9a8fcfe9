"""Rows to settle: z, codes, and the TF32 scores' maxima that the filter would store."""

import numpy as np
from kernel_case import Array, draw
from tinyvq_kernels._cuda import empty
from tinyvq_kernels.search import gpu_hopper

TILE = gpu_hopper.TILE


def tf32(values: Array) -> Array:
    """Round float32 to 11 significant bits, to nearest; halves away from zero."""
    bits = (values.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return bits.view(np.float32)


def members(m: int, group: int) -> Array:
    """Which codes are in each group, (groups, GROUP); written down by columns.

    Thread t of four holds columns 8 j + 2 t and 8 j + 2 t + 1 of a tile, j = 0 .. 15.
    """
    held = [
        [8 * j + 2 * t + b for j in range(TILE // 8) for b in range(2)]
        for t in range(4)
    ]
    a_tile = np.array(held).reshape(-1, group)
    return np.concatenate([first + a_tile for first in range(0, m, TILE)])


def maxima_of(z: Array, codes: Array, group: int) -> Array:
    """Compute what the filter stores, (tiles, N, 128 / GROUP); -inf beyond M."""
    tiles = -(-len(codes) // TILE)
    scores = np.full((len(z), tiles * TILE), -np.inf, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        products = tf32(z).astype(np.float64) @ tf32(codes).astype(np.float64).T
        scores[:, : len(codes)] = products - (codes.astype(np.float64) ** 2).sum(1) / 2
    largest = scores[:, members(len(codes), group)].max(axis=2)  # (N, groups)
    shape = len(z), tiles, TILE // group
    return np.ascontiguousarray(largest.reshape(shape).swapaxes(0, 1))


def settled(z: Array, codes: Array, group: int, maxima: Array | None = None) -> Array:
    """Pack the codes and settle all rows by the emulated kernels."""
    packed = gpu_hopper.pack(codes, group)
    if maxima is None:
        maxima = maxima_of(z, codes, group)
    found = empty(len(z), np.int64, like=z)
    gpu_hopper.settle(z, packed, maxima, found)
    return gpu_hopper.end(z, codes, packed.flag, found)


KINDS = (
    *("random", "repeated", "alike", "zeros", "near", "close", "large", "small"),
    "tiny",
)


def rows_and_codes(kind: str, n: int, m: int, depth: int) -> tuple[Array, Array]:
    """Draw z and codes of a kind.

    repeated  each code stands there some three times
    alike     all codes are alike but for the last bits: each group is looked at
    near      z is close to codes
    close     codes come in some fives that TF32 does not tell apart
    large     products would overflow as squares do
    small     below the smallest normal floats, in part
    tiny      the squares of codes are, all of them; close, too
    """
    z = draw(f"z {kind}", n, depth).astype(np.float32)
    codes = draw(f"codes {kind}", m, depth).astype(np.float32)
    chosen = np.random.default_rng(m).integers(0, m, max(n, m))
    if kind == "repeated":
        codes = codes[chosen[:m] // 3]
    elif kind == "alike":
        codes = codes[:1] + np.float32(1e-6) * codes
    elif kind == "zeros":
        codes[:] = 0
    elif kind == "near":
        z = codes[chosen[:n]] + np.float32(1e-3) * z
    elif kind == "close":
        codes = codes[chosen[:m] // 5] + np.float32(1e-4) * codes
    elif kind == "large":
        z, codes = z * np.float32(1e17), codes * np.float32(1e17)
    elif kind == "tiny":
        codes = codes[chosen[:m] // 5] + np.float32(1e-4) * codes
        codes *= np.float32(1e-24)
    elif kind == "small":
        z, codes = z * np.float32(1e-25), codes * np.float32(1e-15)
    return z, codes
