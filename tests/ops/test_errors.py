"""Every op's door: what is wrong with the arguments is said, with what was expected."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from ops import wrong_calls, wrong_calls_networks
from ops.wrong_calls import Call, t

from tinyvq import ops
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.tensor import Tensor

Table = dict[str, list[tuple[Call, str]]]
FILES: tuple[Any, ...] = (wrong_calls, wrong_calls_networks)
SHAPES: list[Table] = [file.SHAPES for file in FILES]
DTYPES: list[Table] = [file.DTYPES for file in FILES]
CONFIGS: list[Table] = [file.CONFIGS for file in FILES]


def flat(tables: list[Table]) -> list[Any]:
    return [
        pytest.param(call, says, id=f"{name} {i}")
        for table in tables
        for name, calls in table.items()
        for i, (call, says) in enumerate(calls)
    ]


@pytest.mark.parametrize(("call", "says"), flat(SHAPES))
def test_wrong_shapes_are_told(call: Call, says: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(says)):
        call()


@pytest.mark.parametrize(("call", "says"), flat(DTYPES))
def test_wrong_dtypes_are_told(call: Call, says: str) -> None:
    with pytest.raises(DTypeError, match=re.escape(says)):
        call()


@pytest.mark.parametrize(("call", "says"), flat(CONFIGS))
def test_wrong_settings_are_told(call: Call, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        call()


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool"])
def test_products_and_norms_take_float32_and_float64_alone(dtype: str) -> None:
    def x(*shape: int) -> Tensor:
        return t(*shape, dtype=dtype)

    calls: list[Call] = [
        lambda: ops.matmul(x(2, 3), x(3, 4)),
        lambda: ops.linear(x(2, 3), x(3, 4)),
        lambda: ops.conv2d(x(1, 3, 3, 2), x(3, 3, 2, 2)),
        lambda: ops.conv_transpose2d(x(1, 3, 3, 2), x(3, 3, 2, 2)),
        lambda: ops.attention(x(1, 1, 2, 3), x(1, 1, 2, 3), x(1, 1, 2, 3)),
        lambda: ops.group_norm(x(2, 3, 4), 2, x(4), x(4)),
        lambda: ops.layer_norm(x(2, 4), x(4), x(4)),
        lambda: ops.batch_norm(x(2, 4), x(4), x(4)),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"must be float32 or float64, got {dtype}"):
            call()


def test_a_slice_out_of_range_is_an_index_error_as_in_numpy() -> None:
    with pytest.raises(IndexError, match="index 3 is out of bounds for axis 0"):
        t(3)[3]
    with pytest.raises(IndexError, match="too many indices"):
        t(3)[0, 0]


def test_an_exponent_must_be_a_number() -> None:
    with pytest.raises(TypeError, match=r"must be .* number, not 'Tensor'"):
        t(2) ** t(2)  # type: ignore[operator]


# Every op takes any operand through `as_tensor`, so one message serves them all.
ONE_OPERAND = (
    *(ops.absolute, ops.exp, ops.gelu, ops.l2_normalize, ops.leaky_relu, ops.log),
    *(ops.log_softmax, ops.max, ops.mean, ops.neg, ops.relu, ops.sigmoid, ops.silu),
    *(ops.softmax, ops.softplus, ops.sqrt, ops.sum, ops.tanh, ops.transpose),
    *(ops.uniform_kl, ops.upsample_nearest, ops.var),
)


@pytest.mark.parametrize("op", ONE_OPERAND, ids=lambda op: op.__name__)
def test_what_is_no_operand_is_told(op: Callable[[Any], Any]) -> None:
    with pytest.raises(DTypeError, match="a tensor, array or number, got list"):
        op([1.0, 2.0])


def test_every_public_op_has_its_wrong_calls() -> None:
    named = {
        name.partition(",")[0]
        for table in (*SHAPES, *DTYPES, *CONFIGS)
        for name in table
    }
    named |= {op.__name__ for op in ONE_OPERAND} | {"power"}
    assert named == set(ops.__all__)
