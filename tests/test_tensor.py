"""Tensor: what it holds and shares, its gradients, its operators, its errors."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_examples import Returns, leaf, plus, scale, times, values_of

from tinyvq import nn, ops
from tinyvq.errors import DTypeError, GraphError, ShapeError
from tinyvq.function import Context, Function
from tinyvq.tensor import Tensor, apply, grad, no_grad


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.5, 2.0], "float32"),
        (2, "int64"),
        ([True, False], "bool"),
        (np.float64(1.5), "float64"),
        (np.zeros(2), "float64"),
        (np.zeros(2, "float32"), "float32"),
        (np.zeros(2, "uint8"), "uint8"),
    ],
)
def test_numbers_of_python_become_float32_and_arrays_keep_their_dtype(
    data: Any, dtype: str
) -> None:
    tensor = Tensor(data)
    assert tensor.dtype == dtype
    np.testing.assert_array_equal(tensor.numpy(), data)
    assert Tensor(data, dtype="float64").dtype == "float64"


@pytest.mark.parametrize("data", [1j, "text", [None], np.array(["2026"], "M8")])
def test_what_is_no_number_is_refused(data: Any) -> None:
    with pytest.raises(DTypeError, match="a Tensor holds numbers, got "):
        Tensor(data)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16"])
def test_only_float32_and_float64_have_gradients(dtype: str) -> None:
    with pytest.raises(DTypeError, match=f"float64 have gradients, .* is {dtype}"):
        Tensor(np.zeros(2), requires_grad=True, dtype=dtype)
    with pytest.raises(DTypeError, match=f"float64 have gradients, .* is {dtype}"):
        Tensor.wrap(np.zeros(2, dtype), True)


def test_a_tensor_copies_and_a_wrapped_one_shares() -> None:
    array = np.zeros(2)
    copied, shared = Tensor(array), Tensor.wrap(array)
    array[0] = 1.0
    assert values_of(copied) == [0.0, 0.0]
    assert values_of(shared) == [1.0, 0.0]


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3).T, np.arange(6.0)[::-2], np.ones(1)[::-1]]
)
def test_values_always_lie_one_after_another(array: Any) -> None:
    for tensor in (Tensor(array), Tensor.wrap(array)):
        np.testing.assert_array_equal(tensor.numpy(), array)
        assert tensor.array.flags.c_contiguous
        assert min(tensor.array.strides) > 0


def test_values_can_be_read_but_not_written() -> None:
    x = leaf(1.0, 2.0)
    for values in (x.data, x.numpy(), np.asarray(x)):
        assert np.shares_memory(values, x.array)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 5.0
    np.array(x)[0] = 5.0  # a copy
    assert values_of(x) == [1.0, 2.0]
    assert np.asarray(x, np.float32).dtype == np.float32


def test_shape_size_length_and_item() -> None:
    x = Tensor(np.zeros((2, 0, 3)))
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 0, 3), 3, 0, 2)
    assert Tensor([[2.5]]).item() == 2.5
    assert isinstance(Tensor(3).item(), int)
    with pytest.raises(ShapeError, match=r"one value, this tensor is \(2, 0, 3\)"):
        x.item()
    with pytest.raises(ShapeError, match="a 0-d tensor has no length"):
        len(Tensor(1.0))


def test_truth_is_that_of_the_only_value() -> None:
    assert Tensor(1.0)
    assert not Tensor(0.0)
    assert not Tensor([0.0])
    with pytest.raises(ShapeError, match="needs one value"):
        bool(Tensor([1.0, 2.0]))


def test_tensors_are_told_apart_by_identity_but_not_compared() -> None:
    x, twin = leaf(1.0), leaf(1.0)
    assert len({x: 0, twin: 1, x.detach(): 2}) == 3
    compare: list[Callable[[], Any]] = [
        *(lambda: x == twin, lambda: x == 1.0, lambda: x != 1.0),
        *(lambda: 1.0 in x, lambda: x in [twin]),
    ]
    for wrong in compare:
        with pytest.raises(TypeError, match=r"compare their \.numpy\(\)"):
            wrong()


def test_a_tensor_can_be_walked_row_by_row() -> None:
    assert [values_of(row) for row in Tensor(np.eye(2))] == [[1, 0], [0, 1]]


def test_repr_tells_values_dtype_and_origin() -> None:
    x = leaf(1.0, 2.0)
    assert repr(x) == "Tensor([1., 2.], float64, requires_grad=True)"
    assert repr(scale(x, 2.0)) == "Tensor([2., 4.], float64, made by Scale)"
    assert repr(x.detach()) == "Tensor([1., 2.], float64)"
    assert repr(nn.Buffer(1.5)) == "Buffer(1.5, float32)"


# Gradients of leaves.


def test_gradients_add_up_until_they_are_forgotten() -> None:
    x = leaf(3.0)
    for factor in (2.0, 5.0):
        scale(x, factor).backward()
    assert values_of(x.grad) == [7.0]
    x.zero_grad()
    assert x.grad is None
    scale(x, 2.0).backward()
    assert values_of(x.grad) == [2.0]


def test_only_leaves_that_require_one_get_a_gradient() -> None:
    x, constant = leaf(3.0), leaf(5.0, requires_grad=False)
    y = times(x, constant)
    times(y, y).backward()
    assert values_of(x.grad) == [2 * 15.0 * 5.0]
    assert y.grad is None
    assert constant.grad is None


def test_a_frozen_leaf_gets_none_from_what_is_computed_later() -> None:
    x, w = leaf(3.0), leaf(5.0)
    times(x, w).backward()
    w.zero_grad()
    w.requires_grad = False
    times(x, w).backward()
    assert values_of(x.grad) == [5.0 + 5.0]
    assert w.grad is None
    assert not times(w, w).requires_grad


def test_a_leaf_frozen_before_the_backward_pass_gets_none() -> None:
    x, w = leaf(3.0), leaf(5.0)
    y = times(x, w)
    w.requires_grad = False
    y.backward()
    assert values_of(x.grad) == [5.0]
    assert w.grad is None


def test_an_op_that_results_in_integers_records_nothing() -> None:
    class Rank(Function):
        def forward(self, ctx: Context, x: Any) -> Any:
            return np.argsort(x)

    y = apply(Rank(), leaf(3.0, 1.0))
    assert (y.dtype, y.requires_grad, y.node) == (np.int64, False, None)


def test_a_leaf_that_is_gone_is_no_obstacle() -> None:
    x = leaf(3.0)
    y = times(x, leaf(5.0))
    y.backward()
    assert values_of(x.grad) == [5.0]


def test_a_leaf_can_be_differentiated_by_itself() -> None:
    x = leaf(3.0)
    x.backward()
    assert values_of(x.grad) == [1.0]


def same_memory(*tensors: Tensor | None) -> bool:
    arrays = [t.array for t in tensors if t is not None]
    assert len(arrays) == len(tensors)
    return any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_no_two_leaves_share_a_gradient() -> None:
    a, b, c = leaf(1.0, 2.0), leaf(3.0, 4.0), Tensor(np.ones((1, 2)), True)
    y = plus(plus(a, b), ops.reshape(c, 2))  # Plus hands one array to both
    y.backward(np.array([1.0, 10.0]))
    assert not same_memory(a.grad, b.grad, c.grad)
    assert values_of(a.grad) == values_of(b.grad) == [1.0, 10.0]


def test_a_gradient_is_none_of_the_caller_s_arrays() -> None:
    for backward in (
        lambda y, gy: y.backward(gy),
        lambda y, gy: y.backward(Tensor.wrap(gy)),
    ):
        a, gy = leaf(1.0, 2.0), np.array([1.0, 10.0])
        y = plus(a, a.detach())
        backward(y, gy)
        assert a.grad is not None
        assert not np.shares_memory(a.grad.array, gy)
        gy[...] = 0
        assert values_of(a.grad) == [1.0, 10.0]


def test_a_gradient_is_none_of_the_arrays_that_an_op_saved() -> None:
    a, b = leaf(3.0), leaf(5.0)
    y = apply(Returns(lambda ctx, gy: (ctx.a, ctx.a)), a, b)
    y.backward(retain_graph=True)
    assert not same_memory(a, b, a.grad, b.grad)
    assert a.grad is not None
    a.grad.array *= 0  # as clipping would
    y.backward()
    assert values_of(b.grad) == [6.0]


def test_what_grad_returns_is_its_own() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = plus(a, b)
    gy = np.array([1.0, 10.0])
    found = grad(y, [a, b, y, a], gradient=gy)
    assert not same_memory(*found, Tensor.wrap(gy))


def test_gradients_can_be_written() -> None:
    x = Tensor(np.zeros((2, 3)), True)
    ops.sum(x).backward()  # whose gradient is one value, repeated by strides of 0
    assert x.grad is not None
    x.grad.array *= 0.5
    assert values_of(x.grad) == [[0.5] * 3] * 2


# gradient=


def test_backward_needs_a_gradient_unless_there_is_a_single_value() -> None:
    with pytest.raises(GraphError, match=r"from a tensor \(2,\) needs the gradient="):
        scale(leaf(1.0, 2.0), 2.0).backward()
    x = leaf(1.0)
    scale(x, 2.0).backward()
    assert values_of(x.grad) == [2.0]


@pytest.mark.parametrize(
    ("gradient", "error", "says"),
    [
        (np.ones(3), ShapeError, r"must be float64 \(2,\), got float64 \(3,\)"),
        (1.0, ShapeError, r"must be float64 \(2,\), got float64 \(\)"),
        (np.ones(2, "float32"), DTypeError, r"float64 \(2,\), got float32 \(2,\)"),
        ([1.0, 1.0], DTypeError, "expected a tensor, array or number, got list"),
    ],
)
def test_a_gradient_of_another_shape_or_dtype_is_refused(
    gradient: Any, error: type[Exception], says: str
) -> None:
    x = leaf(1.0, 2.0)
    y = scale(x, 2.0)
    with pytest.raises(error, match=says):
        y.backward(gradient)
    with pytest.raises(error, match=says):
        grad(y, [x], gradient)


def test_a_number_can_be_the_gradient_of_a_0_d_tensor() -> None:
    x = Tensor(np.array(3.0), True)
    scale(x, 2.0).backward(5.0)
    assert x.grad is not None
    assert x.grad.item() == 10.0
    assert x.grad.dtype == np.float64


# Copies, changes, conversions.


def test_a_deep_copy_is_a_leaf_of_its_own() -> None:
    x = leaf(1.0, 2.0)
    y = scale(x, 2.0)
    y.backward(np.ones(2))
    for tensor, trained in ((x, True), (y, False), (nn.Buffer([1.0]), False)):
        twin = copy.deepcopy(tensor)
        assert type(twin) is type(tensor)
        assert values_of(twin) == values_of(tensor)
        assert (twin.is_leaf, twin.requires_grad, twin.grad) == (True, trained, None)
        assert not same_memory(twin, tensor)
    assert type(copy.deepcopy(nn.Parameter([1.0]))) is nn.Parameter


def test_a_deep_copied_layer_trains_alone() -> None:
    layer = nn.Linear(2, 1)
    ops.sum(layer(Tensor(np.ones((1, 2), "float32")))).backward()
    twin = copy.deepcopy(layer)
    with twin.weight.mutate() as array:
        array += 1
    ops.sum(twin(Tensor(np.ones((1, 2), "float32")))).backward()
    assert not same_memory(layer.weight, twin.weight, layer.weight.grad)
    assert values_of(twin.weight.grad) == [[1.0], [1.0]]
    assert values_of(layer.weight.grad) == [[1.0], [1.0]]


def test_one_tensor_in_two_places_stays_one_in_a_deep_copy() -> None:
    x = leaf(1.0)
    first, second = copy.deepcopy([x, x])
    assert first is second


def test_a_detached_tensor_shares_values_and_has_no_history() -> None:
    x = leaf(1.0)
    y = scale(x, 2.0).detach()
    assert (y.is_leaf, y.requires_grad, y.node) == (True, False, None)
    with x.detach().mutate() as array:
        array += 1
    assert values_of(x) == [2.0]


def test_an_op_s_result_cannot_be_changed_in_place() -> None:
    y = scale(leaf(1.0), 2.0)
    for change in (lambda: y.mutate().__enter__(), lambda: y.convert("float32")):
        with pytest.raises(GraphError, match=r"op's result; detach\(\) it first"):
            change()
    with no_grad(), scale(leaf(1.0), 2.0).mutate() as array:
        array += 1


def test_a_converted_leaf_forgets_its_gradient_and_its_graph() -> None:
    x = leaf(1.0, 2.0)
    y = scale(x, 2.0)
    y.backward(np.ones(2), retain_graph=True)
    x.convert("float32")
    assert (x.dtype, x.grad, x.requires_grad) == (np.float32, None, True)
    with pytest.raises(GraphError, match=r"float64 when it .* float32 on cpu since"):
        y.backward(np.ones(2))
    assert x.grad is None
    scale(x, 2.0).backward(np.ones(2, "float32"))
    assert values_of(x.grad) == [2.0, 2.0]
    with pytest.raises(DTypeError, match="have gradients, this tensor is int64"):
        x.convert("int64")
