"""What the models make of the same images, and of nothing, one row under another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.compare.pieces import MODELS
from tinyvq.report import PAPER, WIDTH

Picture = npt.NDArray[np.uint8]
LABEL = 190  # pixels, of what stands left of a row
BETWEEN = 6  # pixels between rows


def side_by_side(what: str, pictures: Path, data: str) -> Picture | None:
    """Put the rows of all models of a data set under one another -> (H,W,3).

    what  they are rows of, "reconstructions" (under the originals) or "samples"
    None where there are none. Seed 0 of each.
    """
    rows: list[tuple[str, Picture]] = []
    for model, about in MODELS.items():
        path = pictures / f"{data}-{model}-0"
        made = path.with_name(f"{path.name}-{what}-row.png")
        originals = path.with_name(f"{path.name}-originals-row.png")
        if what == "reconstructions" and originals.exists() and not rows:
            rows.append(("originals", _read(originals)))
        if made.exists():
            rows.append((about.what, _read(made)))
    return stacked(rows) if rows else None


def stacked(rows: Sequence[tuple[str, Picture]]) -> Picture:
    """Write each row's label left of it; rows (H,W,3) are enlarged by whole factors."""
    from PIL import Image, ImageDraw, ImageFont

    factor = max(1, WIDTH // max(row.shape[1] for _, row in rows))
    large = [row.repeat(factor, 0).repeat(factor, 1) for _, row in rows]
    height = sum(len(row) + BETWEEN for row in large) - BETWEEN
    width = LABEL + max(row.shape[1] for row in large)
    page = Image.new("RGB", (width, height), (PAPER,) * 3)
    draw, font, top = ImageDraw.Draw(page), ImageFont.load_default(16), 0
    for (label, _), row in zip(rows, large, strict=True):
        page.paste(Image.fromarray(row), (LABEL, top))
        middle = top + len(row) // 2
        draw.text((LABEL - 10, middle), label, "black", font, anchor="rm")
        top += len(row) + BETWEEN
    return np.asarray(page)


def _read(path: Path) -> Picture:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
