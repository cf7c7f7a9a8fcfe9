"""Functions of single values on CUDA: the host side of `pointwise.cu`."""

from functools import partial

import numpy as np

from tinyvq_kernels._cuda import Rung, Source, contiguous, empty, launch
from tinyvq_kernels._types import Array

THREADS = 256  # a block
REALS = {
    "f": {"REAL": "float", "REAL4": "float4", "EXP": "expf"},
    "d": {"REAL": "double", "EXP": "exp"},
}
FUNCTIONS = {"relu": "value", "relu_grad": "gradient"}
FUNCTIONS |= {"silu": "value", "silu_grad": "gradient"}


def _source(op: str, real: str) -> Source:
    function = op.removesuffix("_grad")
    named = {"VALUE": function, "GRADIENT": f"{function}_grad"}
    return Source("pointwise/pointwise.cu", REALS[real] | named)


SOURCES = {(op, real): _source(op, real) for op in FUNCTIONS for real in REALS}


def _run(op: str, rung: str, each: int, *arrays: Array) -> Array:
    """Apply a function to all values, `each` of them a thread."""
    first = arrays[0]
    result = empty(first.shape, first.dtype, like=first)
    threads = -(-first.size // each)
    launch(
        SOURCES[op, first.dtype.char],
        f"{FUNCTIONS[op]}_{rung}",
        grid=(-(-threads // THREADS), 1, 1),
        block=(THREADS, 1, 1),
        arguments=(*map(contiguous, arrays), result, np.int64(first.size)),
    )
    return result


def ladder(op: str) -> dict[str, Rung]:
    """List the rungs of an operation."""
    return {
        "plain": Rung(partial(_run, op, "plain", 1), "a value per thread"),
        "vectorised": Rung(
            partial(_run, op, "vectorised", 4),
            "16 bytes a load and a store",
            dtypes=("float32",),
        ),
    }
