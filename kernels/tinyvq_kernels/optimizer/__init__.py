"""The Adam update of one parameter, in place.

    m ← β₁ m + (1 - β₁) g          v ← β₂ v + (1 - β₂) g²
    p ← p - lr · λ · p  -  lr · m̂ / (√v̂ + ε)      m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

λ is AdamW's decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101), 0 for
Adam (Kingma and Ba, arXiv:1412.6980, algorithm 1). All arrays have p's shape.
"""

from tinyvq_kernels._door import check_floats, check_shape
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.optimizer import cpu, reference

declare(
    Kernel("adam", "cpu", "reference", lambda: reference.adam, "array by array"),
    Kernel("adam", "cuda", "reference", lambda: reference.adam, "array by array"),
    Kernel(
        "adam",
        "cpu",
        "fused",
        lambda: cpu.adam,
        "one pass over all four arrays",
        default=True,
    ),
)


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
) -> None:
    """Update p, m and v in place from the gradient g; `step` counts from 1.

    Raises TypeError for dtypes, ValueError for shapes, a step below 1, or an array that
    cannot be written in place: not contiguous, or read-only.
    """
    op = "adam"
    check_floats(op, p=p, g=g, m=m, v=v)
    for name, array in (("g", g), ("m", m), ("v", v)):
        check_shape(op, name, array, tuple(p.shape))
    for name, array in (("p", p), ("m", m), ("v", v)):
        if not array.flags.c_contiguous:
            raise ValueError(
                f"{op}: {name} must be C-contiguous, it is written in place"
            )
        if not getattr(array.flags, "writeable", True):  # CuPy has no such flag
            raise ValueError(f"{op}: {name} is read-only, it is written in place")
    if step < 1:
        raise ValueError(f"{op}: step counts from 1, got {step}")
    # Rates are folded in double precision, once: the loop sees three factors.
    rate = lr / (1.0 - beta1**step)
    root = 1.0 / (1.0 - beta2**step) ** 0.5
    resolve(op, p)(p, g, m, v, rate, root, beta1, beta2, eps, lr * weight_decay)
