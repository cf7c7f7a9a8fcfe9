"""Read .npz files with suspicion: no pickle, and no size taken on trust; write them."""

import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tinyvq.data._arrays import MAX_BYTES, as_images, as_labels, as_names
from tinyvq.data._images import SPLITS, ImageData, Split
from tinyvq.data._reading import opened
from tinyvq.data._split import by_content, carve_val
from tinyvq.errors import DataError

Array = npt.NDArray[Any]

# How the arrays of a split are called, by us and by others (Keras, MedMNIST).
_IMAGES = ("{}", "{}_images", "x_{}", "images_{}")
_LABELS = ("{}_labels", "y_{}", "labels_{}")
_NAMES = ("{}_names",)
_SINGLE_IMAGES = ("images", "x", "arr_0")
_SINGLE_LABELS = ("labels", "y")
_SINGLE_NAMES = ("names",)
# What zipfile and NumPy raise for damage, that of sizes and names included.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(ArithmeticError, LookupError, RuntimeError, ValueError),
)


def load_npz(path: Path) -> ImageData:
    """Read a .npz of images: arrays train, val, test, or one array images.

    Labels, where there are any: train_labels, ..., or labels; names of the images
    likewise: train_names, ..., or names. Other arrays are an error, so that nothing is
    left out unseen.
    """
    arrays = read_npz(path)
    names = [repr(name) for name in arrays]
    there = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"
    splits: dict[str, Split] = {}
    for name in SPLITS:
        split = _pop_split(path, arrays, name, (_IMAGES, _LABELS, _NAMES))
        if split is not None:
            splits[name] = split
    forms = (_SINGLE_IMAGES, _SINGLE_LABELS, _SINGLE_NAMES)
    single = _pop_split(path, arrays, "images", forms)
    # What is left over has another name, or is labels or names without images.
    if arrays or (single is None) == (not splits):
        raise DataError(
            f"{path} must hold arrays named train, val and test, or one named images "
            f"(with train_labels, ..., or labels), got {there}"
        )
    if single is not None:
        return by_content(str(path), single)
    return complete(str(path), splits)


def complete(source: str, splits: dict[str, Split]) -> ImageData:
    """Make ImageData of the splits that are there; a missing val comes out of train."""
    if "train" in splits and "val" not in splits:
        splits["train"], splits["val"] = carve_val(splits["train"])
    ordered: dict[str, Split] = {
        name: splits[name] for name in SPLITS if name in splits
    }
    shapes = {name: split.images.shape[1:] for name, split in ordered.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{source}: images differ in shape between splits: {shapes}")
    return ImageData(source, ordered)


def _pop_split(
    path: Path, arrays: dict[str, Array], name: str, forms: Sequence[Sequence[str]]
) -> Split | None:
    """Take the images of a split, their labels and names, out of the arrays."""
    image_forms, label_forms, name_forms = forms
    images = _pop(arrays, [form.format(name) for form in image_forms])
    if images is None:
        return None
    checked = as_images(images, f"{path}, {name},")
    found = Split(checked)
    labels = _pop(arrays, [form.format(name) for form in label_forms])
    if labels is not None:
        labels = as_labels(labels, len(checked), f"{path}, labels of {name},")
        found = replace(found, labels=labels)
    names = _pop(arrays, [form.format(name) for form in name_forms])
    if names is not None:
        names = as_names(names, len(checked), f"{path}, names of {name},")
        found = replace(found, names=names)
    return found


def _pop(arrays: dict[str, Array], names: list[str]) -> Array | None:
    for name in names:
        if name in arrays:
            return arrays.pop(name)
    return None


def packed(splits: Mapping[str, Split]) -> bytes:
    """Pack splits as the bytes of a .npz that `load_npz` reads; equal ones give equal
    bytes.
    """
    arrays: dict[str, Array] = {}
    for name, split in splits.items():
        arrays[name] = split.images
        if split.labels is not None:
            arrays[f"{name}_labels"] = split.labels
        if split.names is not None:
            arrays[f"{name}_names"] = split.names
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read_npz(path: Path) -> dict[str, Array]:
    """Read all arrays of a .npz; DataError where it is damaged or asks too much."""
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_members(archive, path, os.fstat(file.fileno()).st_size)
        except DataError:
            raise
        except _DAMAGED as error:
            raise DataError(f"{path} is not a .npz, or is damaged: {error}") from error


def _read_members(
    archive: zipfile.ZipFile, path: Path, length: int
) -> dict[str, Array]:
    # Of each member no more is read than the sizes, packed and plain, that it declares.
    packed = sum(info.compress_size for info in archive.infolist())
    plain = sum(info.file_size for info in archive.infolist())
    if packed > length:
        raise DataError(f"{path} declares {packed} packed bytes, but holds {length}")
    if plain > MAX_BYTES:
        raise DataError(f"{path} declares {plain} bytes, at most {MAX_BYTES} are read")
    arrays: dict[str, Array] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in arrays:
            raise DataError(f"{path} holds two arrays named {name!r}")
        arrays[name] = _read_member(archive, info, f"{path}, {info.filename!r},")
    return arrays


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Array:
    if info.flag_bits & 1:
        raise DataError(f"{where} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{where} is packed by method {info.compress_type}, expected 0 (stored) or "
            "8 (deflate)"
        )
    with archive.open(info) as file:
        shape, fortran_order, dtype = _read_header(file, where)
        if dtype.hasobject:
            raise DataError(f"{where} holds pickled Python objects, which are not read")
        declared = math.prod(shape) * dtype.itemsize
        held = info.file_size - file.tell()
        if declared != held:
            raise DataError(
                f"{where} declares {declared} bytes of {shape} {dtype}, but holds "
                f"{held}"
            )
        data = file.read(declared)
    order = "F" if fortran_order else "C"
    return np.frombuffer(data, dtype).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _read_header(
    file: IO[bytes], where: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(file)
            return np.lib.format.read_array_header_2_0(file)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
        raise
    except Exception as error:  # NumPy parses it as Python, and raises many kinds
        raise DataError(f"{where} is not a NumPy array, or is damaged") from error
