"""What a graph keeps, for how long, and what may change meanwhile."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from engine_examples import Double, leaf, plus, scale, times, values_of

from tinyvq.errors import GraphError
from tinyvq.function import Context, Function
from tinyvq.tensor import Tensor, apply, grad


class Kept:
    """Weak references to what a Double has saved."""

    def __init__(self) -> None:
        self.refs: list[weakref.ref[Any]] = []

    def double(self, x: Tensor, see: Callable[[Context], None]) -> Tensor:
        y = apply(Double(see), x)
        self.refs.append(weakref.ref(y.array))
        return y

    @property
    def alive(self) -> list[bool]:
        return [ref() is not None for ref in self.refs]


def test_saved_arrays_are_released_as_the_walk_passes() -> None:
    kept = Kept()
    seen: list[list[bool]] = []
    x = leaf(1.0)
    y = kept.double(x, lambda ctx: seen.append(kept.alive))
    y = kept.double(y, lambda ctx: seen.append(kept.alive))
    y = plus(y, y)  # so that no tensor at hand holds what was saved
    assert kept.alive == [True, True]
    y.backward()
    # When the older one runs, what the newer one saved has gone.
    assert seen == [[True, True], [True, False]]
    assert kept.alive == [False, False]
    assert values_of(x.grad) == [8.0]


def test_retain_graph_keeps_saved_arrays_until_the_last_walk() -> None:
    kept = Kept()
    y = plus(kept.double(leaf(1.0), lambda ctx: None), leaf(1.0))
    y.backward(retain_graph=True)
    assert kept.alive == [True]
    y.backward()
    assert kept.alive == [False]


def test_grad_releases_only_what_it_walked() -> None:
    x, z = leaf(2.0), leaf(5.0)
    left, right = times(x, x), times(z, z)
    y = plus(left, right)
    assert values_of(grad(y, [x])[0]) == [4.0]
    assert left.node is not None
    assert right.node is not None
    assert left.node.context.saved is None  # type: ignore[union-attr]
    assert right.node.context.saved is not None  # type: ignore[union-attr]


def test_a_graph_that_is_dropped_is_freed_at_once() -> None:
    kept = Kept()
    x = leaf(1.0)
    y = plus(kept.double(kept.double(x, lambda ctx: None), lambda ctx: None), x)
    gc.disable()  # so that a cycle of references would keep the arrays
    try:
        assert kept.alive == [True, True]
        del y
        assert kept.alive == [False, False]
    finally:
        gc.enable()


def test_nothing_is_saved_where_no_gradient_is_needed() -> None:
    y = apply(Double(), leaf(1.0, requires_grad=False))
    assert y.node is None
    array = weakref.ref(y.array)
    del y
    assert array() is None


def test_a_second_backward_raises_and_says_what_would_allow_it() -> None:
    x = leaf(3.0)
    y = times(x, x)
    y.backward()
    with pytest.raises(
        GraphError, match=r"Times: this graph was walked already.*retain"
    ):
        y.backward()
    with pytest.raises(GraphError, match=r"pass retain_graph=True to the first walk"):
        grad(y, [x])
    assert values_of(x.grad) == [6.0]


def test_retain_graph_allows_a_second_backward() -> None:
    x = leaf(3.0)
    y = times(x, x)
    y.backward(retain_graph=True)
    grad(y, [x], retain_graph=True)
    y.backward()
    assert values_of(x.grad) == [12.0]
    with pytest.raises(GraphError, match="walked already"):
        y.backward()


# In-place changes.


def view(x: Tensor) -> Tensor:
    return apply(Row(), x)


@dataclass(frozen=True)
class Row(Function):
    """y = x[None], a view."""

    def forward(self, ctx: Context, x: Any) -> Any:
        return x[None]

    def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
        return (gy[0],)


@pytest.mark.parametrize(
    "through",
    [
        lambda x: x,
        lambda x: x.detach(),
        lambda x: view(x.detach()),
        lambda x: view(view(x.detach())).detach(),
    ],
    ids=["itself", "detach", "a view", "a view of a view"],
)
def test_an_in_place_change_of_a_saved_array_is_caught(
    through: Callable[[Tensor], Tensor],
) -> None:
    a, b = leaf(3.0), leaf(5.0)
    y = times(a, b)
    for _ in range(2):
        with through(b).mutate() as array:
            array *= 2
    assert values_of(b) == [20.0]
    with pytest.raises(
        GraphError, match=r"Times: 'b', saved .* in place .*\(2 times\)"
    ):
        y.backward()


def test_a_change_of_what_a_view_was_made_of_is_caught() -> None:
    x = leaf(3.0)
    y = times(view(x), view(x))
    with x.mutate() as array:
        array += 1
    with pytest.raises(GraphError, match="Times: 'a', saved for backward, was changed"):
        y.backward(np.ones((1, 1)))


def test_a_change_of_a_saved_output_is_caught() -> None:
    y = apply(Double(), leaf(1.0))
    with y.detach().mutate() as array:
        array += 1
    with pytest.raises(
        GraphError, match="Double: 'y', saved for backward, was changed"
    ):
        y.backward()


def test_a_change_is_caught_where_parts_of_one_array_were_wrapped() -> None:
    flat = np.array([3.0, 5.0])
    a, b = Tensor.wrap(flat[:1], True), Tensor.wrap(flat[1:], True)
    y = times(a, b)
    with b.mutate() as array:
        array += 1
    with pytest.raises(GraphError, match="was changed in place"):
        y.backward()


def test_changes_that_backward_does_not_see_are_allowed() -> None:
    a, b = leaf(3.0), leaf(5.0)
    with a.mutate() as array:
        array += 1  # before its use
    y = scale(plus(a, b), 2.0)
    with a.mutate() as array:
        array += 1  # saved by nobody
    y.backward()
    assert values_of(a.grad) == [2.0]


def test_a_change_after_the_walk_is_allowed() -> None:
    x = leaf(3.0)
    times(x, x).backward()
    with x.mutate() as array:
        array -= 1
    times(x, x).backward()
    assert values_of(x.grad) == [6.0 + 4.0]


def test_an_op_may_save_what_is_no_array() -> None:
    # A dtype has a `base`, as a view of an array has: itself. Following it never ends,
    # so another process does.
    code = """
from dataclasses import dataclass
import numpy as np
from tinyvq import Tensor
from tinyvq.function import Function
from tinyvq.tensor import apply

@dataclass(frozen=True)
class Saves(Function):
    def forward(self, ctx, x):
        ctx.save(dtype=x.dtype, shape=x.shape, scalar=x.sum(), none=None, text="x")
        return 2 * x
    def backward(self, ctx, gy):
        return ((2 * gy).astype(ctx.dtype),)

x = Tensor(np.ones(3), requires_grad=True)
apply(Saves(), x).backward(np.ones(3))
print(x.grad.numpy())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "[2. 2. 2.]\n"
