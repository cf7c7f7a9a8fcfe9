"""Where the time of a training step goes, op by op, and how much of it must go there.

A `Profiler` sees every op as it runs and adds up, for each kind of op, its calls, its
seconds, the floating-point operations (FLOPs) that its definition asks for, and the
bytes of the arrays that come in and go out. A `Machine` knows the two roofs that no op
can pass: FLOPs per second of its cores, bytes per second of its memory. So an op has a
least time, the longer of FLOPs / peak and bytes / bandwidth, and the share of its roof
is that over the time that it took (Williams, Waterman and Patterson, "Roofline", CACM
52(4), 2009).

Both counts are of what is asked for, not of what a kernel does. A convolution that
multiplies less than its definition (Winograd's form), or arrays that are still in a
cache from the op before, can pass a share of 100%.
"""

import math
import platform
import time
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import get_num_threads
from tinyvq_kernels import (
    keep_freed_memory,
    peak_bandwidth,
    peak_flops,
    watch_kernels,
)

from tinyvq.function import Array, Context, Function, Observer, observe
from tinyvq.ops._attention import Attention
from tinyvq.ops._convolutions import Conv2d, ConvTranspose2d
from tinyvq.ops._products import Linear, MatMul
from tinyvq.ops._quantization import StraightThrough
from tinyvq.ops._shapes import Concatenate, Pad, Reshape, Slice, Transpose


@dataclass(frozen=True)
class Product:
    """An op linear in two operands, a · b: forward and both gradients cost the same.

    operands  the names under which its forward saves the two
    terms     (a, b, result) -> the products of two numbers that are added up
    """

    operands: tuple[str, str]
    terms: Callable[[Array, Array, Array], int]


# A product and a sum, 2 FLOPs, for each term. The bias is left out.
PRODUCTS: dict[type[Function], Product] = {
    # y (N,P,Q,K), w (R,S,C,K):  N P Q K · R S C
    Conv2d: Product(("x", "w"), lambda x, w, y: y.size * math.prod(w.shape[:3])),
    # the adjoint of the same convolution, y going in
    ConvTranspose2d: Product(
        ("y", "w"), lambda y, w, x: y.size * math.prod(w.shape[:3])
    ),
    # a (...,I,L), b (...,L,J):  ... I L · J
    MatMul: Product(("a", "b"), lambda a, b, c: a.size * b.shape[-1]),
    # x (...,C), w (C,K):  ... C · K
    Linear: Product(("x", "w"), lambda x, w, y: x.size * w.shape[1]),
}
# What puts values elsewhere and computes nothing.
MOVES = (Reshape, Transpose, Slice, Concatenate, Pad, StraightThrough)


def forward_flops(function: Function, inputs: tuple[Any, ...], output: Array) -> int:
    """Count what an op's forward asks for.

    Attention: its two products of matrices. What stands in no table: one operation for
    each value of the largest array, so a sum of 100 values counts 100.
    """
    product = PRODUCTS.get(type(function))
    if product is not None:
        return 2 * product.terms(inputs[0], inputs[1], output)
    if isinstance(function, Attention):
        q, k, v = inputs  # (N,A,T,E), (N,A,S,E), (N,A,S,F)
        return 2 * int(q.size * k.shape[2] + output.size * v.shape[2])
    if isinstance(function, MOVES):
        return 0
    return max(int(a.size) for a in (*inputs, output) if a is not None)


def backward_flops(
    function: Function, saved: dict[str, Any], gy: Array, gradients: tuple[Any, ...]
) -> int:
    """Count what an op's backward asks for: of each gradient, where it is asked for.

    What stands in no table: one operation for each value of a gradient.
    """
    asked = [g is not None for g in gradients]
    product = PRODUCTS.get(type(function))
    if product is not None:
        a, b = (saved[name] for name in product.operands)
        return 2 * product.terms(a, b, gy) * sum(asked[:2])
    if isinstance(function, Attention):
        q, v = saved["q"], saved["v"]  # (N,A,T,E), (N,A,S,F)
        of_scores, of_values = (
            2 * int(q.size * v.shape[2]),
            2 * int(gy.size * v.shape[2]),
        )
        through = of_values if asked[0] or asked[1] else 0  # gp = gy vᵀ
        return through + of_scores * sum(asked[:2]) + of_values * asked[2]
    if isinstance(function, MOVES):
        return 0
    return sum(int(g.size) for g in gradients if g is not None)


def bytes_moved(came: Iterable[Any], made: Iterable[Any]) -> tuple[int, int]:
    """Count bytes read and written by a call: of the arrays in, and of those it made.

    A result that shares memory with what came in, such as a reshape's, is not made; a
    call that makes nothing reads nothing.
    """
    inputs = [a for a in came if isinstance(a, np.ndarray)]
    new = [
        a
        for a in made
        if isinstance(a, np.ndarray)
        and not any(np.may_share_memory(a, b) for b in inputs)
    ]
    if not new:
        return 0, 0
    each = {id(a): a.nbytes for a in inputs}  # the same array twice is read once
    return sum(each.values()), sum(a.nbytes for a in new)


def name_of(function: Function, w: Any) -> str:
    """Name an op, a convolution with its window and stride: "Conv2d 4×4 stride 2"."""
    name = type(function).__name__
    if isinstance(function, Conv2d | ConvTranspose2d):
        name += f" {w.shape[0]}×{w.shape[1]}"
        if function.stride > 1:
            name += f" stride {function.stride}"
        if function.dilation > 1:
            name += f" dilation {function.dilation}"
    return name


@dataclass
class Cost:
    """What calls cost together; bytes `read` and `written`."""

    calls: float = 0.0
    seconds: float = 0.0
    flops: float = 0.0
    read: float = 0.0
    written: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.calls + other.calls,
            self.seconds + other.seconds,
            self.flops + other.flops,
            self.read + other.read,
            self.written + other.written,
        )

    def over(self, steps: int) -> "Cost":
        """Share the cost out evenly."""
        return Cost(
            self.calls / steps,
            self.seconds / steps,
            self.flops / steps,
            self.read / steps,
            self.written / steps,
        )

    @property
    def moved(self) -> float:
        """Bytes read and written."""
        return self.read + self.written


@dataclass
class OpCost:
    """What one kind of op costs, there and back."""

    forward: Cost = field(default_factory=Cost)
    backward: Cost = field(default_factory=Cost)

    @property
    def total(self) -> Cost:
        """Both together."""
        return self.forward + self.backward


class Profiler(Observer):
    """Adds up what ops cost, and the seconds of kernels that run outside any op.

    ops       by name, see `name_of`
    kernels   by name: the optimiser's, the codebook search, ...
    own       seconds that the profiler itself took, no part of any of them
    """

    def __init__(self) -> None:
        self.ops: dict[str, OpCost] = {}
        self.kernels: dict[str, Cost] = {}
        self.own = 0.0
        self._saved: dict[str, Any] = {}
        self._in_op = False
        self._began = 0.0

    def before_forward(self, function: Function, inputs: tuple[Any, ...]) -> None:
        """Start the clock."""
        self._in_op = True
        self._began = time.perf_counter()

    def forward(
        self, function: Function, inputs: tuple[Any, ...], output: Array
    ) -> None:
        """Stop the clock, then count."""
        now = time.perf_counter()
        flops = forward_flops(function, inputs, output)
        moved = bytes_moved(inputs, (output,))
        name = name_of(function, inputs[1] if len(inputs) > 1 else None)
        op = self.ops.setdefault(name, OpCost())
        op.forward += Cost(1, now - self._began, flops, *moved)
        self._in_op = False
        self.own += time.perf_counter() - now

    def before_backward(self, function: Function, ctx: Context, gy: Array) -> None:
        """Start the clock; keep what was saved, to count by."""
        self._in_op = True
        self._saved = ctx.saved or {}
        self._began = time.perf_counter()

    def backward(
        self, function: Function, gy: Array, gradients: tuple[Any, ...]
    ) -> None:
        """Stop the clock, then count; what the forward saved is what comes in."""
        now = time.perf_counter()
        saved, self._saved = self._saved, {}
        flops = backward_flops(function, saved, gy, gradients)
        moved = bytes_moved((gy, *saved.values()), gradients)
        op = self.ops.setdefault(name_of(function, saved.get("w")), OpCost())
        op.backward += Cost(1, now - self._began, flops, *moved)
        self._in_op = False
        self.own += time.perf_counter() - now

    def around(self, name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        """Time a kernel that runs outside any op; see `watch_kernels`."""
        if self._in_op:
            return kernel

        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = kernel(*arguments)
            cost = self.kernels.setdefault(name, Cost())
            cost.calls += 1
            cost.seconds += time.perf_counter() - began
            return result

        return timed


@dataclass(frozen=True)
class Profile:
    """What one step costs, the mean over `steps`.

    ops           by name, the longest first
    kernels       that ran outside any op, by name, the longest first
    seconds       of the whole step
    peak_memory   bytes, see `peak_memory`
    """

    steps: int
    ops: dict[str, OpCost]
    kernels: dict[str, Cost]
    seconds: float
    peak_memory: int

    @property
    def in_ops(self) -> float:
        """Seconds in all ops."""
        return sum(op.total.seconds for op in self.ops.values())

    @property
    def outside(self) -> float:
        """Seconds outside ops: Python, batches, optimiser, codebook."""
        return self.seconds - self.in_ops

    @property
    def rest(self) -> float:
        """Seconds outside ops and outside kernels."""
        return self.outside - sum(cost.seconds for cost in self.kernels.values())


def profile(
    step: Callable[[int], object], *, steps: int = 10, warmup: int = 3
) -> Profile:
    """Run training steps and say where their time goes.

    step     does the step of a number, counted from 1
    steps    that are measured, after `warmup` others; one more follows for the memory
    """
    keep_freed_memory()  # as in training
    for number in range(1, warmup + 1):
        step(number)
    profiler, seconds = Profiler(), 0.0
    with observe(profiler), watch_kernels(profiler.around):
        for number in range(warmup + 1, warmup + steps + 1):
            began = time.perf_counter()
            step(number)
            seconds += time.perf_counter() - began
    memory = peak_memory(lambda: step(warmup + steps + 1))
    ops = {
        name: OpCost(op.forward.over(steps), op.backward.over(steps))
        for name, op in profiler.ops.items()
    }
    kernels = {name: cost.over(steps) for name, cost in profiler.kernels.items()}
    return Profile(
        steps,
        dict(sorted(ops.items(), key=lambda op: -op[1].total.seconds)),
        dict(sorted(kernels.items(), key=lambda kernel: -kernel[1].seconds)),
        (seconds - profiler.own) / steps,
        memory,
    )


def peak_memory(run: Callable[[], object]) -> int:
    """Measure the most bytes that a call holds at one time, above what stood before.

    Python's allocator and NumPy's report to `tracemalloc`. It does not see what stood
    before the call (weights, the optimiser's averages, the images), what compiled
    kernels allocate within themselves, the stacks of threads, nor memory that the
    system gave and nobody uses.
    """
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()


@dataclass(frozen=True)
class Machine:
    """A machine's roofs: FLOPs per second, bytes per second."""

    name: str
    threads: int
    flops: float
    bandwidth: float

    def least_seconds(self, cost: Cost) -> float:
        """Compute the time below which no kernel can come that moves all its bytes."""
        return max(cost.flops / self.flops, cost.moved / self.bandwidth)

    def share(self, cost: Cost) -> float:
        """Compute the share of its roof that a cost reaches, 0 .. 1 (and see above)."""
        return self.least_seconds(cost) / cost.seconds if cost.seconds else 0.0

    def roof(self, intensity: float) -> float:
        """Compute the most FLOPs per second at so many FLOPs per byte."""
        return min(self.flops, self.bandwidth * intensity)


def measure_machine(dtype: str = "float32") -> Machine:
    """Measure this machine's roofs, with the threads that kernels have now."""
    return Machine(_processor(), get_num_threads(), peak_flops(dtype), peak_bandwidth())


def _processor() -> str:
    """Name the processor, as Linux does where it is Linux."""
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
