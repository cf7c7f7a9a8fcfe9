"""Read .npz files with suspicion: no pickle, and no size taken on trust."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tinyvq.data._arrays import MAX_BYTES, as_images, as_labels
from tinyvq.data._images import ImageData, Split
from tinyvq.data._split import by_content, carve_val
from tinyvq.errors import DataError

Array = npt.NDArray[Any]

# How the arrays of a split are called, by us and by others (Keras, MedMNIST).
_IMAGES = ("{}", "{}_images", "x_{}", "images_{}")
_LABELS = ("{}_labels", "y_{}", "labels_{}")
_MOST_DEFLATED = 1032  # deflate shrinks no data by more than 1 : 1032


def load_npz(path: Path) -> ImageData:
    """Read a .npz of images: arrays train, val, test, or one array images.

    Labels, where there are any: train_labels, ..., or labels. Other arrays are an
    error, so that nothing is left out unseen.
    """
    arrays = read_npz(path)
    there = ", ".join(arrays) or "nothing"
    splits = {}
    for name in ("train", "val", "test"):
        images = _pop(arrays, [form.format(name) for form in _IMAGES])
        labels = _pop(arrays, [form.format(name) for form in _LABELS])
        if images is not None:
            splits[name] = _split(path, name, images, labels)
    single = _pop(arrays, ["images", "x", "arr_0"])
    single_labels = _pop(arrays, ["labels", "y"])
    if arrays or (single is None) == (not splits):
        raise DataError(
            f"{path} must hold arrays named train, val and test, or one named images "
            f"(with train_labels, ..., or labels), got {there}"
        )
    if single is not None:
        whole = _split(path, "images", single, single_labels)
        return by_content(str(path), whole)
    return complete(str(path), splits)


def complete(source: str, splits: dict[str, Split]) -> ImageData:
    """Make ImageData of the splits that are there; a missing val comes out of train."""
    if "train" in splits and "val" not in splits:
        splits["train"], splits["val"] = carve_val(splits["train"])
    shapes = {name: split.images.shape[1:] for name, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{source}: images differ in size between splits: {shapes}")
    return ImageData(source, splits)


def _split(path: Path, name: str, images: Array, labels: Array | None) -> Split:
    checked = as_images(images, f"{path}, {name},")
    if labels is None:
        return Split(checked)
    return Split(checked, as_labels(labels, len(checked), f"{path}, labels of {name},"))


def _pop(arrays: dict[str, Array], names: list[str]) -> Array | None:
    for name in names:
        if name in arrays:
            return arrays.pop(name)
    return None


def read_npz(path: Path) -> dict[str, Array]:
    """Read all arrays of a .npz; DataError where it is damaged or asks too much."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): _read_member(archive, info, path)
                for info in archive.infolist()
            }
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is not a .npz, or is damaged: {error}") from error
    except (zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    where = f"{path}, {info.filename},"
    with archive.open(info) as file:
        try:
            shape, fortran_order, dtype = _read_header(file)
        except ValueError as error:
            raise DataError(f"{where} is not a NumPy array: {error}") from error
        if dtype.hasobject:
            raise DataError(f"{where} holds pickled Python objects, which are not read")
        declared = math.prod(shape) * dtype.itemsize
        held = min(info.file_size, info.compress_size * _MOST_DEFLATED)
        if declared > min(held, MAX_BYTES):
            raise DataError(
                f"{where} declares {declared} bytes of {shape} {dtype}, but "
                + (f"holds {held}" if declared > held else f"{MAX_BYTES} is the limit")
            )
        data = file.read(declared)
    if len(data) != declared:
        raise DataError(f"{where} is cut short: {len(data)} of {declared} bytes")
    order = "F" if fortran_order else "C"
    return np.frombuffer(data, dtype).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"unknown version {version} of the .npy format")
