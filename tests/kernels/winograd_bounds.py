"""How far Winograd's form may be off: the bound, computed with absolute values.

Each output is Aᵀ [Σ (G g Gᵀ) ⊙ (Bᵀ d B)] A, sums of products of sums. With all signs
dropped the same expression gives the size of what was added up, and the error of each
output is at most γ_n times that, n being the number of roundings on the longest way
from an input to it (Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
chapter 3): those of the sum over channels or tiles, and WAY for transforms and bias.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from tinyvq_kernels.convolution._window import phase_of

Array = npt.NDArray[Any]

# 2 additions a direction before the products, 2 for the kernel, 3 after, twice each;
# the product; a link; the bias; one to spare.
WAY = 18

# |Bᵀ|, |G| and |Aᵀ| by r; see convolution/winograd.py.
BEFORE = {
    2: np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]]),
    3: np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]]),
}
SPREAD = {
    2: np.array([[1, 0], [1, 1], [0, 1]]),
    3: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 1]]),
}
AFTER = {
    2: np.array([[1, 1, 0], [0, 1, 1]]),
    3: np.array([[1, 1, 1, 0], [0, 1, 1, 1]]),
}


def has_form(
    c: int, k: int, kernel: tuple[int, int], stride: int, dilation: int
) -> bool:
    """Tell whether some machine might compute a convolution in Winograd's form."""
    r, s = kernel
    return (
        r == s
        and dilation == 1
        and r in (2 * stride, 3 * stride)
        and c % 4 == 0
        and k % 4 == 0
    )


def _tiles(x: Array, top: int, left: int, down: int, across: int, r: int) -> Array:
    """Cut |Bᵀ| |d| |B| of tiles: (n, down, across, points, points, c), stride 1."""
    n, h, w, c = x.shape
    points = r + 1
    high, wide = 2 * down + r - 1, 2 * across + r - 1
    padded = np.zeros((n, high, wide, c))
    rows = range(max(0, -top), min(high, h - top))
    cols = range(max(0, -left), min(wide, w - left))
    if len(rows) and len(cols):
        padded[:, rows.start : rows.stop, cols.start : cols.stop] = x[
            :,
            top + rows.start : top + rows.stop,
            left + cols.start : left + cols.stop,
        ]
    cut = np.stack(
        [
            np.stack(
                [
                    padded[:, i : i + 2 * down : 2, j : j + 2 * across : 2]
                    for j in range(points)
                ],
                axis=3,
            )
            for i in range(points)
        ],
        axis=3,
    )
    return np.einsum("ai,nyxijc,bj->nyxabc", BEFORE[r], cut, BEFORE[r])


def _forward(x: Array, w: Array, top: int, left: int, p: int, q: int) -> Array:
    """The size of a stride-1 convolution x (n,h,w,c) by w (r,r,c,k): (n,p,q,k)."""
    r = w.shape[0]
    down, across = -(-p // 2), -(-q // 2)
    v = _tiles(x, top, left, down, across, r)
    u = np.einsum("ai,ijck,bj->abck", SPREAD[r], w, SPREAD[r])
    m = np.einsum("nyxabc,abck->nyxabk", v, u, optimize=True)
    y = np.einsum("ia,nyxabk,jb->nyixjk", AFTER[r], m, AFTER[r])
    n, k = x.shape[0], w.shape[3]
    return y.reshape(n, 2 * down, 2 * across, k)[:, :p, :q]


def _phases(x: Array, stride: int, padding: int) -> Iterator[tuple[int, int, Array]]:
    """The image that each phase of a forward sees, from pixel -padding on."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    for a in range(stride):
        for b in range(stride):
            yield a, b, x[:, a::stride, b::stride]


def forward_size(
    x: Array, w: Array, p: int, q: int, stride: int, padding: int
) -> Array:
    """The size of each output of conv2d, without its bias."""
    return sum(
        (
            _forward(part, w[a::stride, b::stride], 0, 0, p, q)
            for a, b, part in _phases(x, stride, padding)
        ),
        np.zeros(()),
    )


def input_grad_size(
    gy: Array, w: Array, size: tuple[int, int], stride: int, padding: int
) -> Array:
    """The size of each value of conv2d_input_grad."""
    gx = np.zeros((gy.shape[0], *size, w.shape[2]))
    ways = [phase_of(i, w.shape[0], stride, padding, 1) for i in range(stride)]
    for r, _, out_top, top in ways:
        for s, _, out_left, left in ways:
            place = gx[:, out_top::stride, out_left::stride]
            taps = w[r[:, None], s].transpose(0, 1, 3, 2)
            if place.size:
                place[...] = _forward(gy, taps, top, left, *place.shape[1:3])
    return gx


def weight_grad_size(
    x: Array, gy: Array, taps: int, stride: int, padding: int
) -> Array:
    """The size of each value of conv2d_weight_grad."""
    _, p, q, k = gy.shape
    r = taps // stride
    down, across = -(-p // 2), -(-q // 2)
    whole = np.zeros((gy.shape[0], 2 * down, 2 * across, k))
    whole[:, :p, :q] = gy
    pairs = whole.reshape(-1, down, 2, across, 2, k)
    upstream = np.einsum("ia,nyixjk,jb->nyxabk", AFTER[r], pairs, AFTER[r])
    gw = np.zeros((taps, taps, x.shape[3], k))
    for a, b, part in _phases(x, stride, padding):
        v = _tiles(part, 0, 0, down, across, r)
        m = np.einsum("nyxabc,nyxabk->abck", v, upstream, optimize=True)
        gw[a::stride, b::stride] = np.einsum(
            "ai,abck,bj->ijck", SPREAD[r], m, SPREAD[r]
        )
    return gw
