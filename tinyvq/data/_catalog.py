"""Image sets by name: where each may be found, and how to get it.

A set is looked for in this order: in tinyvq itself, in the user's own folder
($TINYVQ_DATA/NAME), where Debian's package puts it, where `fetch` puts it. Some sets
are downloaded as idx files; others are built here, into one NAME.npz.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tinyvq.data import _emoji, _photos
from tinyvq.data._arrays import as_images, as_labels
from tinyvq.data._built import Recipe, build
from tinyvq.data._idx import read_idx
from tinyvq.data._images import ImageData, Split
from tinyvq.data._npz import complete, load_npz
from tinyvq.errors import DataError
from tinyvq.messages import say

GARMENTS = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
VAL_IMAGES = 5000  # the last ones of the train files of the full sets
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class ImageSet:
    """A set of images that is known by name.

    what      one line about it
    licence   and whom to thank
    packages  folders in which a system's package puts it
    url       where its files are downloaded from, with a trailing slash; "" if none are
    md5       of each file there
    recipe    how it is built from what is installed
    part_of   the set whose splits its own are taken from; "" if none
    """

    what: str
    licence: str
    class_names: tuple[str, ...]
    packages: tuple[Path, ...] = ()
    url: str = ""
    md5: Mapping[str, str] = field(default_factory=dict)
    recipe: Recipe | None = None
    part_of: str = ""


CATALOG: dict[str, ImageSet] = {
    "fashion-mnist-5k": ImageSet(
        "5,000 grey pictures of garments, 28×28, in ten classes; comes with tinyvq",
        "MIT, Copyright (c) 2017 Zalando SE",
        GARMENTS,
        part_of="fashion-mnist",
    ),
    "fashion-mnist": ImageSet(
        "70,000 grey pictures of garments, 28×28, in ten classes (arXiv:1708.07747)",
        "MIT, Copyright (c) 2017 Zalando SE",
        GARMENTS,
        (Path("/usr/share/datasets/fashion-mnist"),),
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "mnist": ImageSet(
        "70,000 grey pictures of handwritten digits, 28×28 (LeCun et al., 1998)",
        "CC BY-SA 3.0, Y. LeCun, C. Cortes, C. J. C. Burges",
        tuple("0123456789"),
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "emoji": ImageSet(
        "3,916 emoji in colour, 64×64, of the font Noto Color Emoji, in three classes",
        "SIL Open Font License 1.1, Copyright 2022 Google Inc.",
        _emoji.CLASS_NAMES,
        recipe=Recipe(_emoji.lacking, _emoji.make),
    ),
    "photos": ImageSet(
        "7,563 patches in colour, 64×64, of 26 photographs of Debian's wallpapers",
        "CC BY and others, by photograph: /usr/share/doc/{"
        f"{','.join(_photos.PHOTOGRAPHS)}}}/copyright",
        (),
        recipe=Recipe(_photos.lacking, _photos.make),
    ),
}

SHIPPED = Path(__file__).parent / "shipped"


def download_folder(name: str) -> Path:
    """Where `fetch` puts a set: in the user's cache folder; DataError without one."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise DataError(
            f"there is no home folder for {name} to be kept in: set XDG_CACHE_HOME"
        ) from error
    return Path(cache) / "tinyvq" / "data" / name


def locate(name: str) -> Path | None:
    """Find the folder that a set is in; None where it has to be fetched."""
    known = _known(name)
    if (SHIPPED / f"{name}.npz").exists():
        return SHIPPED
    places = list(known.packages)
    if own := os.environ.get("TINYVQ_DATA"):
        place = Path(own) / name
        places.insert(0, place)
        if place.is_dir() and (missing := _missing(place, known)):
            say(f"passing over {place}, for it has no {missing[0]}")
    for place in places:
        if not _missing(place, known):
            return place
    fetched = download_folder(name)
    return None if _missing(fetched, known) else fetched


def _known(name: str) -> ImageSet:
    if name not in CATALOG:
        raise DataError(f"there is no set {name}; the names are {', '.join(CATALOG)}")
    return CATALOG[name]


def _missing(folder: Path, known: ImageSet) -> list[str]:
    if known.recipe is not None:
        return [] if _npz_path(folder).is_file() else [_npz_path(folder).name]
    return [f"{file} (.gz)" for file in _missing_idx(folder)]


def _npz_path(folder: Path) -> Path:
    """Where a built set lies in its folder, which bears its name."""
    return folder / f"{folder.name}.npz"


def _missing_idx(folder: Path) -> list[str]:
    files = [file for pair in IDX_FILES.values() for file in pair]
    return [file for file in files if _idx_path(folder, file) is None]


def holds_idx(folder: Path) -> bool:
    """Whether a folder has any of the idx files under MNIST's names."""
    return len(_missing_idx(folder)) < 4


def _idx_path(folder: Path, file: str) -> Path | None:
    """Find an idx file by its name, gzipped or not; one with a dot is common too."""
    for name in (file, file.replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def load_named(name: str) -> ImageData:
    """Load a set by name, fetching it where it is nowhere on this machine."""
    folder = locate(name) or fetch(name)
    if folder == SHIPPED:
        found = load_npz(SHIPPED / f"{name}.npz")
        return ImageData(name, found.splits, CATALOG[name].class_names)
    if CATALOG[name].recipe is not None:
        return _load_built(name, folder)
    found = load_idx_folder(folder)
    train = found.splits["train"]
    position = np.arange(len(train))
    splits = {
        "train": train.take(position[:-VAL_IMAGES]),
        "val": train.take(position[-VAL_IMAGES:]),
        "test": found.splits["test"],
    }
    whole = complete(f"{name} in {folder}", splits)
    return replace(whole, class_names=CATALOG[name].class_names)


def _load_built(name: str, folder: Path) -> ImageData:
    path = _npz_path(folder)
    try:
        found = load_npz(path)
    except DataError as error:
        raise DataError(f"{error}\nremove it, and {name} is built again") from error
    return ImageData(f"{name} in {folder}", found.splits, CATALOG[name].class_names)


def load_idx_folder(folder: Path) -> ImageData:
    """Load a folder of idx files under MNIST's names; labels may be missing."""
    splits = {}
    for name, (image_file, label_file) in IDX_FILES.items():
        path = _idx_path(folder, image_file)
        if path is None:
            continue
        images = as_images(read_idx(path), str(path))
        label_path = _idx_path(folder, label_file)
        labels = None
        if label_path is not None:
            labels = as_labels(read_idx(label_path), len(images), str(label_path))
        splits[name] = Split(images, labels)
    if "train" not in splits:
        raise DataError(f"{folder} holds no {IDX_FILES['train'][0]} (.gz)")
    return ImageData(str(folder), splits)


def fetch(name: str) -> Path:
    """Download a set, checking each file's checksum, or build it -> its folder.

    What is there already is not fetched again. Raises DataError where the network or
    the server fails, or where what it is built from is not installed; a file cut short
    is never kept.
    """
    known = _known(name)
    folder = download_folder(name)
    if known.recipe is not None:
        if not _missing(folder, known):
            return folder
        return build(name, known.recipe, folder, known.licence)
    return _download(name, known, folder) if known.url else SHIPPED


def _download(name: str, known: ImageSet, folder: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # what it does is said here
    say(f"fetching {name} from {known.url} into {folder} ({known.licence})")
    for file, md5 in known.md5.items():
        try:
            pooch.retrieve(known.url + file, f"md5:{md5}", file, folder)
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot fetch {known.url}{file}: {_reason(error)}\n"
                f"if you have its files in FOLDER/{name}, set TINYVQ_DATA=FOLDER"
                f"{_shipped_part(name)}"
            ) from error
    return folder


def _shipped_part(name: str) -> str:
    """Name what comes with tinyvq of a set that cannot be had, or ""."""
    parts = [part for part, known in CATALOG.items() if known.part_of == name]
    return "".join(f"; {part}, a part of it, comes with tinyvq" for part in parts)


def _reason(error: Exception) -> str:
    """Say why a download failed: the server, the network, the disk or the content."""
    from requests import RequestException

    if isinstance(error, RequestException):  # an OSError, too
        if error.response is not None:
            return f"the server answered {error.response.status_code}"
        return f"no answer, or not a whole one ({type(error).__name__})"
    if isinstance(error, OSError):
        return f"{error.filename or 'its folder'}: {error.strerror or error}"
    return "its checksum is not the one expected; nothing of it was kept"
