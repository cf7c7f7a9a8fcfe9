"""A profile counts what was asked for, times the op alone, and changes nothing."""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tinyvq_kernels import watch_kernels

from tinyvq import ops, optim, profiling
from tinyvq.data import ImageData, Split
from tinyvq.function import Context, Function, Observer, observe
from tinyvq.profiling import Cost, Machine, OpCost, Profiler, peak_memory, profile
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, apply
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vqgan import VQGANOptions, VQGANTask
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

JUDGED: dict[str, Any] = {
    **{"adversarial_start": 1, "adversarial_ramp": 0, "head_start": 0},
    **{"discriminator_width": 4, "model": "conv"},
}


def tensor(*shape: int, grad: bool = True) -> Tensor:
    return Tensor(np.ones(shape, np.float32), requires_grad=grad)


def seen(call: Callable[[], Tensor]) -> dict[str, OpCost]:
    """Run a call and its backward under a profiler."""
    with observe(profiler := Profiler()):
        y = call()
        if y.requires_grad:
            y.backward(np.ones(y.shape, np.float32))
    return profiler.ops


def flops(call: Callable[[], Tensor]) -> tuple[float, float]:
    """Count a call of one op: FLOPs there and back."""
    (op,) = seen(call).values()
    return op.forward.flops, op.backward.flops


# FLOPs, by hand.

# x (2,5,6,3), w (3,3,3,4), stride 2, padding 1: P = Q = 3.
CONVOLUTION = 2 * (2 * 3 * 3) * (3 * 3) * 3 * 4  # N P Q · R S · C · K, two each


@pytest.mark.parametrize(("of_x", "of_w"), [(True, True), (False, True), (True, False)])
def test_a_convolution_and_each_gradient_cost_the_same(of_x: bool, of_w: bool) -> None:
    x, w, b = tensor(2, 5, 6, 3, grad=of_x), tensor(3, 3, 3, 4, grad=of_w), tensor(4)
    assert CONVOLUTION == 3888
    assert flops(lambda: ops.conv2d(x, w, b, stride=2, padding=1)) == (
        3888,
        3888 * (of_x + of_w),
    )


def test_a_transposed_convolution_costs_what_its_adjoint_does() -> None:
    y, w = tensor(2, 3, 3, 4), tensor(3, 3, 3, 4)
    assert flops(lambda: ops.conv_transpose2d(y, w, stride=2, padding=1)) == (
        3888,
        2 * 3888,
    )


def test_products_of_matrices() -> None:
    a, b = tensor(5, 2, 3), tensor(5, 3, 4)
    assert flops(lambda: ops.matmul(a, b)) == (2 * 5 * 2 * 3 * 4, 4 * 5 * 2 * 3 * 4)
    shared = tensor(3, 4, grad=False)
    assert flops(lambda: ops.matmul(a, shared)) == (240, 240)
    x, w, bias = tensor(2, 5, 3), tensor(3, 7), tensor(7)
    assert flops(lambda: ops.linear(x, w, bias)) == (2 * 10 * 3 * 7, 4 * 10 * 3 * 7)


@pytest.mark.parametrize(
    ("asked", "products"),
    [((1, 1, 1), (2, 2)), ((1, 0, 0), (1, 1)), ((0, 0, 1), (0, 1))],
)
def test_attention_is_its_products(
    asked: tuple[int, ...], products: tuple[int, int]
) -> None:
    n, a, t, s, e, f = 2, 3, 4, 5, 6, 7
    shapes = ((n, a, t, e), (n, a, s, e), (n, a, s, f))
    q, k, v = (tensor(*x, grad=bool(g)) for x, g in zip(shapes, asked, strict=True))
    of_scores, of_values = 2 * n * a * t * s * e, 2 * n * a * t * s * f
    there, back = flops(lambda: ops.attention(q, k, v))
    assert there == of_scores + of_values
    assert back == products[0] * of_scores + products[1] * of_values


def test_what_is_in_no_table_costs_one_a_value() -> None:
    x = tensor(4, 5)
    assert flops(lambda: ops.relu(x)) == (20, 20)
    assert flops(lambda: ops.sum(x)) == (20, 20)
    assert flops(lambda: ops.mul(x, tensor(5, grad=False))) == (20, 20)
    assert flops(lambda: ops.transpose(x, 1, 0)) == (0, 0)


# Bytes.


def test_bytes_are_those_of_the_arrays() -> None:
    x, w, b = tensor(2, 5, 6, 3), tensor(3, 3, 3, 4), tensor(4)
    (op,) = seen(lambda: ops.conv2d(x, w, b, stride=2, padding=1)).values()
    assert (op.forward.read, op.forward.written) == (4 * (180 + 108 + 4), 4 * 72)
    assert (op.backward.read, op.backward.written) == (
        4 * (72 + 180 + 108),
        4 * (180 + 108 + 4),
    )
    assert op.total.moved == 4 * (292 + 72 + 360 + 292)


def test_a_view_moves_nothing_and_one_array_twice_is_read_once() -> None:
    x = tensor(4, 5)
    (op,) = seen(lambda: ops.reshape(x, 20)).values()
    assert op.total.moved == 0
    (op,) = seen(lambda: ops.mul(x, x)).values()
    assert (op.forward.read, op.forward.written) == (80, 80)


def test_names_tell_windows_strides_and_dilations() -> None:
    x, w = tensor(1, 9, 9, 2), tensor(3, 2, 2, 2)
    with observe(profiler := Profiler()):
        ops.conv2d(x, w)
        ops.conv2d(x, w)
        ops.conv2d(x, w, stride=2, dilation=3).backward(np.ones((1, 2, 3, 2), "f"))
        ops.conv_transpose2d(x, w, stride=2)
        ops.relu(x)
    calls = {n: (c.forward.calls, c.backward.calls) for n, c in profiler.ops.items()}
    assert calls == {
        "Conv2d 3×2": (2, 0),
        "Conv2d 3×2 stride 2 dilation 3": (1, 1),
        "ConvTranspose2d 3×2 stride 2": (1, 0),
        "ReLU": (1, 0),
    }


# Time.


class Clock:
    """Stands in for the module `time`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1024.0
        monkeypatch.setattr(profiling, "time", self)

    def perf_counter(self) -> float:
        return self.now


@dataclass(frozen=True)
class Slow(Function):
    clock: Clock

    def forward(self, ctx: Context, x: Any) -> Any:
        self.clock.now += 2
        return x + 1

    def backward(self, ctx: Context, gy: Any) -> Any:
        self.clock.now += 1
        return (gy.copy(),)


def test_the_time_of_an_op_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the step's outside it nor the profiler's counts."""
    clock = Clock(monkeypatch)

    def count(*arguments: Any) -> int:
        clock.now += 64
        return 1

    monkeypatch.setattr(profiling, "forward_flops", count)
    monkeypatch.setattr(profiling, "backward_flops", count)

    def step(number: int) -> None:
        y = apply(Slow(clock), tensor(1))
        clock.now += 4
        y.backward()

    found = profile(step, steps=2, warmup=1)
    op = found.ops["Slow"]
    assert (op.forward.calls, op.backward.calls, op.forward.flops) == (1, 1, 1)
    # Powers of two add up exactly, and tell whose they are.
    assert (op.forward.seconds, op.backward.seconds) == (2, 1)
    assert (found.in_ops, found.outside, found.seconds) == (3, 4, 7)


def test_steps_are_numbered_and_the_first_are_not_measured() -> None:
    numbers: list[int] = []

    def step(number: int) -> None:
        numbers.append(number)
        for _ in range(number):
            ops.relu(tensor(1))

    found = profile(step, steps=2, warmup=2)
    assert numbers == [1, 2, 3, 4, 5]
    assert found.ops["ReLU"].forward.calls == (3 + 4) / 2
    assert found.steps == 2


def test_kernels_outside_ops_have_their_own_time() -> None:
    w = tensor(3, 3)
    adam = optim.Adam([w], lr=0.1)

    def step(number: int) -> None:
        adam.zero_grad()
        ops.sum(ops.matmul(w, w)).backward()
        adam.step()

    found = profile(step, steps=2, warmup=1)
    assert found.kernels.keys() == {"adam"}  # and not the matmul of an op
    assert found.kernels["adam"].calls == 1
    assert 0 < found.kernels["adam"].seconds < found.outside
    assert found.rest == found.outside - found.kernels["adam"].seconds


def test_a_watch_stands_in_for_each_kernel() -> None:
    called: list[str] = []

    def around(op: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        called.append(op)
        return lambda *arguments: kernel(*arguments) * 2

    a = tensor(2, 2)
    with watch_kernels(around):
        doubled = ops.matmul(a, a).numpy()
    np.testing.assert_array_equal(doubled, 2 * ops.matmul(a, a).numpy())
    assert called == ["matmul"]


# Observers.


class Order(Observer):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def before_forward(self, function: Function, inputs: Any) -> None:
        self.seen.append(("before forward", [a.item() for a in inputs]))

    def forward(self, function: Function, inputs: Any, output: Any) -> None:
        self.seen.append(("forward", output.item()))

    def before_backward(self, function: Function, ctx: Context, gy: Any) -> None:
        self.seen.append(("before backward", ctx.x.item(), gy.item()))

    def backward(self, function: Function, gy: Any, gradients: Any) -> None:
        self.seen.append(("backward", [g.item() for g in gradients]))


@dataclass(frozen=True)
class Square(Function):
    note: Callable[[str], None]

    def forward(self, ctx: Context, x: Any) -> Any:
        self.note("in forward")
        ctx.save(x=x)
        return x * x

    def backward(self, ctx: Context, gy: Any) -> Any:
        self.note("in backward")
        return (2 * ctx.x * gy,)


def test_an_observer_is_called_before_and_after() -> None:
    with observe(order := Order()):
        y = apply(Square(order.seen.append), Tensor([3.0], requires_grad=True))
        y.backward()
    assert order.seen == [
        ("before forward", [3.0]),
        "in forward",
        ("forward", 9.0),
        ("before backward", 3.0, 1.0),
        "in backward",
        ("backward", [6.0]),
    ]


def test_another_observer_may_watch_in_a_profile() -> None:
    inner = Order()

    def step(number: int) -> None:
        with observe(inner):
            ops.relu(Tensor([1.0]))
        ops.absolute(Tensor([1.0]))

    found = profile(step, steps=1, warmup=0)
    assert found.ops.keys() == {"Abs"}
    assert len(inner.seen) == 4  # in the step that is measured, and that for memory


# Memory, and a machine.


def test_peak_memory_is_what_a_call_holds_above_what_stood_before() -> None:
    before = np.ones(1 << 20)

    def call() -> None:
        np.ones(1 << 20).sum()  # 8 MiB, and gone
        np.ones(1 << 19).sum()

    assert 8 << 20 <= peak_memory(call) < (8 << 20) + 100_000
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        np.ones(1 << 22).sum()  # the highest peak, but before
        kept = np.ones(1 << 21)
        assert peak_memory(call) < (8 << 20) + 100_000
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert before.size + kept.size == 3 << 20


def test_a_roof_is_the_lower_of_two() -> None:
    machine = Machine("m", 1, flops=100.0, bandwidth=10.0)
    assert (machine.roof(5), machine.roof(10), machine.roof(20)) == (50, 100, 100)
    cost = Cost(1, seconds=4.0, flops=200.0, read=15.0, written=5.0)  # 10 FLOPs a byte
    assert machine.least_seconds(cost) == 2.0
    assert machine.share(cost) == 0.5 == 200 / 4 / machine.roof(10)
    moving = Cost(1, seconds=4.0, flops=0.0, read=20.0, written=0.0)
    assert machine.share(moving) == 0.5
    assert machine.share(Cost()) == 0.0


# Whole steps.


def task(kind: str) -> VQVAETask | VQGANTask:
    pixels = Stream(0, "noise").integers(256, (9, 16, 16, 1)).astype(np.uint8)
    images = ImageData("noise", {"train": Split(pixels[:8]), "val": Split(pixels[8:])})
    small: dict[str, Any] = {"hidden": 4, "code_dim": 2, "num_codes": 6}
    if kind == "vqvae":
        options = VQVAEOptions(batch_size=4, **small)
        return VQVAETask(options, images, facts_of(images))
    judged = VQGANOptions(batch_size=4, **small, **JUDGED)
    return VQGANTask(judged, images, facts_of(images))


@pytest.mark.parametrize("kind", ["vqvae", "vqgan"])
def test_a_profile_changes_no_bit(kind: str) -> None:
    profiled, plain = task(kind), task(kind)
    found = profile(profiled.step, steps=2, warmup=2)
    for number in range(1, 6):
        plain.step(number)
    ours, theirs = profiled.state(), plain.state()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name
    assert 0 < found.in_ops < found.seconds
    assert found.peak_memory > 4 * 16 * 16 * 4
    assert {"adam", "nearest_code", "code_sums"} <= found.kernels.keys()
    assert found.rest > 0
