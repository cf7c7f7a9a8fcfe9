"""Calls of each kernel operation, at sizes on both sides of each cut.

A kernel that is entered into the table is tested by `CASES[op]` with no further work;
an operation without cases fails `test_every_operation_has_cases`.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import tinyvq_kernels
from attention_cases import attention_cases, attention_grad_cases
from averaging_cases import running_means_cases
from decoder_cases import decoder_cases
from emulated import is_emulated
from kernel_case import Array, Arrays, KernelCase, draw, gamma
from normalization_cases import group_norm_cases, group_norm_grad_cases
from tinyvq_kernels import Kernel
from winograd_bounds import (
    WAY,
    forward_size,
    has_form,
    input_grad_size,
    weight_grad_size,
)

# ---- matmul --------------------------------------------------------------------------


def matmul_cases() -> Iterator[KernelCase]:
    """Rows around tiles of 6 and blocks of 48, columns around tiles of 8 and 16."""
    sizes = [((), i, 5, j) for i in (0, 1, 5, 6, 7, 13) for j in (0, 1, 7, 8, 9)]
    sizes += [((), i, 3, 17) for i in (47, 48, 49, 96, 97)]
    sizes += [((), 7, l, j) for l in (0, 1, 2, 257) for j in (15, 16, 17, 33)]
    sizes += [(batch, i, 4, 9) for batch in ((0,), (1,), (3,), (2, 3)) for i in (6, 49)]
    for batch, i, l, j in sizes:
        yield _matmul_case(f"{batch}x{i}x{l}x{j}", (*batch, i, l), (*batch, l, j))
        if batch:
            yield _matmul_case(f"{batch}x{i}x{l}x{j}-shared", (*batch, i, l), (l, j))
    for batch, i, l, j in [((), 67, 21, 71), ((), 68, 20, 72), ((2, 3), 17, 9, 33)]:
        yield from _turned_matmul_cases(batch, i, l, j)


def _matmul_case(label: str, a: tuple[int, ...], b: tuple[int, ...]) -> KernelCase:
    return KernelCase(
        "matmul",
        label,
        (draw("a", *a), draw("b", *b)),
        lambda a, b: (tinyvq_kernels.matmul(a, b),),
        terms=a[-1],
    )


def _turned_matmul_cases(
    batch: tuple[int, ...], i: int, l: int, j: int
) -> Iterator[KernelCase]:
    """One matrix, or both, standing in memory as its transpose."""
    a, b = draw("a", *batch, i, l), draw("b", *batch, l, j)
    across_a, across_b = (np.array(x.swapaxes(-1, -2), order="C") for x in (a, b))
    for label, arrays, call in [
        ("aT", (across_a, b), lambda a, b: (a.swapaxes(-1, -2), b)),
        ("bT", (a, across_b), lambda a, b: (a, b.swapaxes(-1, -2))),
        ("aT-bT", (across_a, across_b), _both_turned),
    ]:
        yield KernelCase(
            "matmul",
            f"{batch}x{i}x{l}x{j}-{label}",
            arrays,
            lambda a, b, call=call: (tinyvq_kernels.matmul(*call(a, b)),),
            terms=l,
        )


def _both_turned(a: Array, b: Array) -> Arrays:
    return a.swapaxes(-1, -2), b.swapaxes(-1, -2)


# ---- convolution ---------------------------------------------------------------------


@dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution, named as in the axis table."""

    n: int = 1
    h: int = 5
    w: int = 5
    c: int = 3
    r: int = 3
    s: int = 3
    k: int = 5
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    bias: bool = True

    @property
    def fits(self) -> bool:
        """Whether there is at least one output pixel."""
        return self.p >= 1 and self.q >= 1

    @property
    def p(self) -> int:
        """The output's height, by the formula of the axis table."""
        return self._out(self.h, self.r)

    @property
    def q(self) -> int:
        """The output's width."""
        return self._out(self.w, self.s)

    def _out(self, length: int, taps: int) -> int:
        reach = length + 2 * self.padding - self.dilation * (taps - 1) - 1
        return reach // self.stride + 1

    @property
    def settings(self) -> dict[str, int]:
        """The keyword arguments of the operations."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
        }

    @property
    def tiled(self) -> bool:
        """Whether Winograd's form, with a bound of its own, may be taken for it."""
        taps = self.r, self.s
        return has_form(self.c, self.k, taps, self.stride, self.dilation)

    @property
    def phase(self) -> int:
        """Channels of all phases of the stride."""
        return self.c * self.stride**2

    def __str__(self) -> str:
        sizes = f"{self.n}x{self.h}x{self.w}x{self.c}-{self.r}x{self.s}x{self.k}"
        return f"{sizes}-s{self.stride}p{self.padding}d{self.dilation}b{self.bias:d}"


def geometries() -> Iterator[Geometry]:
    """Both sides of each cut; strides that divide and that do not; odd kernels."""
    for q in (1, 5, 6, 7, 11, 12, 13):  # pixels of a tile of 6 rows
        yield Geometry(h=1, w=q, r=1, s=1)
    for k in (1, 7, 8, 9, 15, 16, 17, 33):  # a tile's columns: 8 float64, 16 float32
        yield Geometry(k=k)
        yield Geometry(c=k, k=2, padding=1)
    for c in (1, 2, 4, 8):  # runs of (columns × channels), in sixes for the weights
        yield Geometry(c=c, padding=1)
        yield Geometry(c=c, r=1, s=1, k=1)
    for n in (2, 3, 7, 8, 9, 17):  # images: 8 partial sums of the weight gradient
        yield Geometry(n=n, h=4, w=3, c=1, k=2)
    for h in (1, 2, 7, 8, 9, 17):  # rows: 8 bands
        yield Geometry(h=h, padding=1, c=1, k=2)
        yield Geometry(n=3, h=h, padding=1, c=1, k=2, stride=2)
    for (r, s), stride, padding, dilation in product(
        ((1, 1), (3, 3), (4, 2)), (1, 2, 3), (0, 1, 3), (1, 2)
    ):
        bias = stride != 2
        yield Geometry(2, 7, 10, 3, r, s, 4, stride, padding, dilation, bias)
    yield Geometry(h=3, w=3)  # the kernel fits exactly once
    yield Geometry(h=1, w=1, padding=1)  # larger than the image
    yield Geometry(h=2, w=2, r=1, s=1, padding=2)  # pixels that see padding alone
    yield Geometry(h=11, w=11, r=2, s=2, stride=5)  # pixels that no kernel sees
    yield Geometry(h=0, w=0, padding=2)
    yield from (Geometry(n=0), Geometry(c=0), Geometry(k=0))
    yield Geometry(2, 8, 8, 32, 4, 4, 48, stride=2, padding=1)  # as an encoder has it
    yield Geometry(2, 6, 7, 32, k=3, padding=1)  # dots instead of tiles
    yield Geometry(2, 6, 7, 3, k=32, padding=1)
    yield Geometry(2, 5, 6, 1, 4, 4, 32, stride=2, padding=1)
    yield from winograd_geometries()


def winograd_geometries() -> Iterator[Geometry]:
    """Tiles of 2×2, whole and cut off; phases; blocks, bands and chunks of tiles."""
    for h in (1, 2, 3, 4, 5, 8):
        yield Geometry(2, h, 9 - h, 32, k=32, padding=1)
    for taps, stride in ((2, 1), (3, 1), (4, 2), (6, 2), (9, 3)):
        for padding in (0, 1, taps):
            yield Geometry(1, 9, 10, 32, taps, taps, 48, stride, padding)
            yield Geometry(3, 10, 11, 48, taps, taps, 32, stride, padding, bias=False)
    yield Geometry(17, 4, 4, 32, k=32, padding=1)
    yield Geometry(1, 60, 40, 32, k=32, padding=1)
    yield Geometry(4, 66, 66, 32, k=32, padding=1)
    yield Geometry(0, 4, 4, 32, k=32, padding=1)


def convolutions() -> list[Geometry]:
    """The geometries that have an output, each once."""
    return [g for g in dict.fromkeys(geometries()) if g.fits]


def conv2d_case(g: Geometry) -> KernelCase:
    """The forward pass."""
    bias = (draw("b", g.k),) if g.bias else ()

    def forward(x: Array, w: Array, b: Array | float = 0.0) -> Array:
        return forward_size(x, w, g.p, g.q, g.stride, g.padding) + b

    return KernelCase(
        "conv2d",
        str(g),
        (draw("x", g.n, g.h, g.w, g.c), draw("w", g.r, g.s, g.c, g.k), *bias),
        lambda x, w, b=None: (tinyvq_kernels.conv2d(x, w, b, **g.settings),),
        terms=g.r * g.s * g.c + 1,
        bounds=_bounds(g.phase, forward) if g.tiled else None,
    )


def _bounds(terms: int, size: Callable[..., Array]) -> Callable[..., Arrays]:
    """Bound the errors of Winograd's form, whose sums have so many terms."""

    def bounds(dtype: Any, *exact: Array) -> Arrays:
        n = terms + WAY
        both = gamma(n, dtype) + gamma(n, np.float64)
        return (both * size(*map(np.abs, exact)),)

    return bounds


def conv2d_input_grad_case(g: Geometry) -> KernelCase:
    """The input gradient, with a bias as conv_transpose2d has it."""
    bias = (draw("b", g.c),) if g.bias else ()

    def input_grad(gy: Array, w: Array, b: Array | float = 0.0) -> Array:
        return input_grad_size(gy, w, (g.h, g.w), g.stride, g.padding) + b

    return KernelCase(
        "conv2d_input_grad",
        str(g),
        (draw("gy", g.n, g.p, g.q, g.k), draw("w", g.r, g.s, g.c, g.k), *bias),
        lambda gy, w, b=None: (
            tinyvq_kernels.conv2d_input_grad(gy, w, (g.h, g.w), b, **g.settings),
        ),
        terms=g.r * g.s * g.k + 1,
        bounds=_bounds(g.k, input_grad) if g.tiled else None,
    )


def conv2d_weight_grad_case(g: Geometry) -> KernelCase:
    """The weight gradient."""

    def weight_grad(x: Array, gy: Array) -> Array:
        return weight_grad_size(x, gy, g.r, g.stride, g.padding)

    return KernelCase(
        "conv2d_weight_grad",
        str(g),
        (draw("x", g.n, g.h, g.w, g.c), draw("gy", g.n, g.p, g.q, g.k)),
        lambda x, gy: (
            tinyvq_kernels.conv2d_weight_grad(x, gy, (g.r, g.s), **g.settings),
        ),
        terms=g.n * g.p * g.q + 8,  # up to 8 partial sums
        bounds=_bounds(g.n * g.p * g.q + 8, weight_grad) if g.tiled else None,
    )


# ---- codes and optimiser -------------------------------------------------------------


def nearest_code_cases() -> Iterator[KernelCase]:
    """Rows around tiles of 6 and blocks of 192, codes around tiles of 8 and 16."""
    sizes = [(n, m, 3) for n in (0, 1, 5, 6, 7) for m in (1, 7, 8, 9, 15, 16, 17, 33)]
    sizes += [(n, 37, 5) for n in (191, 192, 193, 385)]
    sizes += [(13, 31, depth) for depth in (0, 1, 2, 64)] + [(29, 511, 16)]
    for n, m, depth in sizes:
        yield KernelCase(
            "nearest_code",
            f"{n}x{m}x{depth}",
            (draw("z", n, depth), draw("codes", m, depth)),
            lambda z, codes: (tinyvq_kernels.nearest_code(z, codes),),
            terms=depth,
        )


def code_sums_cases() -> Iterator[KernelCase]:
    """Codes around blocks of 64; none, one and many rows per code."""
    sizes = [(n, m, 3) for n in (0, 1, 2, 997) for m in (1, 2, 63, 64, 65, 129)]
    sizes += [(101, 7, depth) for depth in (0, 1, 8, 64)] + [(0, 0, 4)]
    for n, m, depth in sizes:
        indices = np.random.default_rng(n * m + depth).integers(0, max(m, 1), n)
        yield KernelCase(
            "code_sums",
            f"{n}x{m}x{depth}",
            (draw("z", n, depth), indices),
            lambda z, indices, m=m: tinyvq_kernels.code_sums(z, indices, m),
            terms=n,
        )


def adam_cases() -> Iterator[KernelCase]:
    """Sizes around blocks of 16384; any shape; the first step and a late one.

    terms = 12: with one rounding for each constant, m carries 3 roundings, √v · root
    + ε carries 6, their quotient 12, and p one more.
    """
    shapes = [(0,), (1,), (), (3, 5, 7), (16383,), (16384,), (16385,), (32769,)]
    for shape, step, weight_decay in [
        *((shape, 3, 0.0) for shape in shapes),
        ((101,), 1, 0.0),
        ((101,), 100_000, 0.01),
    ]:
        settings = {"lr": 3e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        settings |= {"weight_decay": weight_decay}

        def call(
            p: Array, g: Array, m: Array, v: Array, t: int = step, kw: Any = settings
        ) -> Arrays:
            numbers = tinyvq_kernels.adam_numbers([t], **kw)
            tinyvq_kernels.adam([p], [g], [m], [v], numbers=numbers)
            return p, m, v

        p, g, m, v = (draw(name, *shape) for name in "pgmv")
        yield KernelCase(
            "adam",
            f"{shape}-step{step}-decay{weight_decay}",
            (p, g, m, np.square(v, out=v)),
            call,
            terms=12,
            # p is a difference: gradients of the other sign make it a sum of sizes.
            magnitude=lambda p, g, m, v: (abs(p), -abs(g), -abs(m), v),
            in_place=(0, 2, 3),
        )


def square_sum_cases() -> Iterator[KernelCase]:
    """Sizes around pieces of 4096; several arrays, of which some are empty."""
    for sizes in [(1,), (0,), (4095, 3), (4096, 0, 4097), (2, 9000)]:
        arrays = tuple(draw(f"x{i}", size) for i, size in enumerate(sizes))
        yield KernelCase(
            "square_sum",
            f"{sizes}",
            arrays,
            lambda *arrays: (
                tinyvq_kernels.square_sum(arrays).astype(arrays[0].dtype),
            ),
            terms=sum(sizes),
        )


# ---- values and sums of pixels -------------------------------------------------------


def pixel_sums_cases() -> Iterator[KernelCase]:
    """Rows of channels around vectors of them; none, one and many pixels.

    More than 4096 of them are shared out to blocks, as lines of whole pixels: of 120
    values for 3 channels, one pixel for 130.
    """
    for n, l, c in [
        (0, 3, 2),
        (1, 0, 3),
        (3, 4, 0),
        (5, 7, 1),
        (3, 64, 5),
        (2, 65, 17),
        (9, 3, 64),
        (2, 2500, 3),
        (1, 4099, 3),
        (3, 1400, 4),
        (1, 4097, 1),
        (7, 600, 37),
        (1, 4100, 130),
        (2, 33000, 5),
    ]:
        yield KernelCase(
            "pixel_sums",
            f"{n}x{l}x{c}",
            (draw("x", n, l, c),),
            lambda x: (tinyvq_kernels.pixel_sums(x),),
            terms=n * l,
        )


def pointwise_cases(op: str) -> Iterator[KernelCase]:
    """Sizes around blocks of 16384; any shape; values far from 0 and 0 itself."""
    for shape in [(0,), (), (1,), (3, 5, 7), (16383,), (16385,), (40000,)]:
        x = draw("x", *shape) * 6
        if x.size > 4:
            x.flat[:5] = 0, -0.0, 80, -80, 1e-30
        gradients = (draw("gy", *shape),) if op.endswith("_grad") else ()
        yield KernelCase(
            op,
            str(shape),
            (x, *gradients),
            lambda *arrays: (getattr(tinyvq_kernels, op)(*arrays),),
            terms=1,
            bounds=_pointwise_bounds,
        )


def _pointwise_bounds(dtype: Any, x: Array, gy: Array | None = None) -> Arrays:
    """e^x is off by 2 roundings (r, its series), σ by 4, what is made of it by 8.

    silu' is σ + x σ (1 - σ), and 1 - σ is off by σ's error, not by its own: all in all
    by less than 8 roundings of the largest term, (1 + |x|).
    """
    size = np.abs(x) if gy is None else np.abs(gy) * (1 + np.abs(x))
    return ((gamma(8, dtype) + gamma(8, np.float64)) * size,)


CASES: dict[str, Callable[[], list[KernelCase]]] = {
    "adam": lambda: list(adam_cases()),
    "square_sum": lambda: list(square_sum_cases()),
    "attention": lambda: list(attention_cases()),
    "attention_grad": lambda: list(attention_grad_cases()),
    "code_sums": lambda: list(code_sums_cases()),
    "conv2d": lambda: [conv2d_case(g) for g in convolutions()],
    "conv2d_input_grad": lambda: [conv2d_input_grad_case(g) for g in convolutions()],
    "conv2d_weight_grad": lambda: [conv2d_weight_grad_case(g) for g in convolutions()],
    "decoder": lambda: list(decoder_cases()),
    "group_norm": lambda: list(group_norm_cases()),
    "group_norm_grad": lambda: list(group_norm_grad_cases()),
    "matmul": lambda: list(matmul_cases()),
    "pixel_sums": lambda: list(pixel_sums_cases()),
    "running_means": lambda: list(running_means_cases()),
    **{
        op: partial(lambda op: list(pointwise_cases(op)), op)
        for op in ("relu", "relu_grad", "silu", "silu_grad")
    },
    "nearest_code": lambda: list(nearest_code_cases()),
}


def fast_kernels() -> list[tuple[Kernel, str]]:
    """The CPU kernels with each of their dtypes, without the references.

    "cuda_emulated" is one of the rungs that are there beside it.

    A reference specifies values, not bits: it may call BLAS, whose roundings depend on
    strides and threads.
    """
    return [
        (kernel, dtype)
        for kernel in tinyvq_kernels.kernels()
        if kernel.backend == "cpu"
        if kernel.variant not in ("reference", "cuda_emulated")
        for dtype in kernel.dtypes
    ]


def digest() -> str:
    """Hash all bits that the fast CPU kernels make of all cases.

    Without those that are emulated, which run in one thread whatever there is.
    """
    bits = hashlib.sha256()
    for kernel, dtype in fast_kernels():
        if is_emulated(kernel):
            continue
        for case in CASES[kernel.op]():
            for result in case.run(kernel.variant, case.cast(dtype)):
                bits.update(result.tobytes())
    return bits.hexdigest()
