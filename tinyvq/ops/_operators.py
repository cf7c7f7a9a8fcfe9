"""The one place where Tensor gets its operators.

`tensor.py` stands below the ops and cannot import them; so they are attached here.
"""

from typing import Any

from tinyvq.ops._arithmetic import add, div, mul, neg, power, sub
from tinyvq.ops._products import matmul
from tinyvq.ops._reductions import mean, sum
from tinyvq.ops._shapes import getitem, reshape, transpose
from tinyvq.tensor import Tensor


def _equal(self: Tensor, other: object) -> bool:
    """Refuse `==` and `in`, which by default would tell whether it is one object."""
    raise TypeError("tensors are not compared by ==: compare their .numpy()")


def attach() -> None:
    """Give Tensor `+ - * / ** @ []`, and the methods that PyTorch users expect."""
    operators: dict[str, Any] = {
        "__add__": add,
        "__radd__": lambda self, other: add(other, self),
        "__sub__": sub,
        "__rsub__": lambda self, other: sub(other, self),
        "__mul__": mul,
        "__rmul__": lambda self, other: mul(other, self),
        "__truediv__": div,
        "__rtruediv__": lambda self, other: div(other, self),
        "__pow__": power,
        "__neg__": neg,
        "__matmul__": matmul,
        "__rmatmul__": lambda self, other: matmul(other, self),
        "__getitem__": getitem,
        "__eq__": _equal,
        "reshape": reshape,
        "transpose": transpose,
        "sum": sum,
        "mean": mean,
    }
    for name, function in operators.items():
        setattr(Tensor, name, function)
