"""A small font of coloured pictures, as Noto Color Emoji is one."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from required import library

Image = library("PIL.Image")
library("fontTools")

from fontTools.feaLib.builder import addOpenTypeFeaturesFromString  # noqa: E402
from fontTools.fontBuilder import FontBuilder  # noqa: E402
from fontTools.ttLib import newTable  # noqa: E402
from fontTools.ttLib.tables import (  # noqa: E402
    C_B_D_T_,
    E_B_L_C_,
    BitmapGlyphMetrics,
)

Reading = tuple[int, ...]
WIDTH, HEIGHT = 136, 128


def disc(colour: Sequence[int], radius: int = 40, seed: int = 0) -> np.ndarray:
    """A disc in the middle, (128,136,4), transparent around it; one pixel by `seed`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = np.hypot(y - (HEIGHT - 1) / 2, x - (WIDTH - 1) / 2) < radius
    picture = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    picture[inside] = (*colour, 255)
    picture[60:68, 64:72, :3] ^= np.uint8(seed)
    return picture


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def write_font(
    path: Path,
    pictures: Mapping[Reading, bytes],
    mirrored: Sequence[Reading] = (),
    unspelled: Sequence[bytes] = (),
) -> Path:
    """Write a font of pictures by what they spell.

    mirrored   of these, the font knows the spelling from right to left, too
    unspelled  more pictures, which nothing spells
    """
    codes = sorted({code for reading in pictures for code in reading})
    cmap = {code: f"u{code:04X}" for code in codes}
    glyphs = {r: cmap.get(r[0], "") if len(r) == 1 else _name(r) for r in pictures}
    others = [f"other{i}" for i in range(len(unspelled))]
    order = [".notdef", *cmap.values(), *(g for r, g in glyphs.items() if len(r) > 1)]
    builder = FontBuilder(unitsPerEm=2048)
    builder.setupGlyphOrder([*order, *others])
    builder.setupCharacterMap(cmap)
    builder.setupHorizontalMetrics(dict.fromkeys([*order, *others], (2550, 0)))
    builder.setupHorizontalHeader(ascent=1900, descent=-500)
    builder.setupOS2()
    builder.setupPost()
    builder.setupNameTable({"familyName": "Small Emoji", "styleName": "Regular"})
    rules = [
        f"sub {' '.join(cmap[code] for code in parts)} by {glyphs[reading]};"
        for reading in pictures
        if len(reading) > 1
        for parts in (reading, *([reading[::-1]] if reading in mirrored else []))
    ]
    if rules:
        feature = f"feature ccmp {{ {' '.join(rules)} }} ccmp;"
        addOpenTypeFeaturesFromString(builder.font, feature)
    by_glyph = {glyphs[reading]: data for reading, data in pictures.items()}
    by_glyph |= dict(zip(others, unspelled, strict=True))
    in_order = {name: by_glyph[name] for name in [*order, *others] if name in by_glyph}
    _add_pictures(builder.font, in_order)
    builder.save(path)
    return path


def _name(reading: Reading) -> str:
    return "_".join(f"u{code:04X}" for code in reading)


def _add_pictures(font: Any, pictures: Mapping[str, bytes]) -> None:
    """Add the tables CBDT and CBLC: a small strike, and the one with the pictures."""
    data, places = newTable("CBDT"), newTable("CBLC")
    data.version = places.version = 3.0
    dot = png(np.zeros((4, 4, 4), np.uint8))
    data.strikeData, places.strikes = [], []
    for size, found in ((8, dict.fromkeys(pictures, dot)), (109, pictures)):
        data.strikeData.append({name: _bitmap(png) for name, png in found.items()})
        strike = E_B_L_C_.Strike()
        strike.bitmapSizeTable = _size_table(size)
        table = E_B_L_C_.eblc_index_sub_table_1(b"", font)
        table.names = list(found)
        table.indexFormat, table.imageFormat = 1, 17
        strike.indexSubTables = [table]
        places.strikes.append(strike)
    font["CBDT"], font["CBLC"] = data, places


def _bitmap(data: bytes) -> Any:
    bitmap = C_B_D_T_.cbdt_bitmap_format_17(b"", None)
    bitmap.metrics = BitmapGlyphMetrics.SmallGlyphMetrics()
    bitmap.metrics.height, bitmap.metrics.width = HEIGHT, WIDTH
    bitmap.metrics.BearingX, bitmap.metrics.BearingY = 0, 101
    bitmap.metrics.Advance = WIDTH
    bitmap.imageData = data
    return bitmap


def _size_table(size: int) -> Any:
    table = E_B_L_C_.BitmapSizeTable()
    table.colorRef, table.flags, table.bitDepth = 0, 1, 32
    table.ppemX = table.ppemY = size
    for direction in ("hori", "vert"):
        metrics = E_B_L_C_.SbitLineMetrics()
        for field in ("ascender", "descender", "widthMax", "caretSlopeNumerator"):
            setattr(metrics, field, 0)
        for field in ("caretSlopeDenominator", "caretOffset", "minOriginSB"):
            setattr(metrics, field, 0)
        for field in ("minAdvanceSB", "maxBeforeBL", "minAfterBL", "pad1", "pad2"):
            setattr(metrics, field, 0)
        setattr(table, direction, metrics)
    return table
