"""Images in, batches out.

images = load("fashion-mnist-5k")      or a path: a folder of pictures, .npz, idx
images.split("train").images           (N,H,W,C) uint8
chosen = batch_indices(n, batch_size, step, seed)
x = to_unit(images.split("train").images[chosen])      float32 in [-0.5, 0.5]
"""

import math
from pathlib import Path

from tinyvq.data._arrays import as_images
from tinyvq.data._batches import batch_indices, pick
from tinyvq.data._catalog import (
    CATALOG,
    ImageSet,
    fetch,
    holds_idx,
    load_idx_folder,
    load_named,
    locate,
)
from tinyvq.data._folder import (
    MAX_PIXELS,
    SUFFIXES,
    is_class_folder,
    load_folder,
    read_picture,
)
from tinyvq.data._idx import read_idx
from tinyvq.data._images import (
    SPLITS,
    ImageData,
    Split,
    SplitName,
    from_unit,
    to_unit,
)
from tinyvq.data._npz import complete, load_npz, read_npz
from tinyvq.data._resize import recoloured, resized
from tinyvq.data._split import by_content
from tinyvq.errors import DataError

__all__ = [
    "CATALOG",
    "SPLITS",
    "ImageData",
    "ImageSet",
    "Split",
    "SplitName",
    "batch_indices",
    "fetch",
    "from_unit",
    "is_class_folder",
    "load",
    "locate",
    "pick",
    "read_idx",
    "read_npz",
    "read_picture",
    "to_unit",
]


def load(
    source: str, *, image_size: int | None = None, channels: int | None = None
) -> ImageData:
    """Load images by a built-in name or from a path.

    source      a name of CATALOG; an idx file, plain or gzipped, or a folder of idx
                files under MNIST's names; an .npz; a folder of PNG, JPEG or WebP
                pictures; a name that is both a set's and a path's is refused
    image_size  scale and crop to squares of so many pixels
    channels    1 (grey) or 3 (colour); by default what the images have

    Raises DataError, of one or two lines, for whatever is missing or wrong.
    """
    if image_size is not None and not 1 <= image_size <= math.isqrt(MAX_PIXELS):
        raise DataError(
            f"the image size must be 1 .. {math.isqrt(MAX_PIXELS)}, got {image_size}"
        )
    if channels not in (None, 1, 3):
        raise DataError(f"channels must be 1 (grey) or 3 (colour), got {channels}")
    try:
        found = _load(source, image_size, channels)
    except OSError as error:  # of a name too long, a folder above that is closed
        raise DataError(f"cannot read {source}: {error.strerror or error}") from error
    if image_size is not None:
        found = resized(found, image_size)
    return found if channels is None else recoloured(found, channels)


# What to do with other files that may hold images, by their endings.
_INSTEAD = {
    (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".7z", ".rar"): (
        "unpack it and give the folder"
    ),
    (".npy",): "np.savez('images.npz', images=array) makes one of an array",
    (".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"): (
        "convert it to PNG and give the folder that it is in"
    ),
}


def _load(source: str, image_size: int | None, channels: int | None) -> ImageData:
    path = Path(source)
    if source in CATALOG:
        if path.exists():
            kind = "folder" if path.is_dir() else "file"
            raise DataError(
                f"{source} is both a {kind} here and a built-in set; write ./{source} "
                f"for the {kind}, or go to another folder for the set"
            )
        return load_named(source)
    if path.is_dir():
        if holds_idx(path):
            return _with_val(load_idx_folder(path))
        return load_folder(path, image_size, channels)
    if not path.exists():
        raise DataError(
            f"{source} is neither a file or folder nor a name; the names are "
            f"{', '.join(CATALOG)}"
        )
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return load_npz(path)
    if suffix in SUFFIXES:
        raise DataError(f"{source} is a single picture; give the folder that it is in")
    for endings, advice in _INSTEAD.items():
        if path.name.lower().endswith(endings):
            raise DataError(
                f"{source}: images are a folder of PNG, JPEG or WebP pictures, an .npz "
                f"or an idx file; {advice}"
            )
    return by_content(source, Split(as_images(read_idx(path), source)))


def _with_val(found: ImageData) -> ImageData:
    return complete(found.source, dict(found.splits))
