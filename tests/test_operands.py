"""What a tensor can meet: numbers, arrays, other dtypes, any memory layout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_examples import leaf, plus

from tinyvq import ops
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.function import Context, Function
from tinyvq.tensor import Tensor, apply, as_tensor

FLOATS = ("float32", "float64")
X = np.array([[1.0, -2.0], [0.5, 4.0]])
NUMBERS = (2, 2.0, np.float64(2.0), np.int64(2))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{type(n).__name__}")
def test_a_number_takes_the_dtype_of_the_tensor(number: Any, dtype: str) -> None:
    x = Tensor(X, dtype=dtype)
    for y, wanted in (
        (x + number, X + 2),
        (number + x, X + 2),
        (x - number, X - 2),
        (number - x, 2 - X),
        (x * number, X * 2),
        (number * x, X * 2),
        (x / number, X / 2),
        (number / x, 2 / X),
        (x**number, X**2),
        (-x, -X),
    ):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.numpy(), wanted)


def test_an_array_can_stand_on_either_side() -> None:
    x, a = Tensor(X, requires_grad=True), np.array([3.0, 5.0])
    b = np.array([[0.0, 1.0], [2.0, 3.0]])
    for y, wanted in (
        (a + x, a + X),
        (a - x, a - X),
        (a * x, a * X),
        (a / x, a / X),
        (x * a, X * a),
        (np.float64(3.0) * x, 3 * X),
        (b @ x, b @ X),
        (x @ b, X @ b),
    ):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        np.testing.assert_array_equal(y.numpy(), wanted)


def test_methods_are_the_ops() -> None:
    x = Tensor(X)
    for y, wanted in (
        (x.reshape(4), X.reshape(4)),
        (x.reshape((1, -1)), X.reshape(1, 4)),
        (x.reshape([4]), X.reshape(4)),
        (x.transpose(), X.T),
        (x.transpose(1, 0), X.T),
        (x.sum(), X.sum()),
        (x.sum(axis=0, keepdims=True), X.sum(axis=0, keepdims=True)),
        (x.mean(axis=1), X.mean(axis=1)),
        (x[0], X[0]),
        (x[..., 1:], X[..., 1:]),
        (x[np.int64(1), None], X[1, None]),
        (sum([x, x], x), 3 * X),
    ):
        np.testing.assert_array_equal(y.numpy(), wanted)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (Tensor(X, dtype="float32"), "float64 and float32; convert one of them"),
        (X.astype("float32"), "float64 and float32; convert one of them"),
        (np.float32(2.0), "float64 and float32; convert one of them"),
        (np.ones((2, 2), int), "float64 and int64; convert one of them"),
        (np.ones((2, 2), bool), "float64 and bool; convert one of them"),
    ],
)
def test_two_dtypes_that_meet_raise_naming_both(other: Any, says: str) -> None:
    x = Tensor(X)
    for op in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum):
        with pytest.raises(DTypeError, match=f"{op.__name__}: dtypes differ, {says}"):
            op(x, other)


def test_an_op_of_yours_is_kept_from_mixing_floats_too() -> None:
    with pytest.raises(DTypeError, match="Plus: dtypes differ, float64 and float32"):
        plus(leaf(1.0), Tensor([1.0]))


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        *[(0.5, "int64"), (1.0, "bool"), (2, "bool")],
        *[(300, "uint8"), (-1, "uint8"), (np.int64(300), "uint8"), (2**63, "int64")],
        pytest.param(10**400, "float32", id="10^400-float32"),
    ],
)
def test_a_number_that_would_lose_its_value_is_refused(number: Any, dtype: str) -> None:
    with pytest.raises(DTypeError, match=f"number {number} would lose .* of {dtype}"):
        ops.add(Tensor(np.ones(2, dtype)), number)


@pytest.mark.parametrize("value", ["text", [1.0], None, object()])
def test_what_is_no_operand_is_refused_by_its_type(value: Any) -> None:
    came = type(value).__name__
    with pytest.raises(DTypeError, match=f"tensor, array or number, got {came}"):
        as_tensor(value)


def test_whatever_shapes_do_not_fit_the_message_names_op_and_inputs() -> None:
    with pytest.raises(ShapeError, match=r"Add of float64 \(2, 2\) and .* \(3,\): "):
        Tensor(X) + np.ones(3)


def test_an_error_that_explains_itself_is_left_as_it_is() -> None:
    class Fails(Function):
        def forward(self, ctx: Context, x: Any) -> Any:
            raise ConfigError("a setting is wrong")

    with pytest.raises(ConfigError, match=r"^a setting is wrong$"):
        apply(Fails(), leaf(1.0))


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda a: a.T.copy().T,
    "every other": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": lambda a: np.broadcast_to(a, a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_changes_no_bit(layout: str) -> None:
    array = LAYOUTS[layout](X)
    plain = array.copy()
    found = []
    for x in (Tensor.wrap(array, True), Tensor.wrap(plain, True)):
        y = ops.exp(ops.mul(x, x))
        y.backward(LAYOUTS[layout](X))
        assert x.grad is not None
        found.append((y.numpy().tobytes(), x.grad.numpy().tobytes()))
    assert found[0] == found[1]
