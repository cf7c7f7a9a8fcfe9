"""Compile all CPU kernels ahead of their first use, and say so.

Compiling takes tens of seconds, once a machine and version; afterwards the code is read
from the cache on disk. A program that trains calls this first, so that its user sees
what is going on.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from tinyvq_kernels._jit import CACHE_DIR
from tinyvq_kernels._types import Array
from tinyvq_kernels.convolution import conv2d, conv2d_input_grad, conv2d_weight_grad
from tinyvq_kernels.convolution.fastest import FEW
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


def is_warm(dtype: str = "float32", training: bool = True) -> bool:
    """Tell whether all kernels for a dtype were compiled on this machine before.

    training  False asks for those alone that a trained model needs
    """
    sure = [_mark("complete", dtype)]
    if not training:
        sure.append(_mark("forward", dtype))
    return any(mark.exists() for mark in sure)


def _mark(what: str, dtype: str) -> Path:
    """Name the file that says that all is compiled of the sources as they lie here."""
    return CACHE_DIR / f"{what}-{dtype}-{_lie_of_the_sources()}"


@cache
def _lie_of_the_sources() -> str:
    """Hash where the sources lie and when they were written.

    Numba looks its cache up by these: the same source in another environment is
    compiled anew.
    """
    folder = Path(__file__).resolve().parent
    digest = hashlib.blake2b(str(folder).encode(), digest_size=8)
    for source in sorted(folder.rglob("*.py")):
        digest.update(f" {source.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def warm_up(dtype: str = "float32", training: bool = True) -> Iterator[tuple[str, int]]:
    """Compile kernel after kernel; yield each name, and how many there are, before.

    training  False leaves out gradients and optimisers, two fifths of the time
    """
    calls = _forward(dtype) | (_backward(dtype) if training else {})
    for name, call in calls.items():
        yield name, len(calls)
        call()
    _mark("complete" if training else "forward", dtype).touch()


Calls = dict[str, Callable[[], object]]


def _forward(dtype: str) -> Calls:
    """Call each kernel that a trained model needs, on the least arrays."""
    one = np.ones((1, 1, 1, 1), dtype)
    many = np.ones((1, 3, 3, FEW), dtype)  # channels: Winograd's form
    square = np.ones((3, 3, FEW, FEW), dtype)
    cube = np.ones((1, 1, 1), dtype)
    row, flat = np.ones((1, 1), dtype), np.ones(1, dtype)
    pair = np.ones((2, 1), dtype)
    return {
        "conv2d": lambda: (conv2d(one, one), conv2d(many, square, padding=1)),
        # What a transposed convolution is made of.
        "conv2d_input_grad": lambda: (
            conv2d_input_grad(one, one, (1, 1)),
            conv2d_input_grad(many, square, (3, 3), padding=1),
        ),
        "matmul": lambda: (matmul(row, row), matmul(np.ones((2, 3), dtype).T, pair)),
        "attention": lambda: attention(cube, cube, cube, False),
        "group_norm": lambda: group_norm(cube, flat, flat, 1, 1e-6),
        "relu": lambda: relu(row),
        "silu": lambda: silu(row),
        "nearest_code": lambda: nearest_code(row, row),
        "decoder": lambda: _decoder(dtype),
    }


def _backward(dtype: str) -> Calls:
    """Call each kernel that training needs besides, on the least arrays."""
    one = np.ones((1, 1, 1, 1), dtype)
    many = np.ones((2, 3, 3, FEW), dtype)
    cube = np.ones((1, 1, 1), dtype)
    row, flat = np.ones((1, 1), dtype), np.ones(1, dtype)
    slots = [np.ones(1, dtype) for _ in range(4)]
    return {
        "conv2d_weight_grad": lambda: (
            conv2d_weight_grad(one, one, (1, 1)),
            conv2d_weight_grad(many[:1], many[:1], (3, 3), padding=1),
            conv2d_weight_grad(many, many, (3, 3), padding=1),  # sums in groups
        ),
        "attention_grad": lambda: attention_grad(cube, cube, cube, row, cube, False),
        "group_norm_grad": lambda: group_norm_grad(cube, cube, row, row, flat),
        "pixel_sums": lambda: pixel_sums(cube),
        "relu_grad": lambda: relu_grad(row, row),
        "silu_grad": lambda: silu_grad(row, row),
        "code_sums": lambda: code_sums(row, np.zeros(1, np.int64), 1),
        "adam": lambda: adam(*([slot] for slot in slots), numbers=np.ones(8)),
    }


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
