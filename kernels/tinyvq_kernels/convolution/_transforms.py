"""The transforms of Winograd's form, on vectors: what `winograd.py` derives.

Each takes and gives a few vectors, one a value of a tile's row or column, and is
applied to columns first, then to rows.
"""

from typing import Any

from tinyvq_kernels._jit import jit
from tinyvq_kernels._simd import add, load, mul, splat, store, sub
from tinyvq_kernels._types import Flat, Ints, Vec


# The transforms, by rows or columns: of 4 or 3 values of the source ...
def _before4(d: Any) -> Any:
    """Bᵀ d for r = 3."""
    return sub(d[0], d[2]), add(d[1], d[2]), sub(d[2], d[1]), sub(d[3], d[1])


def _before3(d: Any) -> Any:
    """Bᵀ d for r = 2."""
    return sub(d[0], d[1]), d[1], sub(d[2], d[1])


# ... of 3 or 2 taps (G), and of what comes to a kernel's gradient (Gᵀ) ...
def _spread3(g: Any, half: Vec) -> Any:
    ends = mul(add(g[0], g[2]), half)
    middle = mul(g[1], half)
    return g[0], add(ends, middle), sub(ends, middle), g[2]


def _spread2(g: Any) -> Any:
    return g[0], add(g[0], g[1]), g[1]


def _collect4(m: Any, half: Vec) -> Any:
    both = mul(add(m[1], m[2]), half)
    return add(m[0], both), mul(sub(m[1], m[2]), half), add(both, m[3])


def _collect3(m: Any) -> Any:
    return add(m[0], m[1]), add(m[1], m[2])


# ... of 4 products to 2 outputs (Aᵀ; of 3, it is `_collect3`), and back (A).
def _after4(m: Any) -> Any:
    return add(add(m[0], m[1]), m[2]), add(sub(m[1], m[2]), m[3])


def _upstream4(g: Any) -> Any:
    return g[0], add(g[0], g[1]), sub(g[0], g[1]), g[1]


def _load2(a: Flat, at: int, step: int) -> Any:
    return load(a, at), load(a, at + step)


def _load3(a: Flat, at: int, step: int) -> Any:
    return load(a, at), load(a, at + step), load(a, at + 2 * step)


def _load4(a: Flat, at: int, step: int) -> Any:
    return (
        load(a, at),
        load(a, at + step),
        load(a, at + 2 * step),
        load(a, at + 3 * step),
    )


def _store2(a: Flat, at: int, step: int, v: Any) -> None:
    store(a, at, v[0])
    store(a, at + step, v[1])


def _store3(a: Flat, at: int, step: int, v: Any) -> None:
    store(a, at, v[0])
    store(a, at + step, v[1])
    store(a, at + 2 * step, v[2])


def _store4(a: Flat, at: int, step: int, v: Any) -> None:
    store(a, at, v[0])
    store(a, at + step, v[1])
    store(a, at + 2 * step, v[2])
    store(a, at + 3 * step, v[3])


def _transform_source(
    read: Flat,
    at: int,
    row: int,
    pixel: int,
    points: int,
    v: Flat,
    to: int,
    step: int,
) -> None:
    """v[to + e·step] = (Bᵀ d B)_e of the points × points pixels from read[at] on."""
    if points == 4:
        a = before4(load4(read, at, row))
        b = before4(load4(read, at + pixel, row))
        c = before4(load4(read, at + 2 * pixel, row))
        d = before4(load4(read, at + 3 * pixel, row))
        store4(v, to, step, before4((a[0], b[0], c[0], d[0])))
        store4(v, to + 4 * step, step, before4((a[1], b[1], c[1], d[1])))
        store4(v, to + 8 * step, step, before4((a[2], b[2], c[2], d[2])))
        store4(v, to + 12 * step, step, before4((a[3], b[3], c[3], d[3])))
    else:
        a3 = before3(load3(read, at, row))
        b3 = before3(load3(read, at + pixel, row))
        c3 = before3(load3(read, at + 2 * pixel, row))
        store3(v, to, step, before3((a3[0], b3[0], c3[0])))
        store3(v, to + 3 * step, step, before3((a3[1], b3[1], c3[1])))
        store3(v, to + 6 * step, step, before3((a3[2], b3[2], c3[2])))


def _transform_upstream(
    read: Flat, at: int, row: int, pixel: int, points: int, v: Flat, to: int, step: int
) -> None:
    """v[to + e·step] = (A g Aᵀ)_e of the 2×2 pixels from read[at] on."""
    g = load2(read, at, row)
    h = load2(read, at + pixel, row)
    if points == 4:
        a, b = upstream4(g), upstream4(h)
        store4(v, to, step, upstream4((a[0], b[0])))
        store4(v, to + 4 * step, step, upstream4((a[1], b[1])))
        store4(v, to + 8 * step, step, upstream4((a[2], b[2])))
        store4(v, to + 12 * step, step, upstream4((a[3], b[3])))
    else:
        a3, b3 = spread2(g), spread2(h)
        store3(v, to, step, spread2((a3[0], b3[0])))
        store3(v, to + 3 * step, step, spread2((a3[1], b3[1])))
        store3(v, to + 6 * step, step, spread2((a3[2], b3[2])))


def _taps3(w: Flat, at: int, places: Ints, i: int) -> Any:
    return (
        load(w, at + places[i]),
        load(w, at + places[i + 1]),
        load(w, at + places[i + 2]),
    )


def _taps2(w: Flat, at: int, places: Ints, i: int) -> Any:
    return load(w, at + places[i]), load(w, at + places[i + 1])


def _transform_taps(
    w: Flat, at: int, places: Ints, i: int, r: int, u: Flat, to: int, step: int
) -> None:
    """u[to + e·step] = (G g Gᵀ)_e of the r × r taps w[at + places[i:]], by columns."""
    half = splat(w.dtype.type(0.5))
    if r == 3:
        a = spread3(taps3(w, at, places, i), half)
        b = spread3(taps3(w, at, places, i + 3), half)
        c = spread3(taps3(w, at, places, i + 6), half)
        store4(u, to, step, spread3((a[0], b[0], c[0]), half))
        store4(u, to + 4 * step, step, spread3((a[1], b[1], c[1]), half))
        store4(u, to + 8 * step, step, spread3((a[2], b[2], c[2]), half))
        store4(u, to + 12 * step, step, spread3((a[3], b[3], c[3]), half))
    else:
        a2 = spread2(taps2(w, at, places, i))
        b2 = spread2(taps2(w, at, places, i + 2))
        store3(u, to, step, spread2((a2[0], b2[0])))
        store3(u, to + 3 * step, step, spread2((a2[1], b2[1])))
        store3(u, to + 6 * step, step, spread2((a2[2], b2[2])))


def _transform_products(m: Flat, at: int, step: int, points: int) -> Any:
    """Return the two rows of two outputs, Aᵀ M A, of M_e = m[at + e·step]."""
    if points == 4:
        a = after4(load4(m, at, 4 * step))
        b = after4(load4(m, at + step, 4 * step))
        c = after4(load4(m, at + 2 * step, 4 * step))
        d = after4(load4(m, at + 3 * step, 4 * step))
        upper = after4((a[0], b[0], c[0], d[0]))
        lower = after4((a[1], b[1], c[1], d[1]))
    else:
        a3 = collect3(load3(m, at, 3 * step))
        b3 = collect3(load3(m, at + step, 3 * step))
        c3 = collect3(load3(m, at + 2 * step, 3 * step))
        upper = collect3((a3[0], b3[0], c3[0]))
        lower = collect3((a3[1], b3[1], c3[1]))
    return upper, lower


def _transform_gradient(
    m: Flat, at: int, step: int, r: int, gw: Flat, to: int, row: int, column: int
) -> None:
    """gw[to + i·row + j·column] = (Gᵀ M G)_ij of M_e = m[at + e·step]."""
    half = splat(m.dtype.type(0.5))
    if r == 3:
        a = collect4(load4(m, at, 4 * step), half)
        b = collect4(load4(m, at + step, 4 * step), half)
        c = collect4(load4(m, at + 2 * step, 4 * step), half)
        d = collect4(load4(m, at + 3 * step, 4 * step), half)
        store3(gw, to, column, collect4((a[0], b[0], c[0], d[0]), half))
        store3(gw, to + row, column, collect4((a[1], b[1], c[1], d[1]), half))
        store3(gw, to + 2 * row, column, collect4((a[2], b[2], c[2], d[2]), half))
    else:
        a3 = collect3(load3(m, at, 3 * step))
        b3 = collect3(load3(m, at + step, 3 * step))
        c3 = collect3(load3(m, at + 2 * step, 3 * step))
        store2(gw, to, column, collect3((a3[0], b3[0], c3[0])))
        store2(gw, to + row, column, collect3((a3[1], b3[1], c3[1])))


before4 = jit(_before4, inline=True)
before3 = jit(_before3, inline=True)
spread3 = jit(_spread3, inline=True)
spread2 = jit(_spread2, inline=True)
collect4 = jit(_collect4, inline=True)
collect3 = jit(_collect3, inline=True)
after4 = jit(_after4, inline=True)
upstream4 = jit(_upstream4, inline=True)
load2 = jit(_load2, inline=True)
load3 = jit(_load3, inline=True)
load4 = jit(_load4, inline=True)
store2 = jit(_store2, inline=True)
store3 = jit(_store3, inline=True)
store4 = jit(_store4, inline=True)
transform_source = jit(_transform_source, inline=True)
transform_upstream = jit(_transform_upstream, inline=True)
taps3 = jit(_taps3, inline=True)
taps2 = jit(_taps2, inline=True)
transform_taps = jit(_transform_taps, inline=True)
transform_products = jit(_transform_products, inline=True)
transform_gradient = jit(_transform_gradient, inline=True)
