"""A folder of pictures, as people have it: PNG, JPEG, WebP, of any kind of pixel."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyvq.data._images import SPLITS, ImageData, Images, Split
from tinyvq.data._npz import complete
from tinyvq.data._resize import fit_square, recolour
from tinyvq.data._split import by_content
from tinyvq.errors import DataError
from tinyvq.messages import say, track

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000  # of one picture; beyond it, it is taken for an attack
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


@dataclass(frozen=True)
class _Picture:
    pixels: Images  # (H,W,C), C = 1 or 3
    content: bytes  # of the file


def load_folder(
    folder: Path, image_size: int | None, channels: int | None
) -> ImageData:
    """Read all pictures of a folder and of the folders below it.

    Folders train, val and test are the splits; without them pictures are split by
    their content. Below that, folders are classes: cats/1.png has the label "cats".
    A picture that cannot be read is an error; files of other kinds are reported.

    image_size  scale and crop to squares of so many pixels; None: all must be alike
    channels    1 or 3; None: 1 where all pictures are grey, else 3
    """
    paths = _list_pictures(folder)
    split_names = _split_folders(folder, paths)
    pictures = _read_all(paths, image_size)
    classes = _classes([path.relative_to(folder).parts for path in paths], split_names)
    class_names = sorted(set(classes))
    whole = Split(
        _stack(folder, paths, pictures, channels),
        np.array([class_names.index(name) for name in classes]) if classes else None,
        np.array([path.relative_to(folder).as_posix() for path in paths]),
    )
    if not split_names:
        contents = [picture.content for picture in pictures]
        return by_content(str(folder), whole, contents, class_names)
    splits = {
        name: whole.take(np.array([folder / name in path.parents for path in paths]))
        for name in split_names
    }
    return replace(complete(str(folder), splits), class_names=tuple(class_names))


def _split_folders(folder: Path, paths: list[Path]) -> list[str]:
    """List which of train, val and test the folder has; they must have everything."""
    tops = {path.relative_to(folder).parts[0] for path in paths}
    splits: list[str] = [name for name in SPLITS if name in tops]
    others = sorted(tops - set(splits))
    if splits and others:
        raise DataError(
            f"{folder} holds {', '.join(splits)} and also {', '.join(others[:3])}; "
            "where there are folders of splits, every picture must be in one"
        )
    return splits


def _list_pictures(folder: Path) -> list[Path]:
    """List the pictures below a folder, by path; report what is none."""
    pictures: list[Path] = []
    others: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                is_picture = name.lower().endswith(SUFFIXES)
                (pictures if is_picture else others).append(Path(root, name))
    if others:
        shown = ", ".join(str(path.relative_to(folder)) for path in others[:3])
        more = ", ..." if len(others) > 3 else ""
        say(f"{folder}: passing over {len(others)} other files: {shown}{more}")
    if not pictures:
        raise DataError(f"{folder} holds no PNG, JPEG or WebP pictures")
    return pictures


def _classes(paths: list[tuple[str, ...]], split_names: list[str]) -> list[str]:
    """Name each picture's class, the first folder below its split; [] without any."""
    below = [parts[1:] if split_names else parts for parts in paths]
    return [parts[0] for parts in below] if all(len(p) > 1 for p in below) else []


def _read_all(paths: list[Path], image_size: int | None) -> list[_Picture]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = pool.map(lambda path: _read(path, image_size), paths)
        return list(track(read, "reading pictures", len(paths)))


def _read(path: Path, image_size: int | None) -> _Picture:
    return _Picture(read_picture(path, image_size), path.read_bytes())


def read_picture(path: Path, image_size: int | None = None) -> Images:
    """Read one picture as bytes (H,W,C), C = 1 or 3; DataError where it is none."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of sizes: ours is below
            with Image.open(path, formats=FORMATS) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise DataError(
                        f"{path} has {width}×{height} pixels, at most {MAX_PIXELS} in "
                        "all are read"
                    )
                picture = _plain(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a PNG, JPEG or WebP picture") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if image_size is not None:
        picture = fit_square(picture, image_size)
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _plain(picture: "Image") -> "Image":
    """Turn any kind of pixel into 8-bit grey (L) or colour (RGB), alpha over white."""
    from PIL import Image

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        wide = np.asarray(picture).astype(np.float64)  # 16 bits of grey: 0 .. 65535
        return Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8))
    grey = picture.mode in _GREY
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        picture = Image.alpha_composite(white, over)
    return picture.convert("L" if grey else "RGB")


def _stack(
    folder: Path, paths: list[Path], pictures: list[_Picture], channels: int | None
) -> Images:
    """Make one array (N,H,W,C) of all pictures; DataError where sizes differ."""
    first = pictures[0].pixels.shape
    for path, picture in zip(paths, pictures, strict=True):
        if picture.pixels.shape[:2] != first[:2]:
            h, w, _ = picture.pixels.shape
            raise DataError(
                f"{folder} holds pictures of different sizes: {paths[0].name} is "
                f"{first[1]}×{first[0]}, {path.name} {w}×{h}; "
                "--image-size 64, say, scales and crops all to squares"
            )
    wanted = channels or max(picture.pixels.shape[2] for picture in pictures)
    return np.stack([recolour(picture.pixels, wanted) for picture in pictures])
