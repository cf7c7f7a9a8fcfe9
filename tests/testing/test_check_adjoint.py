"""check_adjoint and check_linear: nothing but rounding between the two sides."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from testing.right_ops import Affine, Exp, Leaky, Multiply, Normalize, RowSums, op

from tinyvq.errors import GradientError
from tinyvq.function import Context
from tinyvq.rng import Stream
from tinyvq.testing import check_adjoint, check_linear


def test_a_matrix_and_its_transpose() -> None:
    stream = Stream(0)
    for n, m in ((1, 1), (3, 5), (40, 70), (0, 3), (3, 0)):
        a, x, y = stream.normal((m, n)), stream.normal(n), stream.normal(m)
        error = check_adjoint(lambda v: a @ v, lambda v: a.T @ v, x, y)  # noqa: B023
        assert error <= 2 * (max(n, m) + 1) * 2.0**-53


def test_an_error_of_1e_12_is_found() -> None:
    stream = Stream(1)
    a, x, y = stream.normal((4, 3)), stream.normal(3), stream.normal(4)
    off = a.copy()
    off[2, 1] *= 1 + 1e-12
    with pytest.raises(GradientError, match=r"<A x, y> is .* rounding explains"):
        check_adjoint(lambda v: a @ v, lambda v: off.T @ v, x, y)


def test_shapes_that_do_not_fit() -> None:
    x = np.ones(3)
    with pytest.raises(GradientError, match=r"linear\(x\) must be \(3,\), got \(1,\)"):
        check_adjoint(lambda v: v[:1], lambda v: v, x, x)
    with pytest.raises(GradientError, match=r"adjoint\(y\) must be \(3,\), got \(2,\)"):
        check_adjoint(lambda v: v, lambda v: v[:2], x, x)


X = Stream(2).normal((4, 3))
W = Stream(3).normal((3, 2))
B = Stream(4).normal(2)


def test_linear_ops() -> None:
    bound = 2 * 16 * 2.0**-53  # at most 15 terms
    assert check_linear(op(RowSums), X) <= bound
    assert check_linear(op(Multiply), X, W[:, 0]) <= bound
    assert check_linear(op(Multiply), X, W[:, 0], linear_in=(1,)) <= bound
    assert check_linear(op(Affine), X, W, B, linear_in=(0, 2)) <= bound
    assert check_linear(op(Affine), X, W, B, linear_in=(1, 2), seed=3) <= bound


def test_what_is_not_linear() -> None:
    with pytest.raises(GradientError, match=r"Affine: is not linear in \(0,\)"):
        check_linear(op(Affine), X, W, B)
    with pytest.raises(GradientError, match="not 0 at 0"):
        check_linear(op(Exp), X)
    with pytest.raises(GradientError, match=r"f\(-2 x\) is not -2 f\(x\)"):
        check_linear(op(Leaky), X)
    with pytest.raises(GradientError, match="not linear"):
        check_linear(op(Normalize), X)
    with pytest.raises(GradientError, match="cannot be linear in argument 1"):
        check_linear(lambda x, i: x, X, np.array([1]), linear_in=(1,))


def test_a_backward_that_is_right_at_one_point_only() -> None:
    @dataclass(frozen=True)
    class Wrong(RowSums):
        def forward(self, ctx: Context, x: Any) -> Any:
            ctx.save(first=x[0, 0])
            return super().forward(ctx, x)

        def backward(self, ctx: Context, gy: Any) -> tuple[Any, ...]:
            gx = np.array(*super().backward(ctx, gy))
            gx[0, 0] *= 1 + (ctx.first != X[0, 0]) * 1e-6
            return (gx,)

    check_linear(op(Wrong), X)
    with pytest.raises(GradientError, match="not the adjoint"):
        check_linear(op(Wrong), X + 1.0)
