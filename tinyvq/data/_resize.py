"""Resize and crop: one picture to a square, or a whole array of them."""

from typing import TYPE_CHECKING

import numpy as np

from tinyvq.data._images import ImageData, Images, map_images

if TYPE_CHECKING:
    from PIL.Image import Image


def fit_square(picture: "Image", size: int) -> "Image":
    """Scale a picture's shorter side to `size` pixels and keep the middle square."""
    from PIL.Image import Resampling
    from PIL.ImageOps import fit

    return fit(picture, (size, size), method=Resampling.LANCZOS)


def resized(data: ImageData, size: int) -> ImageData:
    """Fit all images of a set into squares of `size` pixels."""
    if data.image_shape[:2] == (size, size):
        return data
    return map_images(data, lambda images: _resize_all(images, size))


def _resize_all(images: Images, size: int) -> Images:
    from PIL import Image

    out = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for i, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        out[i] = np.asarray(fit_square(picture, size)).reshape(out.shape[1:])
    return out


def recoloured(data: ImageData, channels: int) -> ImageData:
    """Make all images grey (1) or colour (3)."""
    if data.image_shape[2] == channels:
        return data
    return map_images(data, lambda images: recolour(images, channels))


def recolour(images: Images, channels: int) -> Images:
    """Make images (...,C) grey (...,1) or colour (...,3)."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return images.repeat(3, axis=-1)
    # The luma of ITU-R BT.601, in integers that sum to 1000, rounded.
    luma = images.astype(np.uint32) @ np.array([299, 587, 114], np.uint32)
    return ((luma + 500) // 1000).astype(np.uint8)[..., None]
