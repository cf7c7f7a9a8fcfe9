"""A small run of each kind, which no test may change, and pictures cut into images.

The priors are hardly trained: what they draw does not matter, only that it is drawn as
asked.
"""

from pathlib import Path

import numpy as np
import pytest
from cli.command_line import succeeds
from training.kind_examples import words_of, write_labelled

SIDE = 12  # pixels


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("data") / "labelled.npz", size=SIDE)


@pytest.fixture(scope="session")
def folder(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tokenizer, priors with and without classes, and what needs none."""
    folder = tmp_path_factory.mktemp("runs")
    succeeds(*words_of("vqvae", folder / "tokenizer", labelled))
    succeeds(*words_of("prior", folder / "prior", folder / "tokenizer"))
    words = words_of("prior", folder / "plain", folder / "tokenizer", labels="ignore")
    succeeds(*words)
    succeeds(*words_of("vae", folder / "vae", labelled))
    # Until batch norm's running statistics have settled, all that is drawn is grey.
    for kind, name in (("noise-vqgan", "noise"), ("gan", "gan")):
        succeeds(*words_of(kind, folder / name, labelled, steps=60))
    return folder


def pairs_of(picture: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut a row of pairs of images out of a picture -> above and below, (columns,h,w).

    There is a line between the two.
    """
    (pairs,) = tiles(picture, 1, columns, 2 * SIDE + 1, gap=4)
    assert (pairs[:, SIDE] == 255).all()
    return pairs[:, :SIDE], pairs[:, SIDE + 1 :]


def tiles(
    picture: np.ndarray, rows: int, columns: int, height: int, gap: int = 2
) -> np.ndarray:
    """Cut a grid of images (height × SIDE) out of a picture -> (rows,columns,h,w)."""
    factor = max(1, 960 // (columns * (SIDE + gap) - gap))
    small = picture[::factor, ::factor, 0]
    assert small.shape == (rows * (height + gap) - gap, columns * (SIDE + gap) - gap)
    return np.stack(
        [
            np.stack(
                [
                    small[r * (height + gap) :][:height, c * (SIDE + gap) :][:, :SIDE]
                    for c in range(columns)
                ]
            )
            for r in range(rows)
        ]
    )
