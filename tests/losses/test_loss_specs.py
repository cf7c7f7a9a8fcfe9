"""Every loss has its spec, and passes all that follows from it."""

import inspect
from typing import get_args

import pytest

from tinyvq import losses
from tinyvq.losses import AdversarialLoss, AdversarialName
from tinyvq.losses._specs import SPECS
from tinyvq.tensor import Tensor
from tinyvq.testing import OpSpec, verify


def differentiable() -> set[str]:
    """Name what is exported and gives a Tensor when called, or a loss that does."""
    found = set()
    for name in losses.__all__:
        exported = getattr(losses, name)
        call = exported.__call__ if inspect.isclass(exported) else exported
        if inspect.isfunction(call):
            result = inspect.signature(call).return_annotation
            if result in (Tensor, AdversarialLoss):
                found.add(name)
    return found


def test_every_loss_has_a_spec() -> None:
    assert {"adversarial_loss", "LeCAM", "feature_matching"} <= differentiable()
    assert {spec.name.partition("(")[0] for spec in SPECS} == differentiable()


def test_every_adversarial_loss_has_a_spec() -> None:
    names = {f"adversarial_loss('{name}')" for name in get_args(AdversarialName)}
    assert names <= {spec.name for spec in SPECS}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_gradients_values_dtypes_and_layouts(spec: OpSpec) -> None:
    functions = set()
    for seed in range(5):
        functions |= verify(spec, spec.case(seed), seed).functions
    assert functions == set(spec.functions)
