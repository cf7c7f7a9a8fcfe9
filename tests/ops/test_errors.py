"""Every op's door: what is wrong with the arguments is said, with what was expected."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
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


# Ops that compute with floats, each called with operands of one dtype.
FLOAT_OPS: dict[str, Callable[[Callable[..., Tensor]], Any]] = {
    **{
        op.__name__: lambda x, op=op: op(x(2, 3))
        for op in (
            *(ops.exp, ops.log, ops.sqrt, ops.mean, ops.var, ops.uniform_kl),
            *(ops.relu, ops.leaky_relu, ops.sigmoid, ops.silu, ops.gelu, ops.tanh),
            *(ops.softplus, ops.softmax, ops.log_softmax, ops.l2_normalize),
        )
    },
    "dropout": lambda x: ops.dropout(x(2), t(2, dtype="bool"), 0.5),
    "cross_entropy": lambda x: ops.cross_entropy(x(2, 5), np.zeros(2, np.int64)),
    "avg_pool2d": lambda x: ops.avg_pool2d(x(1, 4, 4, 2), 2),
    "matmul": lambda x: ops.matmul(x(2, 3), x(3, 4)),
    "linear": lambda x: ops.linear(x(2, 3), x(3, 4)),
    "conv2d": lambda x: ops.conv2d(x(1, 3, 3, 2), x(3, 3, 2, 2)),
    "conv_transpose2d": lambda x: ops.conv_transpose2d(x(1, 3, 3, 2), x(3, 3, 2, 2)),
    "attention": lambda x: ops.attention(x(1, 1, 2, 3), x(1, 1, 2, 3), x(1, 1, 2, 3)),
    "group_norm": lambda x: ops.group_norm(x(2, 3, 4), 2, x(4), x(4)),
    "layer_norm": lambda x: ops.layer_norm(x(2, 4), x(4), x(4)),
    "batch_norm": lambda x: ops.batch_norm(x(2, 4), x(4), x(4)),
}


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "bool"])
@pytest.mark.parametrize("op", FLOAT_OPS)
def test_what_computes_with_floats_takes_float32_and_float64_alone(
    op: str, dtype: str
) -> None:
    with pytest.raises(
        DTypeError, match=rf"^{op}: \w+ must be float32 or float64, got {dtype}$"
    ):
        FLOAT_OPS[op](lambda *shape: t(*shape, dtype=dtype))


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
