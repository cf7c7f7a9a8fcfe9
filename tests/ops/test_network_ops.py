"""What the ops of VQ-GANs and priors promise beyond their values and gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import ops
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

Array = npt.NDArray[Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return Stream(seed, "normal", *shape).normal(shape, "float32")


# Max pooling.


def test_of_equal_largest_pixels_the_first_gets_the_gradient() -> None:
    image = np.array([[1, 1, 0], [1, 1, 2], [0, 2, 2]], np.float32)
    x = Tensor(image.reshape(1, 3, 3, 1), requires_grad=True)
    y = ops.max_pool2d(x, 2, 1)
    np.testing.assert_array_equal(y.numpy().reshape(2, 2), [[1, 2], [2, 2]])
    y.backward(np.array([[1, 10], [100, 1000]], np.float32).reshape(1, 2, 2, 1))
    assert x.grad is not None
    # Windows are read row by row; the pixel at (1, 2) is the first of two of them.
    wanted = [[1, 0, 0], [0, 0, 1010], [0, 100, 0]]
    np.testing.assert_array_equal(x.grad.numpy().reshape(3, 3), wanted)


def test_of_pixels_that_are_nan_the_first_gets_the_gradient() -> None:
    image = np.array([[1, np.nan], [np.nan, 2]], np.float32)
    x = Tensor(image.reshape(1, 2, 2, 1), requires_grad=True)
    y = ops.max_pool2d(x, 2)
    assert np.isnan(y.item())
    y.backward(np.full((1, 1, 1, 1), 10, np.float32))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy().reshape(2, 2), [[0, 10], [0, 0]])


# Attention.


@pytest.mark.parametrize("queries", [1, 3, 5])
def test_a_causal_query_sees_its_own_key_and_those_before(queries: int) -> None:
    q, k, v = normal(2, 3, queries, 4), normal(2, 3, 5, 4, seed=1), normal(2, 3, 5, 6)
    y = ops.attention(q, k, v, causal=True).numpy()
    for j in range(5):
        other_k, other_v = k.copy(), v.copy()
        other_k[:, :, j] += 9
        other_v[:, :, j] -= 9
        z = ops.attention(q, other_k, other_v, causal=True).numpy()
        seeing = max(0, j - (5 - queries))  # the first query that sees key j
        np.testing.assert_array_equal(z[:, :, :seeing], y[:, :, :seeing])
        assert (z[:, :, seeing:] != y[:, :, seeing:]).any(axis=-1).all()


def test_a_single_key_is_all_that_there_is_to_see() -> None:
    v = normal(2, 3, 1, 6)
    for causal in (False, True):
        y = ops.attention(
            normal(2, 3, 1, 4), normal(2, 3, 1, 4, seed=1), v, causal=causal
        )
        np.testing.assert_array_equal(y.numpy(), v)


# Norms.


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 6), (2, 3, 4, 6)])
def test_norms_are_one_another_seen_otherwise(shape: tuple[int, ...]) -> None:
    x, w, b = normal(*shape), normal(6, seed=1), normal(6, seed=2)

    def same(a: Tensor, b: Tensor) -> None:
        np.testing.assert_array_equal(a.numpy().ravel(), b.numpy().ravel())

    rows = x.reshape(-1, 6)
    same(ops.layer_norm(x, w, b, 1e-6), ops.group_norm(rows, 1, w, b))
    same(ops.batch_norm(x, w, b), ops.group_norm(rows[None], 6, w, b, 1e-5))


# What is kept for the gradient.

X, ROW = (4, 6, 6, 8), (8,)
KEEP: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], int]] = {
    # op, shapes of its inputs, and how many values it keeps beside inputs and output
    "silu": (ops.silu, [X], 0),
    "gelu": (ops.gelu, [X], 0),
    "leaky_relu": (ops.leaky_relu, [X], 0),
    "dropout": (lambda x: ops.dropout(x, x.array > 0, 0.5), [X], 0),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 3, 2), [X], 0),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 3, 2), [X], 0),
    "group_norm": (lambda x, w, b: ops.group_norm(x, 2, w, b), [X, ROW, ROW], 2 * 8),
    "layer_norm": (ops.layer_norm, [X, ROW, ROW], 2 * 4 * 6 * 6),
    "batch_norm": (ops.batch_norm, [X, ROW, ROW], 2 * 8),
    "l2_normalize": (ops.l2_normalize, [X], 4 * 6 * 6),
    "attention": (ops.attention, [X, X, X], 4 * 6 * 6),
    "log_softmax": (ops.log_softmax, [X], 0),
    "cross_entropy": (
        lambda x: ops.cross_entropy(x, np.zeros(X[:-1], np.int64)),
        [X],
        4 * 6 * 6 * 8,
    ),
    "bce_with_logits": (ops.bce_with_logits, [X, X], 0),
    "rotation_trick": (ops.rotation_trick, [X, X], 0),
}


@pytest.mark.parametrize("name", KEEP)
def test_an_op_keeps_no_more_than_its_gradient_needs(name: str) -> None:
    op, shapes, most = KEEP[name]
    inputs = [
        Tensor(normal(*shape, seed=i), requires_grad=True)
        for i, shape in enumerate(shapes)
    ]
    output = op(*inputs)
    assert output.node is not None
    assert output.node.context is not None
    saved = (output.node.context.saved or {}).values()
    held = [t.array for t in (*inputs, output)]
    own = [
        a
        for a in saved
        if isinstance(a, np.ndarray)
        and a.dtype.kind == "f"
        and not any(np.shares_memory(a, other) for other in held)
    ]
    assert sum(a.size for a in own) <= most
    assert all(a.dtype == np.float32 for a in own)
