"""grad, no_grad, and derivatives that are not given."""

from contextlib import suppress

import numpy as np
import pytest
from engine_examples import Backwards, leaf, plus, scale, times, values_of

from tinyvq.errors import GraphError
from tinyvq.function import observe
from tinyvq.tensor import grad, no_grad


def test_no_grad_records_nothing() -> None:
    x = leaf(3.0)
    with no_grad():
        y = times(x, x)
        with no_grad():
            pass
        z = times(x, x)
    assert values_of(y) == [9.0]
    assert (y.requires_grad, y.node, y.is_leaf) == (False, None, True)
    assert z.node is None
    assert times(x, x).requires_grad
    with pytest.raises(
        GraphError, match=r"nothing to differentiate.*under no_grad\(\)"
    ):
        y.backward()


def test_no_grad_ends_with_its_block_even_by_an_error() -> None:
    with suppress(KeyError), no_grad():
        raise KeyError
    assert times(leaf(1.0), leaf(1.0)).requires_grad


def test_grad_returns_gradients_and_touches_no_leaf() -> None:
    a, b = leaf(3.0), leaf(5.0)
    a.grad = kept = leaf(7.0, requires_grad=False)
    y = times(a, b)
    ga, gy, ga_again = grad(plus(y, a), [a, y, a])
    assert (values_of(ga), values_of(gy), values_of(ga_again)) == ([6.0], [1.0], [6.0])
    assert a.grad is kept
    assert values_of(kept) == [7.0]
    assert b.grad is None
    assert not any(g.requires_grad for g in (ga, gy))


def test_grad_visits_only_what_lies_between() -> None:
    x, w = leaf(2.0), leaf(3.0)
    trunk = scale(x, 5.0, "trunk")
    features = scale(trunk, 7.0, "features")
    head = times(features, w, "head")
    other = scale(features, 11.0, "other")
    y = plus(head, other, "sum")
    with observe(seen := Backwards()):
        (gw,) = grad(y, [w], retain_graph=True)
        assert seen.names == ["sum", "head"]
        seen.ran.clear()
        (gf,) = grad(y, [features])
        assert seen.names == ["sum", "other", "head"]
    assert values_of(gw) == [70.0]
    assert values_of(gf) == [14.0]


def test_grad_of_a_tensor_by_itself_is_the_gradient_given() -> None:
    y = scale(leaf(1.0, 2.0), 3.0)
    (gy,) = grad(y, [y], gradient=np.array([5.0, 7.0]))
    assert values_of(gy) == [5.0, 7.0]


def test_grad_raises_where_nothing_connects_and_spares_the_graph() -> None:
    x, stranger, constant = leaf(3.0), leaf(1.0, 2.0), leaf(4.0, requires_grad=False)
    y = times(x, constant)
    later = scale(y, 2.0)
    for wrong in (stranger, later, constant, y.detach()):
        with pytest.raises(GraphError, match=r"does not depend on input 1, float64 \("):
            grad(y, [x, wrong])
    with pytest.raises(GraphError, match="there is nothing to differentiate"):
        grad(constant, [x])
    y.backward()
    assert values_of(x.grad) == [4.0]


def test_second_derivatives_are_refused() -> None:
    x = leaf(3.0)
    y = times(x, x)
    with pytest.raises(
        GraphError, match=r"create_graph=True: .* first derivatives only"
    ):
        y.backward(create_graph=True)
    with pytest.raises(
        GraphError, match=r"create_graph=True: .* first derivatives only"
    ):
        grad(y, [x], create_graph=True)
    y.backward()  # the graph was spared
