"""Splits for images that come without any: by what each image is, not where it is."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tinyvq.data._images import SPLITS, ImageData, Split

_TENTHS = {0: "val", 1: "test"}  # the other eight are train


def split_of(content: bytes) -> str:
    """Name the split that some content belongs to: 8 in 10 train, 1 val, 1 test.

    By a hash of the content, so that equal images never stand on both sides, and an
    image keeps its side when others come or go.
    """
    return _TENTHS.get(_hash(content) % 10, "train")


def _hash(content: bytes) -> int:
    digest = hashlib.blake2b(content, digest_size=8, person=b"tinyvq split").digest()
    return int.from_bytes(digest, "little")


def dealt(names: Sequence[str]) -> list[str]:
    """Divide a few names, in the order of their hashes: a tenth, rounded up, is val,
    the next is test, the rest train. So none of the splits is empty.
    """
    ranked = sorted(names, key=lambda name: _hash(name.encode()))
    tenth = -(-len(names) // 10)
    side = dict.fromkeys(ranked[:tenth], "val")
    side |= dict.fromkeys(ranked[tenth : 2 * tenth], "test")
    return [side.get(name, "train") for name in names]


def by_content(
    source: str,
    whole: Split,
    sides: Iterable[str] | None = None,
    class_names: Sequence[str] = (),
) -> ImageData:
    """Divide images into splits: by `sides`, or else by their pixels."""
    if sides is None:
        sides = (split_of(image.tobytes()) for image in whole.images)
    side = np.array(list(sides), dtype="U5")  # (N,)
    whole = _numbered(whole)
    splits: dict[str, Split] = {name: whole.take(side == name) for name in SPLITS}
    return ImageData(source, splits, tuple(class_names), undivided=True)


def carve_val(train: Split) -> tuple[Split, Split]:
    """Divide a train split that comes without a val split: a tenth goes to val."""
    sides = [split_of(image.tobytes()) for image in train.images]
    is_val = np.array([side == "val" for side in sides], dtype=bool)
    train = _numbered(train)
    return train.take(~is_val), train.take(is_val)


def _numbered(whole: Split) -> Split:
    """Note of each image where it stands, before it is taken from there."""
    return replace(whole, rows=np.arange(len(whole)))
