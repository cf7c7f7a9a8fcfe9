"""A bug of one line, to be planted into a CUDA kernel."""

from dataclasses import dataclass

from kernel_case import KernelCase


@dataclass(frozen=True)
class Bug:
    """A text and what it is replaced by; what must be told of it."""

    name: str
    file: str
    rung: str
    case: KernelCase
    old: str
    new: str
    caught_by: str
