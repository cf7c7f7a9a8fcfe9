"""The Adam update of many parameters, in place.

    m ← β₁ m + (1 - β₁) g          v ← β₂ v + (1 - β₂) g²
    p ← p - lr · λ · p  -  lr · m̂ / (√v̂ + ε)      m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

λ is AdamW's decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101), 0 for
Adam (Kingma and Ba, arXiv:1412.6980, algorithm 1).
"""

from collections.abc import Sequence

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_shape
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


def adam(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    *,
    steps: Sequence[int],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
) -> None:
    """Update each p, m and v in place from its gradient g, of the same shape.

    steps  t of each parameter, from 1

    Raises TypeError for dtypes, ValueError for lengths, shapes, a step below 1, or an
    array that cannot be written in place: not contiguous, or read-only.
    """
    op = "adam"
    lists = {"gradients": gradients, "m": m, "v": v, "steps": steps}
    for name, items in lists.items():
        if len(items) != len(parameters):
            raise ValueError(
                f"{op}: {len(parameters)} parameters, but {len(items)} {name}"
            )
    if not parameters:
        return
    for i, (p, *others) in enumerate(zip(parameters, gradients, m, v, strict=True)):
        g_of, m_of, v_of = others
        check_floats(op, p=p, g=g_of, m=m_of, v=v_of, **{"the first p": parameters[0]})
        for name, array in (("g", g_of), ("m", m_of), ("v", v_of)):
            check_shape(op, name, array, tuple(p.shape))
        for name, array in (("p", p), ("m", m_of), ("v", v_of)):
            _check_writable(op, name, array)
        if steps[i] < 1:
            raise ValueError(f"{op}: steps count from 1, got {steps[i]}")
    # Rates are folded in double precision, once: the loop sees two of them.
    rates = [lr / (1.0 - beta1**t) for t in steps]
    roots = [1.0 / (1.0 - beta2**t) ** 0.5 for t in steps]
    update = resolve(op, parameters[0])
    update(
        *(parameters, gradients, m, v, rates, roots),
        *(beta1, beta2, eps, lr * weight_decay),
    )


def _check_writable(op: str, name: str, array: Array) -> None:
    if not array.flags.c_contiguous:
        raise ValueError(f"{op}: {name} must be C-contiguous, it is written in place")
    if not getattr(array.flags, "writeable", True):  # CuPy has no such flag
        raise ValueError(f"{op}: {name} is read-only, it is written in place")
