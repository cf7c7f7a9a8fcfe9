"""Group norm, and with it layer norm and batch norm.

    group_norm       x (N,L,C), weight (C), bias (C)  -> y (N,L,C), mean, rstd (N,G)
    group_norm_grad  x, gy (N,L,C), mean, rstd, weight -> gx (N,L,C), gw (C), gb (C)

    ŷ = (x - mean) · rstd,  rstd = 1 / √(var + ε),  y = ŷ · weight + bias

mean and var of each item n and group g of C/G neighbouring channels, over all L
positions; var divides by the count. Seen as another shape it is every norm there is:

    layer norm of rows (R,C)       x (R,1,C), one group
    batch norm of (N,L,C)          x (1,N·L,C), C groups
    instance norm                  x (N,L,C), C groups

The variance is that of centred values: the mean of squares less the square of the mean
would cancel. All sums run in float64, over blocks of positions cut by size, and are
added in order, so no result depends on the number of threads. NaN or infinity makes NaN
of its own group, and of no other.

Source: Wu and He, arXiv:1803.08494.
"""

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_rank, check_shape
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.normalization import cpu, gpu, reference

declare(
    *(
        Kernel(op, backend, "reference", lambda f=f: f, "as the definition reads")  # type: ignore[misc]
        for op, f in (
            ("group_norm", reference.group_norm),
            ("group_norm_grad", reference.group_norm_grad),
        )
        for backend in ("cpu", "cuda")
    ),
    Kernel(
        "group_norm",
        "cpu",
        "blocked",
        lambda: cpu.group_norm,
        "mean and variance of a block while it is in the cache: x is read twice",
        default=True,
    ),
    Kernel(
        "group_norm_grad",
        "cpu",
        "blocked",
        lambda: cpu.group_norm_grad,
        "x and gy are read twice; ŷ is computed again, not kept",
        default=True,
    ),
)
for _op, _ladder in gpu.LADDERS.items():
    cuda_ladder(_op, _ladder, default="banded")


def group_norm(
    x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise; -> y, and mean and rstd (N,G) for the gradient.

    Raises TypeError for dtypes, ValueError for shapes, or nothing to normalise.
    """
    op = "group_norm"
    check_floats(op, x=x, weight=weight, bias=bias)
    _check_sizes(op, x, groups)
    for name, array in (("weight", weight), ("bias", bias)):
        check_shape(op, name, array, (x.shape[2],))
    y, mean, rstd = resolve(op, x)(x, weight, bias, groups, eps)
    return y, mean, rstd


def group_norm_grad(
    x: Array, gy: Array, mean: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Differentiate; -> gx, gw and gb. mean and rstd as `group_norm` returned them."""
    op = "group_norm_grad"
    check_floats(op, x=x, gy=gy, mean=mean, rstd=rstd, weight=weight)
    check_rank(op, "N,G", "mean", mean)
    _check_sizes(op, x, mean.shape[1])
    check_shape(op, "gy", gy, tuple(x.shape))
    check_shape(op, "mean", mean, (x.shape[0], mean.shape[1]))
    check_shape(op, "rstd", rstd, tuple(mean.shape))
    check_shape(op, "weight", weight, (x.shape[2],))
    gx, gw, gb = resolve(op, x)(x, gy, mean, rstd, weight)
    return gx, gw, gb


def _check_sizes(op: str, x: Array, groups: int) -> None:
    check_rank(op, "N,L,C", "x", x)
    if x.shape[1] < 1 or groups < 1 or x.shape[2] < 1 or x.shape[2] % groups:
        raise ValueError(
            f"{op}: needs x (N,L,C) with L >= 1 and C a multiple of {groups} groups, "
            f"got {x.shape}"
        )
