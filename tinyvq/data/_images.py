"""ImageData: images in memory, in splits; and pixels as the models take them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tinyvq.errors import DataError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]
Rows = npt.NDArray[np.int64]
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
TRAINED_ON: tuple[SplitName, ...] = ("train", "val")  # what a run reads


@dataclass(frozen=True)
class Split:
    """Images of one kind, in order.

    images  (N,H,W,C) uint8, C = 1 or 3
    labels  (N,) from 0 on, where there are any
    names   (N,) paths within a folder of pictures, where there are any
    rows    (N,) where each stood among the images that were divided into splits here
    """

    images: Images
    labels: Labels | None = None
    names: Names | None = None
    rows: Rows | None = None

    def take(self, chosen: npt.NDArray[Any]) -> "Split":
        """Select by positions or by a mask (N,)."""
        return Split(
            self.images[chosen],
            None if self.labels is None else self.labels[chosen],
            None if self.names is None else self.names[chosen],
            None if self.rows is None else self.rows[chosen],
        )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class ImageData:
    """A set of images in splits.

    source        where it was found, for messages and the run's config
    splits        "train", "val", "test"; a split may be empty
    class_names   what each label means, where that is known
    undivided     whether they came without splits, and were divided by their content
    """

    source: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...] = ()
    undivided: bool = False

    def split(self, name: str) -> Split:
        """Return a split; DataError where it has no images."""
        found = self.splits.get(name)
        if found is None or len(found) == 0:
            there = {n: len(s) for n, s in self.splits.items()}
            raise DataError(
                f"{self.source} has no images in its {name} split (it has {there}); "
                "give it more images, or folders named train, val and test"
            )
        return found

    def everything(self) -> Split:
        """Put all splits together: by name where images have names, else in the order
        in which they were before they were divided.

        Raises DataError where there are no images at all.
        """
        splits = [split for split in self.splits.values() if len(split)]
        if not splits:
            raise DataError(f"{self.source} has no images")
        images = np.concatenate([split.images for split in splits])
        labels = [split.labels for split in splits if split.labels is not None]
        names = [split.names for split in splits if split.names is not None]
        whole = Split(
            images,
            np.concatenate(labels) if len(labels) == len(splits) else None,
            np.concatenate(names) if len(names) == len(splits) else None,
        )
        if whole.names is not None:
            return whole.take(np.argsort(whole.names))
        if all(split.rows is None for split in splits):
            return whole
        return whole.take(np.argsort(_rows(splits)))

    def digest(self, labels: bool = False) -> str:
        """Hash the images that training reads: other ones have another digest.

        labels  whether it reads their labels, too, where there are any
        """
        digest = hashlib.blake2b(digest_size=16)
        for name in TRAINED_ON:
            split = self.split(name)
            digest.update(f"{name} {split.images.shape} ".encode())
            digest.update(np.ascontiguousarray(split.images).data)
            if labels and split.labels is not None:
                digest.update(split.labels.tobytes())
        return digest.hexdigest()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C), the same for all images."""
        shape = next(iter(self.splits.values())).images.shape
        return shape[1], shape[2], shape[3]


def _rows(splits: Sequence[Split]) -> Rows:
    """Number the images of splits; those that were not divided follow in order."""
    rows: list[Rows] = []
    before = 0
    for split in splits:
        own = split.rows
        rows.append(before + np.arange(len(split)) if own is None else own)
        before += len(split)
    return np.concatenate(rows)


def to_unit(images: Images) -> npt.NDArray[np.float32]:
    """Map bytes 0 .. 255 to floats -0.5 .. 0.5, as the models take them."""
    unit = images.astype(np.float32)
    unit /= 255
    unit -= 0.5
    return unit


def map_images(data: ImageData, change: Callable[[Images], Images]) -> ImageData:
    """Change the images of every split, and nothing else."""
    splits = {
        name: replace(split, images=change(split.images))
        for name, split in data.splits.items()
    }
    return replace(data, splits=splits)


def from_unit(images: npt.NDArray[Any]) -> Images:
    """Map floats -0.5 .. 0.5 to bytes; what lies outside is clipped."""
    bytes_ = np.rint((images.astype(np.float64) + 0.5) * 255)
    return np.clip(bytes_, 0, 255).astype(np.uint8)
