"""Which form of convolution is taken where: Winograd's where it has one, or tiles."""

from typing import Any

from tinyvq_kernels._types import Array
from tinyvq_kernels.convolution import direct, winograd, winograd_weights

FEW = 32  # channels, below which tiles are taken


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """Run the forward convolution; shapes as in the package's contract."""
    form = winograd if _has_form(w.shape, stride, dilation, x.dtype) else direct
    return form.conv2d(x, w, b, stride, padding, dilation)


def conv2d_input_grad(
    gy: Array,
    w: Array,
    size: tuple[int, int],
    b: Array | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the input gradient; shapes as in the package's contract."""
    form = winograd if _has_form(w.shape, stride, dilation, gy.dtype) else direct
    return form.conv2d_input_grad(gy, w, size, b, stride, padding, dilation)


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Run the weight gradient; shapes as in the package's contract."""
    shape = (*kernel, x.shape[3], gy.shape[3])
    form = winograd_weights if _has_form(shape, stride, dilation, x.dtype) else direct
    return form.conv2d_weight_grad(x, gy, kernel, stride, padding, dilation)


def _has_form(w_shape: tuple[int, ...], stride: int, dilation: int, dtype: Any) -> bool:
    """Tell whether Winograd's form is there, and worth it.

    With few channels its transforms cost as much as the products that it saves, and
    their roundings, which are as many for any number of channels, stand out.
    """
    rows, cols, c, k = w_shape
    return min(c, k) >= FEW and winograd.suits(
        (rows, cols), c, k, stride, dilation, dtype
    )
