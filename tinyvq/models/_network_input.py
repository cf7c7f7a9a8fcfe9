"""What feature networks share: images as they want them, and the average over one."""

import numpy as np
import numpy.typing as npt

from tinyvq import ops
from tinyvq.backends import beside
from tinyvq.errors import DTypeError, ShapeError
from tinyvq.function import Array
from tinyvq.tensor import Operand, Tensor, as_tensor


def prepared(x: Operand, shorter_side: int) -> Tensor:
    """Repeat grey images (N,H,W,1|3) three times, and enlarge as `enlarged` does.

    Raises ShapeError, DTypeError. Differentiable in x.
    """
    x = as_tensor(x)
    if x.ndim != 4 or x.size == 0 or x.shape[3] not in (1, 3):
        raise ShapeError(
            f"expected images (N,H,W,C) with C = 1 or 3, not empty, got {x.shape}"
        )
    if x.dtype.kind != "f":
        raise DTypeError(f"expected float images around [-0.5, 0.5], got {x.dtype}")
    x = x if x.shape[3] == 3 else ops.concatenate([x, x, x], axis=3)
    return enlarged(x, shorter_side)


def enlarged(x: Tensor, shorter_side: int) -> Tensor:
    """Enlarge images (N,H,W,C), bilinearly, until their shorter side is that long.

    Images that are large enough stay as they are. Differentiable in x.
    """
    n, h, w, c = x.shape
    if min(h, w) >= shorter_side:
        return x
    p, q = (round(side * shorter_side / min(h, w)) for side in (h, w))
    rows = beside(interpolation(p, h, x.dtype).T, x.array)  # (H, P)
    # Pixels' channels stand side by side: each is a row of its own to interpolate.
    columns = np.kron(interpolation(q, w, x.dtype).T, np.eye(c, dtype=x.dtype))
    columns = beside(columns, x.array)
    x = ops.matmul(x.reshape(n, h, w * c), columns)  # (N, H, Q·C)
    x = ops.matmul(x.transpose(0, 2, 1), rows)  # (N, Q·C, P)
    return x.transpose(0, 2, 1).reshape(n, p, q, c)


def interpolation(places: int, pixels: int, dtype: npt.DTypeLike) -> Array:
    """Weights (places, pixels) of linear interpolation between a row's pixels.

    Place i stands at (i + ½) · pixels / places - ½, pixel j at j; beyond the outermost
    pixels their value goes on.
    """
    at = (np.arange(places) + 0.5) * pixels / places - 0.5
    at = np.clip(at, 0, pixels - 1)
    distance = np.abs(at[:, None] - np.arange(pixels))  # (places, pixels)
    return np.maximum(1 - distance, 0).astype(dtype)


def from_bytes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Map bytes 0 .. 255 to floats -0.5 .. 0.5, as all networks here take them."""
    if images.dtype != np.uint8:
        raise DTypeError(f"expected images of uint8, got {images.dtype}")
    return images.astype(np.float32) / np.float32(255) - np.float32(0.5)


def pooled(layer: Array) -> npt.NDArray[np.float32]:
    """Average a layer over each image: (N,P,Q,K) -> (N,K)."""
    averaged: npt.NDArray[np.float64] = layer.mean(axis=(1, 2), dtype=np.float64)
    return averaged.astype(np.float32)
