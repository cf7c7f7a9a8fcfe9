"""Module: a tree of plain attributes that holds parameters."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tinyvq.backends import Backend, array_module, beside
from tinyvq.errors import DTypeError, ModuleError
from tinyvq.tensor import Tensor

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that training moves: an optimiser steps along its gradient."""

    def __init__(self, data: npt.ArrayLike) -> None:
        super().__init__(data, requires_grad=True)


class Buffer(Tensor):
    """A tensor of a module's state that has no gradient: an average, say."""


class Module:
    """A node of a model's tree.

    Parameters, buffers and modules are found by walking attributes, lists, tuples and
    dicts in the order in which they were defined; nothing is registered. Subclasses
    define `__call__`. A trainable tensor that is no Parameter, or a parameter, buffer
    or module found twice (`[layer] * 2`), raises ModuleError.
    """

    training: bool = True

    def named_members(self) -> Iterator[tuple[str, "Parameter | Buffer | Module"]]:
        """Yield every module, parameter and buffer below this one with its path."""
        seen: dict[int, str] = {id(self): "the module itself"}
        yield from _members(self, "", seen)

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """Yield this module (as "") and every one below it with its path."""
        yield "", self
        for path, member in self.named_members():
            if isinstance(member, Module):
                yield path, member

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter with its path, say "encoder.layers.0.weight"."""
        for path, member in self.named_members():
            if isinstance(member, Parameter):
                yield path, member

    def parameters(self) -> list[Parameter]:
        """List all parameters in the order of definition."""
        return [parameter for _, parameter in self.named_parameters()]

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copy all parameters and buffers into NumPy arrays by path.

        NumPy's whatever the backend: a state suits a model on any other as well.
        """
        return {
            path: member.numpy().copy()
            for path, member in self.named_members()
            if isinstance(member, Tensor)
        }

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Set all parameters and buffers; all or nothing.

        Raises ModuleError where a name is missing or unknown, or a shape or dtype
        differs.
        """
        members = {p: m for p, m in self.named_members() if isinstance(m, Tensor)}
        missing = [path for path in members if path not in state]
        unknown = [path for path in state if path not in members]
        if missing or unknown:
            raise ModuleError(
                "the state does not fit this model: "
                f"missing {_few(missing)}; unknown {_few(unknown)}"
            )
        for path, member in members.items():
            new = state[path]
            if new.shape != member.shape or new.dtype != member.dtype:
                raise ModuleError(
                    f"{path}: this model has {member.dtype} {member.shape}, "
                    f"the state {new.dtype} {new.shape}"
                )
        for path, member in members.items():
            with member.mutate() as array:
                array[...] = beside(state[path], array)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self: Self, mode: bool = True) -> Self:
        """Set this module and all below it to training (or, with False, evaluation)."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Set this module and all below it to evaluation."""
        return self.train(False)

    def astype(self: Self, dtype: npt.DTypeLike) -> Self:
        """Convert all float parameters and buffers in place, say to float64."""
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise DTypeError(f"astype: needs float32 or float64, got {np.dtype(dtype)}")
        for _, member in self.named_members():
            if isinstance(member, Tensor) and member.dtype.kind == "f":
                member.convert(dtype)
        return self

    @property
    def backend(self) -> Backend:
        """Where the float parameters and buffers live; "cpu" where there are none."""
        members = (m for _, m in self.named_members() if isinstance(m, Tensor))
        first = next((m for m in members if m.dtype.kind == "f"), None)
        return "cpu" if first is None else first.backend

    def to(self: Self, backend: Backend) -> Self:
        """Move all float parameters and buffers in place to "cpu" or "cuda".

        Integer buffers stay: they count steps for Python. Gradients are forgotten. Make
        an optimiser afterwards: its slots are made beside the parameters. Raises
        CudaUnavailable where CUDA is missing; then nothing has moved.
        """
        array_module(backend)
        for _, member in self.named_members():
            if not isinstance(member, Tensor) or member.dtype.kind != "f":
                continue
            if member.backend != backend:
                member.convert(backend=backend)
        return self

    def num_parameters(self) -> int:
        """Count the trainable values."""
        return sum(parameter.size for parameter in self.parameters())


@contextmanager
def held(modules: Iterable[Module], attribute: str, value: Any) -> Iterator[None]:
    """Set an attribute of modules inside the block, and each back to what it was."""
    modules = list(modules)
    before = [getattr(module, attribute) for module in modules]
    for module in modules:
        setattr(module, attribute, value)
    try:
        yield
    finally:
        for module, old in zip(modules, before, strict=True):
            setattr(module, attribute, old)


def evaluating(module: Module) -> AbstractContextManager[None]:
    """Set a module, and all below it, to evaluation inside the block."""
    return held((below for _, below in module.named_modules()), "training", False)


def _members(
    value: Any, path: str, seen: dict[int, str]
) -> Iterator[tuple[str, Parameter | Buffer | Module]]:
    """Yield what stands below `value`, at `path`; `seen` maps ids to their paths."""
    for name, item in _items(value):
        here = f"{path}.{name}" if path else str(name)
        if isinstance(item, Parameter | Buffer | Module):
            if id(item) in seen:
                raise ModuleError(
                    f"{here} is the same object as {seen[id(item)]}; "
                    "to share weights, call one module twice"
                )
            seen[id(item)] = here
            yield here, item
        elif isinstance(item, Tensor) and item.requires_grad:
            raise ModuleError(
                f"{here} is a trainable Tensor that no optimiser would find; "
                "make it an nn.Parameter, or an nn.Buffer without gradient"
            )
        if isinstance(item, Module | list | tuple | dict):
            yield from _members(item, here, seen)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Module):
        return vars(value).items()
    return value.items() if isinstance(value, dict) else enumerate(value)


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
