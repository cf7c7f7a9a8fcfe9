"""Gradients are arrays of their own: scaling one in place changes nothing else."""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq.function import reachable
from tinyvq.losses._specs import SPECS as LOSSES
from tinyvq.ops._specs import SPECS as OPS
from tinyvq.quantizers._specs import SPECS as QUANTIZERS
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.testing import OpSpec

Array = npt.NDArray[Any]


def leaves_and_output(spec: OpSpec, seed: int) -> tuple[list[Tensor], Tensor]:
    case = spec.case(seed)
    args = [
        Tensor(a, i not in spec.constants) if np.asarray(a).dtype.kind == "f" else a
        for i, a in enumerate(case.args)
    ]
    output = spec.op(*args, **case.settings)
    leaves = [x for x in args if isinstance(x, Tensor) and x.requires_grad]
    return leaves, output


def saved_arrays(output: Tensor) -> list[Array]:
    assert output.node is not None
    return [
        value
        for node in reachable(output.node)
        if node.context is not None
        for value in (node.context.saved or {}).values()
        if isinstance(value, np.ndarray)
    ]


@pytest.mark.parametrize(
    "spec", [*OPS, *QUANTIZERS, *LOSSES], ids=lambda spec: spec.name
)
def test_gradients_share_memory_with_nothing(spec: OpSpec) -> None:
    for seed in range(20):
        leaves, output = leaves_and_output(spec, seed)
        gy = Stream(seed, "gy").normal(output.shape)
        output.backward(gy, retain_graph=True)
        gradients = [x.grad.array for x in leaves if x.grad is not None]
        others = [gy, output.array, *(x.array for x in leaves), *saved_arrays(output)]
        for a, b in combinations(gradients, 2):
            assert not np.shares_memory(a, b)
        for gradient in gradients:
            assert gradient.flags.writeable
            for other in others:
                assert not np.shares_memory(gradient, other)


@pytest.mark.parametrize(
    "spec", [*OPS, *QUANTIZERS, *LOSSES], ids=lambda spec: spec.name
)
def test_a_retained_graph_gives_the_same_bits_again(spec: OpSpec) -> None:
    leaves, output = leaves_and_output(spec, 0)
    gy = Stream(0, "gy").normal(output.shape)
    output.backward(gy, retain_graph=True)
    first = [None if x.grad is None else x.grad.array.copy() for x in leaves]
    for x in leaves:
        if x.grad is not None:
            x.grad.array *= 0
            x.grad = None
    output.backward(gy)
    for x, before in zip(leaves, first, strict=True):
        if before is not None:
            assert x.grad is not None
            np.testing.assert_array_equal(x.grad.array, before, strict=True)
