"""Every op, quantizer and loss has its specification, and passes what it implies."""

import gc
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyvq
from tinyvq import losses, ops, quantizers
from tinyvq.function import Function, Observer, observe
from tinyvq.losses import AdversarialLoss
from tinyvq.losses import _specs as loss_specs
from tinyvq.nn import Module
from tinyvq.ops import _specs as op_specs
from tinyvq.quantizers import _specs as quantizer_specs
from tinyvq.tensor import Tensor
from tinyvq.testing import OpSpec, verify
from tinyvq.testing.strategies import cases

SPECS = (*op_specs.SPECS, *quantizer_specs.SPECS, *loss_specs.SPECS)


def by_name(spec: OpSpec) -> str:
    return spec.name


@pytest.mark.parametrize("spec", SPECS, ids=by_name)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_what_follows_from_a_spec_holds(
    spec: OpSpec, data: st.DataObject, seed: int
) -> None:
    verify(spec, data.draw(cases(spec)), seed)


def test_no_two_specs_have_one_name() -> None:
    names = [spec.name for spec in SPECS]
    assert len(set(names)) == len(names)


# Completeness. What a spec covers is what really runs when its op is called: Functions
# are seen by an observer, and Python functions by the interpreter's own profiler.


class Ran(Observer):
    """Remembers the classes of the Functions whose forward ran."""

    def __init__(self) -> None:
        self.functions: set[type[Function]] = set()

    def forward(self, function: Function, inputs: Any, output: Any) -> None:
        self.functions.add(type(function))


@cache
def run(spec: OpSpec) -> tuple[set[type[Function]], set[CodeType]]:
    """Call a spec's op on a few cases; -> the Functions and the code that ran."""
    code: set[CodeType] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            code.add(frame.f_code)

    with observe(watching := Ran()):
        for seed in range(10):
            case = spec.case(seed)
            args = [
                Tensor(a) if np.asarray(a).dtype.kind == "f" else a for a in case.args
            ]
            before = sys.getprofile()
            sys.setprofile(note)
            try:
                spec.op(*args, **case.settings)
            finally:
                sys.setprofile(before)
    return watching.functions, code


def import_all() -> None:
    """Import every module of tinyvq but those whose optional packages are absent."""
    for found in pkgutil.walk_packages(tinyvq.__path__, "tinyvq."):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                if str(error.name).startswith("tinyvq"):
                    raise


def subclasses(of: type) -> Iterator[type]:
    for below in of.__subclasses__():
        yield below
        yield from subclasses(below)


def functions_of_tinyvq() -> set[type[Function]]:
    """Every subclass of Function that stands in a file of tinyvq, whoever uses it."""
    import_all()
    home = Path(inspect.getfile(tinyvq)).parent
    return {
        function
        for function in subclasses(Function)
        if function.__module__.startswith("tinyvq.")
        and Path(function.forward.__code__.co_filename).is_relative_to(home)
    }


def doors() -> dict[str, CodeType]:
    """The code of every public op and loss, and of every quantizer's call, by name."""
    found = {name: getattr(ops, name).__code__ for name in ops.__all__}
    for name in quantizers.__all__:
        exported = getattr(quantizers, name)
        if inspect.isclass(exported) and issubclass(exported, Module):
            found[name] = exported.__call__.__code__
    for name in losses.__all__:
        exported = getattr(losses, name)
        call = exported.__call__ if inspect.isclass(exported) else exported
        if inspect.isfunction(call):  # not what gives plain numbers
            result = inspect.signature(call).return_annotation
            if result in (Tensor, AdversarialLoss):
                found[name] = call.__code__
    return found


def not_covered() -> set[str]:
    """Name every Function and public op, quantizer or loss that no spec's op runs."""
    functions = set().union(*(run(spec)[0] for spec in SPECS))
    code = set().union(*(run(spec)[1] for spec in SPECS))
    missing = {f.__qualname__ for f in functions_of_tinyvq() - functions}
    return missing | {name for name, door in doors().items() if door not in code}


def test_every_function_and_public_op_quantizer_and_loss_is_covered_by_a_spec() -> None:
    assert functions_of_tinyvq()
    assert {"conv2d", "VectorQuantizer", "LeCAM"} <= doors().keys()
    assert not_covered() == set()


@pytest.mark.parametrize("spec", SPECS, ids=by_name)
def test_a_spec_claims_the_functions_that_really_run(spec: OpSpec) -> None:
    assert run(spec)[0] == set(spec.functions)


def test_a_spec_bears_the_name_of_what_it_runs() -> None:
    for spec in SPECS:
        assert doors()[spec.name.partition("(")[0]] in run(spec)[1]


def test_a_function_without_a_spec_is_noticed() -> None:
    source = (
        "from tinyvq.function import Function\n"
        "class Unproven(Function):\n"
        "    def forward(self, ctx, x):\n"
        "        return x\n"
    )
    file = Path(inspect.getfile(ops)).parent / "_unproven.py"
    namespace: dict[str, Any] = {"__name__": "tinyvq.ops._unproven"}
    exec(compile(source, str(file), "exec"), namespace)
    assert not_covered() == {"Unproven"}
    namespace.clear()
    gc.collect()  # a class refers to itself
    assert not_covered() == set()


def test_an_op_without_a_spec_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "__all__", [*ops.__all__, "square"])
    monkeypatch.setattr(ops, "square", lambda x: x * x, raising=False)
    assert not_covered() == {"square"}


def test_a_quantizer_without_a_spec_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rounding(Module):
        def __call__(self, z: Tensor) -> Tensor:
            return z

    monkeypatch.setattr(quantizers, "__all__", [*quantizers.__all__, "Rounding"])
    monkeypatch.setattr(quantizers, "Rounding", Rounding, raising=False)
    assert not_covered() == {"Rounding"}


def test_a_loss_without_a_spec_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    monkeypatch.setattr(losses, "__all__", [*losses.__all__, "wasserstein"])
    monkeypatch.setattr(losses, "wasserstein", wasserstein, raising=False)
    assert not_covered() == {"wasserstein"}
