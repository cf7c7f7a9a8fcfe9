"""Proof that a backward pass is right: for tinyvq's own ops, and for yours.

Write an op as a `Function`, call it through `apply`, and hand it to `check_grads`:

    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from tinyvq.function import Function
    >>> from tinyvq.tensor import apply
    >>> from tinyvq.testing import check_grads
    >>> @dataclass(frozen=True)
    ... class Cube(Function):
    ...     def forward(self, ctx, x):
    ...         ctx.save(x=x)
    ...         return x**3
    ...     def backward(self, ctx, gy):
    ...         return (3 * ctx.x**2 * gy,)
    >>> check_grads(lambda x: apply(Cube(), x), np.array([1.0, -2.0, 0.5])) < 1e-9
    True

A wrong backward raises a GradientError that names the element and how to repeat it.
`check_linear` proves an op that is linear without finite differences. `OpSpec` states
once what an op is, and `verify` derives every check from it. For property tests,
`tinyvq.testing.strategies` draws cases with Hypothesis, which nothing else here needs.
"""

from tinyvq.errors import GradientError
from tinyvq.testing._adjoint import check_adjoint, check_linear
from tinyvq.testing._draw import ConvGeometry, Draw, SeededDraw
from tinyvq.testing._grads import check_grads
from tinyvq.testing._spec import Case, OpSpec
from tinyvq.testing._verify import Report, verify

__all__ = [
    "Case",
    "ConvGeometry",
    "Draw",
    "GradientError",
    "OpSpec",
    "Report",
    "SeededDraw",
    "check_adjoint",
    "check_grads",
    "check_linear",
    "verify",
]
