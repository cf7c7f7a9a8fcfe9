"""Make fashion-mnist-5k.npz from the full set: `python make.py`.

The first 400 images of each class in the train files are train, the next 50 val; the
first 50 of each class in the test files are test. All in the order of the files.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyvq.data import load
from tinyvq.data._images import Labels

FILE = Path(__file__).parent / "fashion-mnist-5k.npz"


def choose(labels: Labels, first: int, last: int) -> npt.NDArray[np.int64]:
    """Choose the images first .. last-1 of each class, in order."""
    one_hot = labels[:, None] == np.arange(10)  # (N, 10)
    rank = one_hot.cumsum(axis=0)[np.arange(len(labels)), labels] - 1  # in its class
    return np.flatnonzero((rank >= first) & (rank < last))


def select() -> dict[str, npt.NDArray[np.generic]]:
    """Select the images and labels of each split."""
    full = load("fashion-mnist")
    train, test = full.split("train"), full.split("test")
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, split, first, last in (
        ("train", train, 0, 400),
        ("val", train, 400, 450),
        ("test", test, 0, 50),
    ):
        assert split.labels is not None
        chosen = choose(split.labels, first, last)
        arrays[name] = split.images[chosen]
        arrays[f"{name}_labels"] = split.labels[chosen].astype(np.uint8)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **select())  # type: ignore[arg-type]
