"""Compile all CPU kernels ahead of their first use, and say so.

Compiling takes tens of seconds, once a machine and version; afterwards the code is read
from the cache on disk. A program that trains calls this first, so that its user sees
what is going on.
"""

from collections.abc import Callable, Iterator

import numpy as np

from tinyvq_kernels._jit import CACHE_DIR
from tinyvq_kernels._types import Array
from tinyvq_kernels.convolution import conv2d, conv2d_input_grad, conv2d_weight_grad
from tinyvq_kernels.decoding import decoder
from tinyvq_kernels.decoding.weights import DecoderWeights
from tinyvq_kernels.gemm import matmul
from tinyvq_kernels.normalization import group_norm, group_norm_grad
from tinyvq_kernels.optimizer import adam
from tinyvq_kernels.pointwise import relu, relu_grad, silu, silu_grad
from tinyvq_kernels.reduction import pixel_sums
from tinyvq_kernels.scatter import code_sums
from tinyvq_kernels.search import nearest_code
from tinyvq_kernels.softmax_attention import attention, attention_grad


def is_warm(dtype: str = "float32") -> bool:
    """Tell whether all kernels for a dtype were compiled on this machine before."""
    return (CACHE_DIR / f"complete-{dtype}").exists()


def warm_up(dtype: str = "float32") -> Iterator[tuple[str, int]]:
    """Compile kernel after kernel; yield each name, and how many there are, before."""
    one = np.ones((1, 1, 1, 1), dtype)
    many = np.ones((1, 3, 3, 16), dtype)  # channels: Winograd's form
    square = np.ones((3, 3, 16, 16), dtype)
    cube = np.ones((1, 1, 1), dtype)
    row = np.ones((1, 1), dtype)
    index = np.zeros(1, np.int64)
    slots = [np.ones(1, dtype) for _ in range(4)]
    calls: dict[str, Callable[[], object]] = {
        "conv2d": lambda: (conv2d(one, one), conv2d(many, square, padding=1)),
        "conv2d_input_grad": lambda: (
            conv2d_input_grad(one, one, (1, 1)),
            conv2d_input_grad(many, square, (3, 3), padding=1),
        ),
        "conv2d_weight_grad": lambda: (
            conv2d_weight_grad(one, one, (1, 1)),
            conv2d_weight_grad(many, many, (3, 3), padding=1),
        ),
        "matmul": lambda: matmul(row, row),
        "attention": lambda: attention(cube, cube, cube, False),
        "attention_grad": lambda: attention_grad(cube, cube, cube, row, cube, False),
        "group_norm": lambda: group_norm(cube, slots[0], slots[1], 1, 1e-6),
        "group_norm_grad": lambda: group_norm_grad(cube, cube, row, row, slots[0]),
        "pixel_sums": lambda: pixel_sums(cube),
        "relu": lambda: (relu(row), relu_grad(row, row)),
        "silu": lambda: (silu(row), silu_grad(row, row)),
        "nearest_code": lambda: nearest_code(row, row),
        "code_sums": lambda: code_sums(row, index, 1),
        "decoder": lambda: _decoder(dtype),
        "adam": lambda: adam(*([slot] for slot in slots), numbers=np.ones(8)),
    }
    for name, call in calls.items():
        yield name, len(calls)
        call()
    (CACHE_DIR / f"complete-{dtype}").touch()


def _decoder(dtype: str) -> None:
    def one(*shape: int) -> Array:
        return np.ones(shape, dtype)

    weights = DecoderWeights(
        *(one(1, 2, 1), one(1, 1, 3), one(1, 3), one(1, 1, 1), one(1, 1)),
        *(one(1, 2, 1), one(1, 1, 4), one(1, 4), one(1, 4, 1), one(1, 1)),
        *(one(2, 1), one(1, 1), one(1)),
        eps=1e-5,
    )
    decoder(weights, 1, 1, 1).step(one(1, 1), 0)
