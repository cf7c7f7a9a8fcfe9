"""The engine: one node a call, each walked once, the newest first."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from engine_examples import (
    Backwards,
    Double,
    Plus,
    Returns,
    Times,
    leaf,
    plus,
    scale,
    times,
    values_of,
)
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.errors import GraphError
from tinyvq.function import Context, Function, Observer, observe, observer
from tinyvq.tensor import Tensor, apply, grad

LONG = 10_000


def test_a_chain_of_ten_thousand_nodes_is_walked_and_freed() -> None:
    assert sys.getrecursionlimit() < LONG
    x, one = leaf(3.0), leaf(1.0, requires_grad=False)
    y = x
    for _ in range(LONG):
        y = plus(y, one)
    with observe(seen := Backwards()):
        y.backward()
    assert values_of(y) == [3.0 + LONG]
    assert values_of(x.grad) == [1.0]
    assert len(seen.ran) == LONG
    del y  # frees node after node


def test_each_node_runs_once_and_the_newest_first() -> None:
    # A diamond on a diamond: 2 · 2 ways lead from d to a.
    x = leaf(3.0)
    a = scale(x, 2.0, "a")
    b = scale(a, 5.0, "b")
    c = times(a, b, "c")
    d = plus(c, b, "d")
    with observe(seen := Backwards()):
        d.backward()
    assert seen.names == ["d", "c", "b", "a"]
    # d = (2x)(10x) + 10x, so d' = 40x + 10.
    assert values_of(x.grad) == [130.0]


def test_order_is_of_creation_not_of_use() -> None:
    x = leaf(1.0)
    old = scale(x, 2.0, "old")
    new = scale(x, 3.0, "new")
    with observe(seen := Backwards()):
        plus(new, old, "sum").backward()
    assert seen.names == ["sum", "new", "old"]


def test_one_tensor_as_both_inputs_gets_both_gradients() -> None:
    x = leaf(3.0, -2.0)
    apply(Plus(), x, x).backward(np.array([1.0, 10.0]))
    assert values_of(x.grad) == [2.0, 20.0]
    x.zero_grad()
    apply(Times(), x, x).backward(np.array([1.0, 10.0]))
    assert values_of(x.grad) == [6.0, -40.0]


def test_what_is_not_below_the_root_is_not_walked() -> None:
    x = leaf(1.0)
    y = scale(x, 2.0, "y")
    above = scale(y, 3.0, "above")
    with observe(seen := Backwards()):
        y.backward(retain_graph=True)
        assert seen.names == ["y"]
        above.backward()
    assert seen.names == ["y", "above", "y"]
    assert values_of(x.grad) == [2.0 + 6.0]


# Against a naive engine, on random graphs. Values are whole numbers below 2**53, so all
# sums and products are exact and the order of additions cannot matter.


@dataclass(frozen=True)
class Naive:
    """A value, and its inputs, each with the derivative in it."""

    value: int
    inputs: tuple[tuple["Naive", int], ...] = field(default=(), repr=False)

    def derivative(self, target: "Naive") -> int:
        """Add up, over all paths to the target, the product of what is on each."""
        if self is target:
            return 1
        return sum(slope * node.derivative(target) for node, slope in self.inputs)


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["plus", "times", "scale", "detach"]),
        st.integers(0, 99),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=10,
)
leaves = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=4)


def build(
    leaves: list[tuple[int, bool]], steps: list[Step]
) -> tuple[list[Tensor], list[Naive]]:
    """Build one graph in both engines; a step takes earlier results, modulo."""
    ours = [leaf(float(v), requires_grad=trained) for v, trained in leaves]
    naive = [Naive(v) for v, _ in leaves]
    n = len(leaves)
    for what, i, j in steps:
        i, j = i % len(ours), j % len(ours)
        a, b = naive[i], naive[j]
        if what == "plus":
            ours.append(plus(ours[i], ours[j]))
            naive.append(Naive(a.value + b.value, ((a, 1), (b, 1))))
        elif what == "times":  # by a leaf, so that degrees grow by one a step
            a = naive[i % n]
            ours.append(times(ours[i % n], ours[j]))
            naive.append(Naive(a.value * b.value, ((a, b.value), (b, a.value))))
        elif what == "scale":
            ours.append(scale(ours[i], float(j - 2)))
            naive.append(Naive((j - 2) * a.value, ((a, j - 2),)))
        else:
            ours.append(ours[i].detach())
            naive.append(Naive(a.value))
    return ours, naive


def depends(root: Naive, target: Naive) -> bool:
    return root is target or any(depends(node, target) for node, _ in root.inputs)


@given(leaves=leaves, steps=steps)
def test_backward_agrees_with_a_naive_engine(
    leaves: list[tuple[int, bool]], steps: list[Step]
) -> None:
    ours, naive = build(leaves, steps)
    assert [t.item() for t in ours] == [n.value for n in naive]
    trained = [i for i, (_, trained) in enumerate(leaves) if trained]
    reached = [i for i in trained if depends(naive[-1], naive[i])]
    if not reached:
        with pytest.raises(GraphError, match="there is nothing to differentiate"):
            ours[-1].backward()
        return
    ours[-1].backward()
    for i in range(len(leaves)):
        got = ours[i].grad
        assert (got is not None) == (i in reached)
        if got is not None:
            assert got.item() == naive[-1].derivative(naive[i])


@given(leaves=leaves, steps=steps, picks=st.lists(st.integers(0, 99), max_size=3))
def test_grad_of_any_results_agrees_with_a_naive_engine(
    leaves: list[tuple[int, bool]], steps: list[Step], picks: list[int]
) -> None:
    ours, naive = build([(v, True) for v, _ in leaves], steps)
    wanted = [i % len(ours) for i in picks]
    asked = [ours[i] for i in wanted]
    if not ours[-1].requires_grad or not all(
        ours[i].requires_grad and depends(naive[-1], naive[i]) for i in wanted
    ):
        with pytest.raises(GraphError):
            grad(ours[-1], asked)
        return
    found = grad(ours[-1], asked)
    assert [g.item() for g in found] == [naive[-1].derivative(naive[i]) for i in wanted]
    assert all(tensor.grad is None for tensor in ours)


# What a backward returns must fit.


@pytest.mark.parametrize(
    ("gradients", "says"),
    [
        (
            lambda ctx, gy: (gy, gy[:1]),
            r"input 1 must be float64 \(2,\), got .* \(1,\)",
        ),
        (lambda ctx, gy: (gy, gy.sum()), r"input 1 must be .*, got float64 \(\)"),
        (
            lambda ctx, gy: (gy.astype(np.float32), gy),
            r"input 0 must be float64 \(2,\), got float32 \(2,\)",
        ),
        (lambda ctx, gy: (gy, None), r"input 1 must be float64 \(2,\), got None"),
        (lambda ctx, gy: (gy, 1.0), r"input 1 must be float64 \(2,\), got float"),
        (lambda ctx, gy: gy, "must return a tuple of 2 gradients, .* got float64"),
        (lambda ctx, gy: (gy,), "must return a tuple of 2 .*, got a tuple of 1"),
        (lambda ctx, gy: [gy, gy], "must return a tuple of 2 .*, got list"),
        (lambda ctx, gy: None, "must return a tuple of 2 .*, got None"),
    ],
)
def test_a_gradient_that_does_not_fit_raises_and_names_the_op(
    gradients: Callable[[Context, Any], Any], says: str
) -> None:
    y = apply(Returns(gradients), leaf(1.0, 2.0), leaf(3.0, 4.0))
    with pytest.raises(GraphError, match=f"Returns.backward.*{says}"):
        y.backward(np.ones(2))


def test_a_gradient_that_nobody_asked_for_may_be_anything() -> None:
    a, b = leaf(1.0), leaf(2.0, requires_grad=False)
    apply(Returns(lambda ctx, gy: (3 * gy, "unused")), a, b).backward()
    assert values_of(a.grad) == [3.0]
    assert b.grad is None


def test_backward_is_told_which_gradients_are_needed() -> None:
    asked = []

    def gradients(ctx: Context, gy: Any) -> Any:
        asked.append(ctx.needs)
        return gy, gy

    a, b = leaf(1.0), leaf(2.0)
    y = apply(Returns(gradients), a, b)
    grad(y, [b], retain_graph=True)
    grad(y, [a, b], retain_graph=True)
    y.backward()
    assert asked == [(False, True), (True, True), (True, True)]


# Observers and contexts.


class Everything(Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def forward(self, function: Function, inputs: Any, output: Any) -> None:
        self.seen.append(("forward", ([a.tolist() for a in inputs], output.tolist())))

    def backward(self, function: Function, gy: Any, gradients: Any) -> None:
        self.seen.append(("backward", (gy.tolist(), [g.tolist() for g in gradients])))


def test_an_observer_sees_what_goes_in_and_comes_out() -> None:
    with observe(all_of_it := Everything()):
        times(leaf(3.0), leaf(5.0)).backward(np.array([2.0]))
    assert all_of_it.seen == [
        ("forward", ([[3.0], [5.0]], [15.0])),
        ("backward", ([2.0], [[10.0], [6.0]])),
    ]


def test_observers_replace_one_another_for_the_length_of_a_block() -> None:
    outer, inner = Everything(), Everything()
    with observe(outer):
        with suppress(KeyError), observe(inner):
            scale(leaf(1.0), 2.0)
            raise KeyError
        scale(leaf(1.0), 2.0)
    assert observer.get() is None
    assert (len(outer.seen), len(inner.seen)) == (1, 1)


def test_a_context_gives_back_what_was_saved_by_name() -> None:
    ctx = Context((True,))
    ctx.save(x=1, y=2)
    ctx.save(y=3)
    assert (ctx.x, ctx.y) == (1, 3)
    with pytest.raises(AttributeError, match="this op's forward did not save 'z'"):
        _ = ctx.z


def test_a_context_saves_nothing_after_its_walk() -> None:
    def see(ctx: Context) -> None:
        held.append(ctx)

    held: list[Context] = []
    apply(Double(see), leaf(1.0)).backward()
    with pytest.raises(GraphError, match=r"ctx\.save was called after the backward"):
        held[0].save(x=1)


def test_an_op_without_its_passes_says_which_is_missing() -> None:
    class Empty(Function):
        pass

    class Half(Function):
        def forward(self, ctx: Context, x: Any) -> Any:
            return x + 0

    with pytest.raises(NotImplementedError, match=r"Empty\.forward"):
        apply(Empty(), leaf(1.0))
    with pytest.raises(NotImplementedError, match=r"Half\.backward"):
        apply(Half(), leaf(1.0)).backward()
