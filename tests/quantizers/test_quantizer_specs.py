"""Every quantizer has its spec, and passes all that follows from it."""

import inspect

import pytest

from tinyvq import quantizers
from tinyvq.nn import Module
from tinyvq.quantizers._specs import SPECS
from tinyvq.testing import OpSpec, verify


def test_every_quantizer_has_a_spec() -> None:
    classes = {
        name
        for name in quantizers.__all__
        if inspect.isclass(getattr(quantizers, name))
        and issubclass(getattr(quantizers, name), Module)
    }
    assert {spec.name.partition("(")[0] for spec in SPECS} == classes


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_gradients_values_dtypes_and_layouts(spec: OpSpec) -> None:
    functions = set()
    for seed in range(5):
        functions |= verify(spec, spec.case(seed), seed).functions
    assert functions == set(spec.functions)
