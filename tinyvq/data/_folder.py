"""A folder of pictures, as people have it: PNG, JPEG, WebP, of any kind of pixel."""

import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyvq.data._arrays import MAX_BYTES
from tinyvq.data._images import SPLITS, ImageData, Images, Split
from tinyvq.data._npz import complete
from tinyvq.data._resize import fit_square, recolour
from tinyvq.data._split import by_content, split_of
from tinyvq.errors import DataError, FileError
from tinyvq.files import read_bytes
from tinyvq.messages import say, track

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000  # of one picture; beyond it, it is taken for an attack
MOST_NAMED = 10  # of the files that cannot be read
MAX_FILE = 8 * MAX_PIXELS  # bytes, as many as 16-bit RGBA takes unpacked
# The split that is meant by what a folder is called.
_MEANT = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_MEANT |= dict(zip(SPLITS, SPLITS, strict=True))
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


@dataclass(frozen=True)
class _Picture:
    pixels: Images  # (H,W,C), C = 1 or 3
    side: str  # the split of the file's content


def load_folder(
    folder: Path, image_size: int | None, channels: int | None
) -> ImageData:
    """Read all pictures of a folder and of the folders below it.

    Folders train, val and test are the splits; without them pictures are split by
    their content, and without val alone it comes out of train, likewise. Below that,
    folders are classes: cats/1.png has the label "cats". A split has labels if all its
    pictures are in such folders. Where only some are, that is reported, as are files of
    other kinds; a picture that cannot be read is an error.

    image_size  scale and crop to squares of so many pixels; None: all must be alike
    channels    1 or 3; None: 1 where all pictures are grey, else 3
    """
    paths = _list_pictures(folder)
    names = [path.relative_to(folder) for path in paths]
    split_names = _split_folders(folder, names)
    pictures = _read_all(folder, paths, image_size)
    classes = _classes(folder, names, split_names)
    class_names = sorted(set(classes) - {""})
    number = {"": -1} | {name: label for label, name in enumerate(class_names)}
    whole = Split(
        _stack(pictures, channels),
        np.array([number[name] for name in classes]) if class_names else None,
        np.array([name.as_posix() for name in names]),
    )
    sides = [picture.side for picture in pictures]
    if not split_names:
        return by_content(str(folder), whole, sides, class_names)
    above = np.array([name.parts[0] for name in names])
    if "train" in split_names and "val" not in split_names:
        split_names.append("val")
        above[(above == "train") & (np.array(sides) == "val")] = "val"
    splits = {name: _labelled(whole.take(above == name)) for name in split_names}
    return replace(complete(str(folder), splits), class_names=tuple(class_names))


def _split_folders(folder: Path, names: list[Path]) -> list[str]:
    """List which of train, val and test the folder has; they must have everything.

    names   of the pictures, within the folder
    """
    for name in sorted({name.parts[0] for name in names if len(name.parts) > 1}):
        meant = _MEANT.get(name.lower(), name)
        if meant != name:
            raise DataError(
                f"{folder} holds the folder {name}: folders of splits are named train, "
                f"val and test; name it {meant}"
            )
    tops = {name.parts[0] for name in names}
    splits: list[str] = [name for name in SPLITS if name in tops]
    others = sorted(tops - set(splits))
    if splits and others:
        raise DataError(
            f"{folder} holds {', '.join(splits)} and also {', '.join(others[:3])}; "
            "where there are folders of splits, every picture must be in one"
        )
    return splits


def is_class_folder(name: str) -> bool:
    """Tell whether a name can be that of a class's folder: not hidden, no split's."""
    plain = bool(name) and not name.startswith(".") and not {"/", "\0"} & set(name)
    return plain and name.lower() not in _MEANT


def _list_pictures(folder: Path) -> list[Path]:
    """List the pictures below a folder, by path; report what is none."""
    pictures: list[Path] = []
    others: list[Path] = []
    for path in _walk(folder):
        is_picture = path.name.lower().endswith(SUFFIXES)
        (pictures if is_picture else others).append(path)
    if others:
        shown = ", ".join(str(path.relative_to(folder)) for path in others[:3])
        more = ", ..." if len(others) > 3 else ""
        say(f"{folder}: passing over {len(others)} other files: {shown}{more}")
    if not pictures:
        raise DataError(f"{folder} holds no PNG, JPEG or WebP pictures")
    return pictures


def _walk(top: Path) -> Iterator[Path]:
    """Yield what is below a folder and is none itself; hidden things are left out.

    Links to folders are followed, each folder once: one that was seen is only yielded.
    """
    waiting, seen = [top], {top.resolve()}
    while waiting:
        folder = waiting.pop()
        below: list[Path] = []
        try:
            for path in sorted(folder.iterdir()):
                if path.name.startswith("."):
                    continue
                if not path.is_dir() or path.resolve() in seen:
                    yield path
                else:
                    seen.add(path.resolve())
                    below.append(path)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"cannot list {folder}: {reason}") from error
        waiting += reversed(below)


def _classes(folder: Path, names: list[Path], split_names: list[str]) -> list[str]:
    """Name each picture's class, the first folder below its split.

    "" in a split where one lies outside such a folder; where only some do, say so.
    """
    found = [""] * len(names)
    for split in split_names or [""]:
        mine = [i for i, name in enumerate(names) if split in ("", name.parts[0])]
        below = [names[i].parts[1 if split else 0 :] for i in mine]
        outside = [i for i, parts in zip(mine, below, strict=True) if len(parts) == 1]
        if not outside:
            for i, parts in zip(mine, below, strict=True):
                found[i] = parts[0]
        elif len(outside) < len(mine):
            say(
                f"{folder / split}: {len(outside)} of {len(mine)} pictures lie outside "
                f"a folder of a class, so that none has one: {names[outside[0]]}"
                f"{', ...' if outside[1:] else ''}"
            )
    return found


def _labelled(split: Split) -> Split:
    """Take the labels from a split whose pictures have none, -1."""
    if split.labels is None or (split.labels >= 0).all():
        return split
    return replace(split, labels=None)


def _read_all(
    folder: Path, paths: list[Path], image_size: int | None
) -> list[_Picture]:
    """Read pictures in threads; DataError names those that cannot be read.

    From the first of those on, nothing else is kept or checked.
    """
    pictures: list[_Picture] = []
    problems: dict[Path, DataError] = {}

    def attempt(path: Path) -> _Picture | DataError:
        try:
            return _read(path, image_size)
        except DataError as problem:
            return problem

    # Here and not in the threads: Python's warnings are global.
    with without_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        read = pool.map(attempt, paths)
        for path, found in zip(
            paths, track(read, "reading pictures", len(paths)), strict=True
        ):
            if isinstance(found, DataError):
                problems[path] = found
            elif not problems:
                pictures.append(found)
                _check_size(folder, paths, pictures)
    if problems:
        raise _all_in_one(folder, problems)
    return pictures


def _all_in_one(folder: Path, problems: dict[Path, DataError]) -> DataError:
    """Name the files of a folder that cannot be read: one with the cause, or ten."""
    first, *others = problems
    if not others:
        return problems[first]
    names = [path.relative_to(folder).as_posix() for path in (first, *others)]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return DataError(
        f"{len(names)} files in {folder} are not PNG, JPEG or WebP pictures that can "
        f"be read: {', '.join(names[:MOST_NAMED])}{more}"
    )


def _check_size(folder: Path, paths: list[Path], pictures: list[_Picture]) -> None:
    """Hold the picture just read against the first."""
    first, shape = pictures[0].pixels.shape, pictures[-1].pixels.shape
    advice = (
        "--image-size 64, say, scales and crops all to squares; with a trained run "
        "--fit does, to its size"
    )
    if shape[:2] != first[:2]:
        here, there = (
            p.relative_to(folder) for p in (paths[len(pictures) - 1], paths[0])
        )
        raise DataError(
            f"{folder} holds pictures of different sizes: {there} is "
            f"{first[1]}×{first[0]}, {here} {shape[1]}×{shape[0]}; {advice}"
        )
    if len(paths) * pictures[-1].pixels.size > MAX_BYTES:
        raise DataError(
            f"{folder} holds {len(paths)} pictures of {first[1]}×{first[0]}, more than "
            f"{MAX_BYTES} bytes; {advice}"
        )


def read_picture(path: Path, image_size: int | None = None) -> Images:
    """Read one picture as bytes (H,W,C), C = 1 or 3; DataError where it is none."""
    with without_warnings():
        return _read(path, image_size).pixels


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep Pillow silent about the pictures that it reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of sizes: ours is below
        yield


def _read(path: Path, image_size: int | None) -> _Picture:
    try:
        content = read_bytes(path, MAX_FILE)
    except FileError as error:
        raise DataError(str(error)) from error
    picture = decode_picture(path, content)
    if image_size is not None:
        picture = fit_square(picture, image_size)
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels  # (H,W,C)
    return _Picture(pixels, split_of(content))


def decode_picture(path: Path | str, content: bytes) -> "Image":
    """Decode a picture as 8-bit grey (L) or colour (RGB), alpha over white.

    path  where it is from, for messages: DataError where it is none
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{width}×{height}")
            return _plain(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a PNG, JPEG or WebP picture") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} has more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # Pillow's readers raise many kinds
        raise DataError(f"{path} is damaged: {error}") from error


def _plain(picture: "Image") -> "Image":
    """Turn any kind of pixel into 8-bit grey (L) or colour (RGB), alpha over white."""
    from PIL import Image

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        wide = np.array(picture, np.float64)  # 16 bits of grey: 0 .. 65535
        wide[wide == picture.info.get("transparency", -1)] = 65535  # white
        return Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8))
    grey = picture.mode in _GREY
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        picture = Image.alpha_composite(white, over)
    return picture.convert("L" if grey else "RGB")


def _stack(pictures: list[_Picture], channels: int | None) -> Images:
    """Make one array (N,H,W,C) of all pictures."""
    wanted = channels or max(picture.pixels.shape[2] for picture in pictures)
    height, width, _ = pictures[0].pixels.shape
    images = np.empty((len(pictures), height, width, wanted), np.uint8)
    for i, picture in enumerate(pictures):
        images[i] = recolour(picture.pixels, wanted)
    return images
