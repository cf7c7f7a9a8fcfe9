"""Arrays that somebody else made: are they images, and if so, as bytes (N,H,W,C)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.data._images import Images, Labels, Names
from tinyvq.errors import DataError

Array = npt.NDArray[Any]

# What declares more than this is refused unread: a file of a few hundred bytes can
# declare terabytes.
MAX_BYTES = 8 * 2**30


def as_images(array: Array, where: str) -> Images:
    """Take (N,H,W) or (N,H,W,C), C = 1 or 3, as bytes; DataError for anything else.

    uint8 as it is; uint16 scaled from 0 .. 65535; floats scaled from [0, 1].
    """
    if array.ndim == 1 or (array.ndim == 2 and 1 in array.shape):
        raise DataError(
            f"{where} holds {array.shape} {array.dtype}: labels, it seems, where "
            "images (N,H,W) or (N,H,W,C) were meant"
        )
    found = f"{array.shape} {array.dtype}"
    if array.ndim == 3:
        array = array[..., None]  # (N,H,W,1)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape[1:]:
        hint = ""
        if array.ndim == 4 and array.shape[1] in (1, 3):
            hint = "; it looks channels-first: transpose it by (0, 2, 3, 1)"
        raise DataError(
            f"{where} holds {found}, expected images (N,H,W) or (N,H,W,C) with C = 1 "
            f"or 3{hint}"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.newbyteorder("=") == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    found = f"{array.dtype} pixels"
    if array.dtype.kind == "f":
        low, high = (array.min(), array.max()) if array.size else (0, 0)
        if low >= 0 and high <= 1:  # false for NaN
            return np.rint(array * 255.0).astype(np.uint8)
        found += f" from {low:g} to {high:g}"
    raise DataError(
        f"{where} holds {found}, expected uint8, uint16, or floats in [0, 1]"
    )


def as_labels(array: Array, count: int, where: str) -> Labels:
    """Take labels (N,) or (N,1), whole numbers from 0 on, one an image."""
    if array.shape not in ((count,), (count, 1)) or array.dtype.kind not in "iu":
        raise DataError(
            f"{where} holds {array.shape} {array.dtype}, expected {count} whole "
            "numbers, a label an image"
        )
    labels = array.reshape(count).astype(np.int64)
    if count and labels.min() < 0:
        raise DataError(f"{where} holds a negative label, {labels.min()}")
    return labels


def as_names(array: Array, count: int, where: str) -> Names:
    """Take names (N,), one an image, all different."""
    if array.shape != (count,) or array.dtype.kind != "U":
        raise DataError(
            f"{where} holds {array.shape} {array.dtype}, expected {count} texts, a "
            "name an image"
        )
    if len(np.unique(array)) < count:
        raise DataError(f"{where} holds a name twice")
    return array
