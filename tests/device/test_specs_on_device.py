"""Every op, quantizer and loss runs on a GPU's arrays as it does on NumPy's.

There is no GPU here: `strict_device` stands in for it. Both sides run the reference
kernels, so values and gradients must agree bit for bit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from strict_device import StrictArray

from tinyvq.losses import _specs as loss_specs
from tinyvq.ops import _specs as op_specs
from tinyvq.quantizers import _specs as quantizer_specs
from tinyvq.tensor import Tensor
from tinyvq.testing import Case, OpSpec

SPECS = (*op_specs.SPECS, *quantizer_specs.SPECS, *loss_specs.SPECS)
CASES = 5


def run(spec: OpSpec, case: Case, dtype: str, place: Callable[[Any], Any]) -> list[Any]:
    """Call an op where `place` puts its arguments -> its value, and its gradients."""

    def argument(i: int, value: Any) -> Any:
        if not hasattr(value, "dtype"):
            return value
        value = np.asarray(value)  # a spec may draw a scalar
        if value.dtype.kind != "f":
            return place(value)
        return Tensor.wrap(place(value.astype(dtype)), i not in spec.constants)

    inputs = [argument(i, value) for i, value in enumerate(case.args)]
    output = spec.op(*inputs, **case.settings)
    if output.requires_grad:
        values = np.arange(output.size, dtype=dtype).reshape(output.shape) / 7 + 1
        output.backward(Tensor.wrap(place(np.asarray(values, dtype))))
    grads = [
        t.grad.array for t in inputs if isinstance(t, Tensor) and t.grad is not None
    ]
    return [output.array, *grads]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_gpu_gives_what_numpy_gives(cupy: Any, spec: OpSpec, dtype: str) -> None:
    for seed in range(CASES):
        case = spec.case(seed)
        here = run(spec, case, dtype, np.array)
        there = run(spec, case, dtype, cupy.asarray)
        assert len(here) == len(there)
        for mine, its in zip(here, there, strict=True):
            assert isinstance(its, StrictArray)
            its = its.get()
            assert (mine.dtype, mine.shape) == (its.dtype, its.shape)
            assert mine.tobytes() == its.tobytes()
