"""The Adam update of many parameters, in place; the length of their gradients.

    m ← β₁ m + (1 - β₁) g          v ← β₂ v + (1 - β₂) g²
    p ← p - lr · λ · p  -  lr · m̂ / (√v̂ + ε)      m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

λ is AdamW's decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101), 0 for
Adam (Kingma and Ba, arXiv:1412.6980, algorithm 1).

What changes from step to step stands in one small array, `adam_numbers`. A step that is
captured on a GPU reads it where it lies, so that a replay has the numbers of its step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq_kernels._cuda import cuda_ladder, module_of
from tinyvq_kernels._door import check_floats, check_shape, check_writable
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.optimizer import cpu, gpu, reference

declare(
    Kernel("adam", "cpu", "reference", lambda: reference.adam, "array by array"),
    Kernel("adam", "cuda", "reference", lambda: reference.adam, "array by array"),
    Kernel(
        "adam",
        "cpu",
        "fused",
        lambda: cpu.adam,
        "one pass over all arrays of all parameters, one parallel loop",
        default=True,
    ),
)
cuda_ladder("adam", gpu.LADDER, default="fused")
declare(
    Kernel(
        "square_sum",
        "cpu",
        "reference",
        lambda: reference.square_sum,
        "array by array",
        default=True,
    ),
    Kernel("square_sum", "cuda", "reference", lambda: reference.square_sum, "alike"),
)
cuda_ladder("square_sum", gpu.SQUARE_LADDER, default="pieces")


def adam_numbers(
    steps: Sequence[int],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Compute what a step of K parameters depends on beside its arrays -> (2K+6,).

    steps  t of each parameter, from 1; ValueError where one is below
    ->     K rates lr / (1 - β₁ᵗ), K roots 1 / √(1 - β₂ᵗ), and the six factors
           β₁, 1 - β₁, β₂, 1 - β₂, ε, 1 - lr·λ
    """
    for t in steps:
        if t < 1:
            raise ValueError(f"adam: steps count from 1, got {t}")
    rates = [lr / (1.0 - beta1**t) for t in steps]
    roots = [1.0 / (1.0 - beta2**t) ** 0.5 for t in steps]
    # 1 - β in double: in float32, 1 - 0.999 is off by 1 part in 80,000.
    factors = [beta1, 1 - beta1, beta2, 1 - beta2, eps, 1 - lr * weight_decay]
    return np.array([*rates, *roots, *factors])


def adam(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    *,
    numbers: Array,
) -> None:
    """Update each p, m and v in place from its gradient g, of the same shape.

    numbers  (2K+6,) what `adam_numbers` gives: as it is, or in the parameters' dtype
             where they live

    Raises TypeError for dtypes, ValueError for lengths and shapes, or for an array that
    cannot be written in place: not contiguous, or read-only.
    """
    op = "adam"
    lists = {"gradients": gradients, "m": m, "v": v}
    for name, items in lists.items():
        if len(items) != len(parameters):
            raise ValueError(
                f"{op}: {len(parameters)} parameters, but {len(items)} {name}"
            )
    if not parameters:
        return
    for p, *others in zip(parameters, gradients, m, v, strict=True):
        g_of, m_of, v_of = others
        check_floats(op, p=p, g=g_of, m=m_of, v=v_of, **{"the first p": parameters[0]})
        for name, array in (("g", g_of), ("m", m_of), ("v", v_of)):
            check_shape(op, name, array, tuple(p.shape))
        for name, array in (("p", p), ("m", m_of), ("v", v_of)):
            check_writable(op, name, array)
    check_shape(op, "numbers", numbers, (2 * len(parameters) + 6,))
    update = resolve(op, parameters[0])
    update(parameters, gradients, m, v, _beside(numbers, parameters[0]))


def square_sum(arrays: Sequence[Array]) -> Array:
    """Add up the squares of all values of some arrays in float64 -> (), where they are.

    Raises TypeError for dtypes, ValueError where there is no array.
    """
    op = "square_sum"
    if not arrays:
        raise ValueError(f"{op}: there is no array")
    for array in arrays:
        check_floats(op, x=array, **{"the first x": arrays[0]})
    total: Array = resolve(op, arrays[0])(arrays)
    return total


def _beside(numbers: Any, like: Array) -> Array:
    """Bring numbers to the dtype and the place of an array."""
    if isinstance(numbers, np.ndarray):
        return module_of(like).asarray(numbers.astype(like.dtype, copy=False))
    placed: Array = numbers
    return placed
