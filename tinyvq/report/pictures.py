"""Arrays to pictures: grids of images, a curve, a codebook in use. No models here.

Images are arrays (N,H,W,C), uint8 or floats in [-0.5, 0.5]; a picture is (H,W,3) uint8.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinyvq.data import from_unit
from tinyvq.errors import ShapeError
from tinyvq.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]

PAPER = 255
GAP = 2  # pixels between images, before enlarging
WIDTH = 960  # pixels; small images are enlarged up to this, by whole factors
BLUE, ORANGE, GREY = "#2563a8", "#d9730d", "#8a8f98"


def image_grid(images: Array, columns: int, *, gap: int = GAP) -> Picture:
    """Lay images (N,H,W,C) out in rows, enlarged by a whole factor where small."""
    tiles = _as_rgb(images)
    n, h, w, _ = tiles.shape
    rows = -(-n // columns)
    grid = np.full(
        (rows * (h + gap) - gap, columns * (w + gap) - gap, 3), PAPER, np.uint8
    )
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        grid[top : top + h, left : left + w] = tile
    factor = max(1, WIDTH // grid.shape[1])
    return grid.repeat(factor, axis=0).repeat(factor, axis=1)


def reconstruction_picture(
    images: Array, reconstructions: Array, columns: int = 10
) -> Picture:
    """Draw pairs of rows: images, and under each its reconstruction."""
    if images.shape != reconstructions.shape:
        raise ShapeError(
            f"expected as many reconstructions as images, all of one size, got "
            f"{images.shape} and {reconstructions.shape}"
        )
    above, below = _as_rgb(images), _as_rgb(reconstructions)
    line = np.full_like(above[:, :1], PAPER)  # (N,1,W,3)
    pairs = np.concatenate([above, line, below], axis=1)
    # A pair is one tile of twice the height: what belongs together stands together.
    return image_grid(pairs, min(columns, len(pairs)), gap=2 * GAP)


def save_png(path: Path, picture: Picture) -> None:
    """Write a picture (H,W,3) or (H,W,1) as a PNG file, whole or not at all."""
    write_atomically(path, png_bytes(picture))


def png_bytes(picture: Picture) -> bytes:
    """Pack a picture (H,W,3) or (H,W,1) as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    grey = picture.shape[2] == 1
    Image.fromarray(picture[..., 0] if grey else picture).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()


@dataclass(frozen=True)
class Panel:
    """What one part of a curve's picture shows.

    lines   the measures, each with its label
    log     whether the axis is logarithmic
    """

    title: str
    lines: tuple[tuple[str, str], ...]
    log: bool = False


def curve_picture(
    records: Sequence[Mapping[str, Any]], panels: Sequence[Panel]
) -> bytes:
    """Draw measures over the steps of a run, two panels a row.

    Panels that there are no measures for are left out: of an adversary that has no
    weight, say.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    known = {name for record in records for name in record if record[name] is not None}
    panels = [p for p in panels if known & {name for name, _ in p.lines}] or panels[:1]
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(9.6, 3.6 * rows), layout="constrained")
    columns = min(2, len(panels))
    every = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for panel, axes in zip(panels, every, strict=False):
        for (name, label), colour in zip(panel.lines, (BLUE, ORANGE), strict=False):
            points = [(r["step"], r[name]) for r in records if r.get(name) is not None]
            if points:
                steps, values = zip(*points, strict=True)
                marker = "o" if name.startswith("val") else None
                axes.plot(steps, values, color=colour, label=label, marker=marker, ms=4)
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel("training step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(panel.lines) > 1 and axes.lines:
            axes.legend(frameon=False)
        if panel.log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
    return as_png(figure)


def codebook_picture(
    counts: npt.NDArray[np.int64],
    images: Array,
    caption: str,
) -> bytes:
    """Draw how often each code is used, and what each decodes to, most used first.

    counts   (M,) of each code
    images   (M,H,W,C), each code's own
    caption  of the images
    """
    from matplotlib.figure import Figure

    order = np.argsort(-counts, kind="stable")
    used = int(np.count_nonzero(counts))
    share = counts[order] / max(1, counts.sum())
    columns = min(len(order), max(10, int(np.ceil(np.sqrt(2 * len(order))))))
    tiles = image_grid(images[order[:used]], columns, gap=1)
    figure = Figure(figsize=(9.6, 2.2 + 9.2 * tiles.shape[0] / tiles.shape[1]))
    figure.set_layout_engine("constrained")
    bars, grid = figure.subplots(
        2, 1, height_ratios=[2.0, 9.2 * tiles.shape[0] / tiles.shape[1]]
    )
    bars.bar(np.arange(len(order)), 100 * share, width=1.0, color=BLUE)
    bars.axhline(100 / len(order), color=ORANGE, lw=1)
    bars.set_title(
        f"{used} of {len(order)} codes used; the line is even use", fontsize=11
    )
    bars.set_ylabel("% of positions")
    bars.set_xlabel("codes, most used first")
    bars.set_xlim(-0.5, len(order) - 0.5)
    bars.spines[["top", "right"]].set_visible(False)
    grid.imshow(tiles, interpolation="nearest")
    grid.set_title(caption, fontsize=11)
    grid.set_axis_off()
    return as_png(figure)


def _as_rgb(images: Array) -> Picture:
    """(N,H,W,1|3) -> (N,H,W,3) uint8."""
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ShapeError(f"expected images (N,H,W,1) or (N,H,W,3), got {images.shape}")
    pixels = images if images.dtype == np.uint8 else from_unit(images)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def as_png(figure: "Figure") -> bytes:
    """Draw a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # No software version in the file: the same run gives the same bytes.
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
