"""What attention promises by itself: its door, and what a row depends on."""

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from emulated import is_emulated, needs_compiler
from kernel_case import Array, draw
from tinyvq_kernels import attention, attention_grad, kernels, use_kernels

VARIANTS = ("reference", "fused")
# What keeps to more than the reference does: each kernel with each of its dtypes.
every_fast_kernel = pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        pytest.param(*which, marks=needs_compiler if is_emulated(kernel) else ())
        for kernel in kernels("attention")
        if kernel.backend == "cpu"
        if kernel.variant not in ("reference", "cuda_emulated")
        for which in product([kernel.variant], kernel.dtypes)
    ],
)
every_variant = pytest.mark.parametrize(
    "variant",
    [
        *VARIANTS,
        pytest.param("cuda_emulated_plain", marks=needs_compiler),
        pytest.param("cuda_emulated_fused", marks=needs_compiler),
    ],
)
runs_here = pytest.mark.usefixtures("chosen")


@pytest.fixture
def chosen(variant: str) -> Iterator[None]:
    with use_kernels(attention=variant, attention_grad=variant):
        yield


def ones(*shape: int, dtype: str = "float32") -> Array:
    return np.ones(shape, dtype)


Q, K, V, LSE = ones(2, 3, 4), ones(2, 5, 4), ones(2, 5, 6), ones(2, 3)
SIZES = "needs q (B,T,E), k (B,S,E), v (B,S,F), S and E >= 1, T <= S where causal, got"

WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: attention(ones(3, 4), K, V, False),
        ValueError,
        "attention: q must be (B,T,E), got shape (3, 4)",
    ),
    (
        lambda: attention(Q, ones(1, 2, 5, 4), V, False),
        ValueError,
        "attention: k must be (B,S,E), got shape (1, 2, 5, 4)",
    ),
    (
        lambda: attention(Q, K, ones(5), False),
        ValueError,
        "attention: v must be (B,S,F), got shape (5,)",
    ),
    *(
        (lambda q=q, k=k, v=v: attention(q, k, v, False), ValueError, SIZES)
        for q, k, v in (
            (ones(1, 3, 4), K, V),
            (Q, ones(1, 5, 4), V),
            (Q, K, ones(1, 5, 6)),
            (ones(2, 3, 5), K, V),
            (Q, K, ones(2, 4, 6)),
            (Q, ones(2, 0, 4), ones(2, 0, 6)),
            (ones(2, 3, 0), ones(2, 5, 0), V),
        )
    ),
    (
        lambda: attention(ones(2, 6, 4), K, V, True),
        ValueError,
        f"attention: {SIZES} (2, 6, 4), (2, 5, 4) and (2, 5, 6)",
    ),
    (
        lambda: attention(Q, K, ones(2, 5, 6, dtype="float64"), False),
        TypeError,
        "attention: dtypes differ, q is float32 and v is float64; convert one",
    ),
    (
        lambda: attention(ones(2, 3, 4, dtype="int64"), K, V, False),
        TypeError,
        "attention: q must be float32 or float64, got int64",
    ),
    (
        lambda: attention_grad(Q, K, V, ones(2, 4), ones(2, 3, 6), False),
        ValueError,
        "attention_grad: lse must have shape (2, 3), got (2, 4)",
    ),
    (
        lambda: attention_grad(Q, K, V, LSE, ones(2, 3, 4), False),
        ValueError,
        "attention_grad: gy must have shape (2, 3, 6), got (2, 3, 4)",
    ),
    (
        lambda: attention_grad(ones(2, 6, 4), K, V, LSE, ones(2, 6, 6), True),
        ValueError,
        f"attention_grad: {SIZES}",
    ),
    (
        lambda: attention_grad(Q, K, V, ones(2, 3, dtype="float64"), Q, False),
        TypeError,
        "attention_grad: dtypes differ, q is float32 and lse is float64; convert one",
    ),
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("call", "error", "says"), WRONG)
def test_a_wrong_call_is_told(
    call: Callable[[], Any], error: type[Exception], says: str, variant: str
) -> None:
    chosen = use_kernels(attention=variant, attention_grad=variant)
    with chosen, pytest.raises(error, match=re.escape(says)):
        call()


def operands(b: int, t: int, s: int, dtype: str) -> tuple[Array, Array, Array]:
    q, k, v = draw("q", b, t, 5), draw("k", b, s, 5), draw("v", b, s, 3)
    return q.astype(dtype), k.astype(dtype), v.astype(dtype)


def same_bits(a: Array, b: Array) -> bool:
    return a.tobytes() == b.tobytes()


@runs_here
@every_fast_kernel
@pytest.mark.parametrize(("queries", "keys"), [(137, 137), (60, 137)])
def test_a_query_alone_gets_the_same_bits(dtype: str, queries: int, keys: int) -> None:
    """One query and the keys that it sees: a step with a cache."""
    q, k, v = operands(2, queries, keys, dtype)
    y, lse = attention(q, k, v, True)
    for t in range(queries):
        seen = keys - queries + t + 1
        for causal in (False, True):
            alone = q[:, t : t + 1], k[:, :seen], v[:, :seen]
            its_y, its_lse = attention(*alone, causal)
            assert same_bits(its_y[:, 0], y[:, t])
            assert same_bits(its_lse[:, 0], lse[:, t])


@runs_here
@every_fast_kernel
def test_neither_other_queries_nor_other_items_matter(dtype: str) -> None:
    q, k, v = operands(3, 101, 70, dtype)
    y, lse = attention(q, k, v, False)
    for first, last in ((0, 1), (5, 54), (48, 101), (100, 101)):
        its_y, its_lse = attention(q[1:2, first:last], k[1:2], v[1:2], False)
        assert same_bits(its_y, y[1:2, first:last])
        assert same_bits(its_lse, lse[1:2, first:last])


@runs_here
@every_fast_kernel
def test_what_is_hidden_moves_nothing(dtype: str) -> None:
    """Keys and values beyond, and gradients of the queries before them."""
    q, k, v = operands(2, 100, 100, dtype)
    gy = draw("gy", 2, 100, 3).astype(dtype)
    y, lse = attention(q, k, v, True)
    gq, gk, gv = attention_grad(q, k, v, lse, gy, True)
    for t in (0, 5, 46, 47, 48, 98):
        far_k, far_v, far_gy = k.copy(), v.copy(), gy.copy()
        far_k[:, t + 1 :] = np.nan  # scores of it are never looked at
        far_v[:, t + 1 :] *= -1e6
        its_y, its_lse = attention(q, far_k, far_v, True)
        assert same_bits(its_y[:, : t + 1], y[:, : t + 1])
        assert same_bits(its_lse[:, : t + 1], lse[:, : t + 1])
        far_k[:, t + 1 :] = -1e3
        its_gq, _, _ = attention_grad(q, far_k, far_v, lse, gy, True)
        assert same_bits(its_gq[:, : t + 1], gq[:, : t + 1])
        far_gy[:, : t + 1] *= -1e6  # queries before key t + 1 do not see it
        _, its_gk, its_gv = attention_grad(q, k, v, lse, far_gy, True)
        assert same_bits(its_gk[:, t + 1 :], gk[:, t + 1 :])
        assert same_bits(its_gv[:, t + 1 :], gv[:, t + 1 :])


@runs_here
@every_fast_kernel
@pytest.mark.parametrize("seen", [1, 6, 17, 49])
def test_a_score_that_is_no_number_spoils_its_rows_alone(dtype: str, seen: int) -> None:
    q, k, v = operands(2, 49, 49, dtype)
    y, lse = attention(q, k, v, True)
    k[1, seen - 1, 2] = np.nan  # seen by the queries from seen - 1 on
    with np.errstate(invalid="ignore"):
        its_y, its_lse = attention(q, k, v, True)
    assert np.isnan(its_y[1, seen - 1 :]).all()
    assert np.isnan(its_lse[1, seen - 1 :]).all()
    assert same_bits(its_y[0], y[0])
    assert same_bits(its_y[1, : seen - 1], y[1, : seen - 1])
    assert same_bits(its_lse[1, : seen - 1], lse[1, : seen - 1])


@runs_here
@every_fast_kernel
def test_scores_far_out_make_neither_infinity_nor_nan(dtype: str) -> None:
    q, k, v = operands(1, 9, 150, dtype)
    y, lse = attention(1e4 * q, 1e4 * k, v, False)
    gradients = attention_grad(1e4 * q, 1e4 * k, v, lse, y, False)
    best = (q.astype(np.float64) @ k.swapaxes(1, 2)).argmax(axis=2)
    np.testing.assert_array_equal(y[0], v[0, best[0]])
    assert all(np.isfinite(g).all() for g in (lse, *gradients))


@runs_here
@every_variant
@pytest.mark.parametrize("sure", [0, 1, 2, 16, 70, 139])
@pytest.mark.parametrize("keys", [3, 140])
def test_the_gradient_of_a_nearly_sure_row_keeps_its_digits(
    keys: int, sure: int
) -> None:
    """Keys 20 apart, values of 900: all shares but one are e⁻²⁰, and so are gs."""
    sure = min(sure, keys - 1)
    scores, values = np.full(keys, -20.0), 901.0 + np.arange(keys) % 2
    scores[sure], values[sure], scores[(sure + 1) % keys] = 0, 900, -21
    q = ones(1, 1, 1)
    k, v = (a.astype("float32").reshape(1, keys, 1) for a in (scores, values))
    _, lse = attention(q, k, v, False)
    _, gk, _ = attention_grad(q, k, v, lse, q, False)
    share = np.exp(scores) / np.exp(scores).sum()
    wanted = share * (values - 900 - (share * (values - 900)).sum())
    # scores and lse are exact, but for e⁻²⁰; e^x, and a few roundings
    np.testing.assert_allclose(gk.ravel(), wanted, rtol=16 * 2.0**-24)
