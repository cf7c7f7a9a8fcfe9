"""Images to codes and back: encode, decode."""

import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from tyro.conf import Positional, arg

from tinyvq.backends import Backend
from tinyvq.cli._images import OtherImages, open_model
from tinyvq.cli._parse import RunFolder, check_new, check_suffix, make_room, parse
from tinyvq.cli._pictures import picture_folder
from tinyvq.data import read_npz
from tinyvq.errors import DataError, FileError, ShapeError
from tinyvq.files import write_atomically
from tinyvq.messages import say, track
from tinyvq.models import VQVAE
from tinyvq.training.evaluation import BATCH, encoded
from tinyvq.training.generation import decoded
from tinyvq.training.progress import make_ready
from tinyvq.training.run import Run
from tinyvq.training.trained import load_tokenizer_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Encode:
    """Turn images into codes: an .npz of indices that `decode` turns back."""

    run: RunFolder
    """The run folder, or the name of a run that comes with tinyvq; of a prior, its
    tokenizer encodes."""
    images: Annotated[Positional[str], arg(metavar="IMAGES")]
    """A built-in name, an idx file or folder, an .npz, or a folder of pictures."""
    out: Path
    """The .npz to write: indices (N,P,Q), and names and labels where there are any."""
    overwrite: bool = False
    """Write over a file that is there already."""
    fit: bool = False
    """Resize, crop and recolour the images to what the model takes."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""

    def __post_init__(self) -> None:
        check_suffix(self.out, ".npz")


def encode(args: Sequence[str]) -> int:
    """Encode images, of all splits, into an .npz."""
    asked = parse(Encode, args, "encode")
    if not asked.overwrite:
        check_new(asked.out, "choose another --out, or add --overwrite")
    which = OtherImages(asked.images, asked.fit)
    model, _, images = open_model(load_tokenizer_of, asked.run, which, asked.backend)
    make_room(asked.out)
    whole = images.everything()
    batches = -(-len(whole) // BATCH)
    coded = track(encoded(model, whole.images), "encoding", batches)
    indices = np.concatenate(list(coded))  # (N,P,Q)
    smallest = np.min_scalar_type(model.quantizer.num_codes - 1)
    arrays: dict[str, Array] = {
        "indices": indices.astype(smallest),
        "model": np.array(model.fingerprint()),
    }
    if whole.names is not None:
        picture_names(whole.names, len(whole), images.source)  # that decode can use
        arrays["names"] = whole.names
    if whole.labels is not None:
        arrays["labels"] = whole.labels
    write_npz(asked.out, arrays)
    say(f"wrote {asked.out}: {len(whole)} images as {indices.shape[1:]} codes each")
    return 0


@dataclass(frozen=True)
class Decode:
    """Turn codes back into pictures."""

    run: RunFolder
    """The run folder of the same model that encoded, or the name of one that comes with
    tinyvq."""
    codes: Annotated[Positional[Path], arg(metavar="CODES")]
    """An .npz that `encode` wrote, or any with an array `indices` (N,P,Q)."""
    out: Path
    """The folder to write PNG pictures into."""
    overwrite: bool = False
    """Write over pictures that are there already."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""


def decode(args: Sequence[str]) -> int:
    """Decode an .npz of indices into a folder of PNGs."""
    asked = parse(Decode, args, "decode")
    model, _, run = load_tokenizer_of(asked.run, asked.backend)
    arrays = read_npz(asked.codes)
    indices = _checked_indices(arrays, asked.codes, model)
    names = _checked_names(arrays, asked.codes, len(indices))
    if not asked.overwrite:
        _check_unused(asked.out, names)
    make_ready(asked.backend)
    _check_grid(indices, asked.codes, model, run)
    batches = track(decoded(model, indices), "decoding", -(-len(indices) // BATCH))
    with picture_folder(asked.out) as write:
        for name, image in zip(names, chain.from_iterable(batches), strict=True):
            write(name, image)
    say(f"wrote {len(indices)} pictures into {asked.out}")
    return 0


def _checked_indices(arrays: dict[str, Array], path: Path, model: VQVAE) -> Array:
    made_by = arrays.get("model")
    if made_by is not None and str(made_by) != model.fingerprint():
        raise DataError(
            f"{path} was encoded by another model; its indices mean nothing to this one"
        )
    indices = arrays.get("indices")
    if indices is None or indices.ndim != 3 or indices.dtype.kind not in "iu":
        found = ", ".join(arrays) or "nothing"
        if indices is not None:
            found = f"indices {indices.shape} {indices.dtype}"
        raise DataError(
            f"{path} holds {found}, expected whole numbers (N,P,Q) under the name "
            "indices"
        )
    most = model.quantizer.num_codes - 1
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) <= most:
        raise DataError(
            f"{path} holds indices {indices.min()} .. {indices.max()}, the codebook "
            f"has 0 .. {most}"
        )
    return indices.astype(np.int64)


def _check_grid(indices: Array, path: Path, model: VQVAE, run: Run) -> None:
    """Raise DataError where the model cannot decode grids of this size."""
    try:
        if len(indices):
            model.decode(indices[:1])
    except ShapeError as error:
        blank = np.zeros((1, *run.facts["image_shape"]), np.uint8)
        (codes,) = encoded(model, blank)
        _, p, q = codes.shape
        raise DataError(
            f"{path} holds grids of {indices.shape[1]}×{indices.shape[2]} codes, the "
            f"model in {run.folder} decodes such of {p}×{q}"
        ) from error


def _checked_names(arrays: dict[str, Array], path: Path, count: int) -> list[str]:
    """Name each picture: as it was encoded, or by number; never out of the folder."""
    if "names" not in arrays:
        return [f"{i:05d}.png" for i in range(count)]
    return picture_names(arrays["names"], count, path)


def picture_names(given: Array, count: int, path: object) -> list[str]:
    """Turn the names of images into those of as many PNGs; DataError where it fails.

    path  where the names are from
    """
    names = [str(name) for name in given.reshape(-1)]
    if len(names) != count or not all(_stays_within(name) for name in names):
        raise DataError(f"{path}: expected {count} names within a folder, under names")
    short = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    # Where a.jpg and a.png stood in one folder, both keep their whole names.
    alike = Counter(short)
    made = [
        f"{name}.png" if alike[picture] > 1 else picture
        for name, picture in zip(names, short, strict=True)
    ]
    if len(set(made)) < count:
        raise DataError(f"{path} gives two images one name, under names")
    return made


def _check_unused(folder: Path, names: list[str]) -> None:
    """Raise FileError where files that are to be written are there already."""
    there = [name for name in names if os.path.lexists(folder / name)]
    if there:
        raise FileError(
            f"{folder / there[0]} is there already, one of {len(there)} that would be "
            "overwritten; choose another --out, or add --overwrite"
        )


def _stays_within(name: str) -> bool:
    """Tell whether a name is that of a file in a folder or below it."""
    path = PurePosixPath(name)
    try:
        possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair
        possible = False
    return bool(
        possible and path.name and not path.is_absolute() and ".." not in path.parts
    )


def write_npz(path: Path, arrays: dict[str, Array]) -> None:
    """Write a compressed .npz, whole or not at all."""
    buffer = io.BytesIO()
    assert not any(array.dtype.hasobject for array in arrays.values())  # no pickle
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
