"""2-D convolution, channels-last, and its two gradients.

    conv2d              x (N,H,W,C), w (R,S,C,K), b (K)   -> y  (N,P,Q,K)
    conv2d_input_grad   gy (N,P,Q,K), w (R,S,C,K), b (C)  -> gx (N,H,W,C)
    conv2d_weight_grad  x (N,H,W,C), gy (N,P,Q,K)         -> gw (R,S,C,K)

    P = (H + 2·padding - dilation·(R-1) - 1) // stride + 1, and Q from W and S alike

The input gradient is the transposed convolution, bias included, so these three make
conv_transpose2d and its gradients as well. float32 or float64; each call is
2·N·P·Q·R·S·C·K flops. There is no im2col: extra memory is one padded image, or the
transformed tiles of a few images, a thread, and the packed weights (the weight
gradient: up to 8 partial sums of its result, each perhaps of 16 transformed sums).

Each result is a sum of short chains of fused multiply-adds in a fixed order, so no
result depends on the number of threads, or on what else is in the batch. `fastest`
takes Winograd's form where there is one: its errors have a bound of their own, twice
that of the direct form at most in what was measured, and a value that is not finite
reaches all outputs of its tile. On CUDA, `tensor_cores` multiplies in TF32, which has
to be asked for: each product is off by up to 2⁻¹⁰ of itself.
"""

from functools import partial
from typing import Any

from tinyvq_kernels._cuda import cuda_ladder
from tinyvq_kernels._door import check_floats, check_rank, check_shape
from tinyvq_kernels._table import Kernel, declare, resolve
from tinyvq_kernels._types import Array
from tinyvq_kernels.convolution import (
    direct,
    fastest,
    gpu,
    gpu_narrow,
    gpu_tensor,
    reference,
)

_PRODUCTS = dict.fromkeys(
    ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"), "a matrix product a tap"
)
_TILES = {
    "conv2d": "register tiles straight from a padded image",
    "conv2d_input_grad": "a convolution with stride 1 for each phase of the stride",
    "conv2d_weight_grad": "tiles that add up over pixels, partial sums",
}
_FORMS = dict.fromkeys(_TILES, "Winograd's form where there is one, 16 products for 36")


def _ladder(backend: str, variant: str, module: Any, whats: dict[str, str]) -> None:
    for op, what in whats.items():
        load = partial(getattr, module, op)
        declare(Kernel(op, backend, variant, load, what, default=variant == "fastest"))


_ladder("cpu", "reference", reference, _PRODUCTS)
_ladder("cuda", "reference", reference, _PRODUCTS)
_ladder("cpu", "tiled", direct, _TILES)
_ladder("cpu", "fastest", fastest, _FORMS)
for _op in _TILES:
    _rungs = gpu.ladder(_op) | gpu_narrow.ladder(_op) | gpu_tensor.ladder(_op)
    cuda_ladder(_op, _rungs, default="narrow")


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Convolve images with a kernel (cross-correlation, as the field has it).

    x (N,H,W,C), w (R,S,C,K), b (K) or None, one float dtype -> (N,P,Q,K)
    Raises TypeError for dtypes, ValueError for shapes and settings.
    """
    op = "conv2d"
    _check(op, w, b, 3, stride, padding, dilation, x=x)
    if x.shape[3] != w.shape[2]:
        raise ValueError(
            f"{op}: x {x.shape} has {x.shape[3]} channels, "
            f"w {w.shape} takes {w.shape[2]}"
        )
    output_size(x.shape[1:3], w.shape[:2], stride, padding, dilation)
    return resolve(op, x)(x, w, b, stride, padding, dilation)


def conv2d_input_grad(
    gy: Array,
    w: Array,
    size: tuple[int, int],
    b: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Apply the adjoint of conv2d in x: its input gradient, or conv_transpose2d.

    gy (N,P,Q,K), w (R,S,C,K), size (H, W), b (C) or None -> (N,H,W,C)
    Raises ValueError where conv2d would not make (P, Q) of (H, W).
    """
    op = "conv2d_input_grad"
    _check(op, w, b, 2, stride, padding, dilation, gy=gy)
    made = output_size(size, w.shape[:2], stride, padding, dilation)
    if gy.shape[1:3] != made or gy.shape[3] != w.shape[3]:
        raise ValueError(
            f"{op}: size {tuple(size)} with w {w.shape} needs gy "
            f"(N, {made[0]}, {made[1]}, {w.shape[3]}), got {gy.shape}"
        )
    return resolve(op, gy)(gy, w, tuple(size), b, stride, padding, dilation)


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Apply the adjoint of conv2d in w: its weight gradient.

    x (N,H,W,C), gy (N,P,Q,K), kernel (R, S) -> (R,S,C,K)
    """
    op = "conv2d_weight_grad"
    check_floats(op, x=x, gy=gy)
    check_rank(op, "N,H,W,C", "x", x)
    check_rank(op, "N,P,Q,K", "gy", gy)
    _check_settings(op, stride, padding, dilation)
    made = output_size(x.shape[1:3], kernel, stride, padding, dilation)
    check_shape(op, "gy", gy, (x.shape[0], *made, gy.shape[3]))
    return resolve(op, x)(x, gy, tuple(kernel), stride, padding, dilation)


def output_size(
    image: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> tuple[int, int]:
    """Compute (P, Q) from (H, W) and (R, S); raise ValueError where nothing fits."""
    if min(image) < 0 or min(kernel) < 1:
        raise ValueError(
            "conv2d: a kernel must be at least 1×1 and an image at least 0×0, got "
            f"{kernel[0]}×{kernel[1]} and {image[0]}×{image[1]}"
        )
    p, q = (
        (n + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for n, taps in zip(image, kernel, strict=True)
    )
    if p < 1 or q < 1:
        raise ValueError(
            f"conv2d: a {kernel[0]}×{kernel[1]} kernel with dilation {dilation} "
            f"does not fit into a {image[0]}×{image[1]} image padded by {padding}"
        )
    return p, q


def _check(
    op: str,
    w: Array,
    b: Array | None,
    bias_axis: int,
    stride: int,
    padding: int,
    dilation: int,
    **images: Array,
) -> None:
    biases = {} if b is None else {"b": b}
    check_floats(op, **images, w=w, **biases)
    for name, image in images.items():
        check_rank(op, "N,H,W,C" if name == "x" else "N,P,Q,K", name, image)
    check_rank(op, "R,S,C,K", "w", w)
    if b is not None:
        check_shape(op, "b", b, (w.shape[bias_axis],))
    _check_settings(op, stride, padding, dilation)


def _check_settings(op: str, stride: int, padding: int, dilation: int) -> None:
    if stride < 1 or padding < 0 or dilation < 1:
        raise ValueError(
            f"{op}: needs stride >= 1, padding >= 0, dilation >= 1, got "
            f"stride={stride}, padding={padding}, dilation={dilation}"
        )
