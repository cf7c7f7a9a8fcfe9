"""2-D convolution and its gradients in plain NumPy: the specification.

A convolution is one matrix product a kernel tap: shift the padded image by the tap,
take every stride-th pixel, multiply by that tap's (C, K) matrix, add up.
"""

from collections.abc import Iterator

import numpy as np

from tinyvq_kernels._types import Array


def conv2d(
    x: Array, w: Array, b: Array | None, stride: int, padding: int, dilation: int
) -> Array:
    """y[n,p,q,k] = b[k] + Σ_rsc x[n,i,j,c] w[r,s,c,k], where x is 0 outside the image.

    i = p·stride + r·dilation - padding, and j alike of q and s.
    """
    rows, cols, _, k = w.shape
    p, q = _output_size(x.shape[1:3], (rows, cols), stride, padding, dilation)
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    y = np.zeros_like(x, shape=(x.shape[0], p, q, k))
    for r, s, window in _taps(rows, cols, p, q, stride, dilation):
        y += x[window] @ w[r, s]
    return y if b is None else y + b


def conv2d_input_grad(
    gy: Array,
    w: Array,
    size: tuple[int, int],
    b: Array | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """Scatter each output's gradient back through the taps that read its pixels."""
    n, p, q, _ = gy.shape
    rows, cols, c, _ = w.shape
    h, wide = size
    gx = np.zeros_like(gy, shape=(n, h + 2 * padding, wide + 2 * padding, c))
    for r, s, window in _taps(rows, cols, p, q, stride, dilation):
        gx[window] += gy @ w[r, s].T
    gx = gx[:, padding : padding + h, padding : padding + wide]
    return gx.copy() if b is None else gx + b


def conv2d_weight_grad(
    x: Array,
    gy: Array,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> Array:
    """gw[r,s,c,k] = Σ_npq x[n,i,j,c] gy[n,p,q,k], with i and j as in conv2d."""
    rows, cols = kernel
    n, p, q, k = gy.shape
    c = x.shape[3]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    gw = np.zeros_like(x, shape=(rows, cols, c, k))
    flat_gy = gy.reshape(n * p * q, k)  # (N·P·Q, K)
    for r, s, window in _taps(rows, cols, p, q, stride, dilation):
        gw[r, s] = x[window].reshape(n * p * q, c).T @ flat_gy  # (C, K)
    return gw


def _output_size(
    image: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> tuple[int, int]:
    p, q = (
        (n + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for n, taps in zip(image, kernel, strict=True)
    )
    return p, q


def _taps(
    rows: int, cols: int, p: int, q: int, stride: int, dilation: int
) -> Iterator[tuple[int, int, tuple[slice, slice, slice]]]:
    """For each tap (r, s): the slice of the padded image that it reads."""
    for r in range(rows):
        for s in range(cols):
            top, left = r * dilation, s * dilation
            window = (
                slice(None),
                slice(top, top + (p - 1) * stride + 1, stride),
                slice(left, left + (q - 1) * stride + 1, stride),
            )
            yield r, s, window
