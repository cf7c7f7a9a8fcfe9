"""The set emoji: the pictures of the font Noto Color Emoji, as the system has it.

A picture is known by what it spells: 1f44d-1f3fd is a thumb of a medium skin tone. All
tones, genders and hair of one emoji stand in one split, and so do pictures that are
the same pixel for pixel.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyvq.data._folder import MAX_FILE, decode_picture, without_warnings
from tinyvq.data._images import SPLITS, Images, Split
from tinyvq.data._resize import fit_square, recolour
from tinyvq.data._split import split_of
from tinyvq.errors import DataError, FileError
from tinyvq.files import read_bytes
from tinyvq.messages import say, track

if TYPE_CHECKING:
    from PIL.Image import Image

Reading = tuple[int, ...]  # the code points that a glyph stands for

SIZE = 64
FONTS = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),  # Debian
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),  # Arch
    Path("/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf"),  # Fedora
)
PACKAGE = "fonts-noto-color-emoji"
CLASS_NAMES = ("flags of regions", "people and hands", "other")

JOINER = 0x200D
TONES = range(0x1F3FB, 0x1F400)
REGIONS = range(0x1F1E6, 0x1F200)  # two letters spell a flag
TAGS = range(0xE0020, 0xE0080)  # and so do these, after a black flag
# What may be added to an emoji and leaves it what it is.
_HAIR = range(0x1F9B0, 0x1F9B4)
_ADDED = {*TONES, *_HAIR, 0xFE0E, 0xFE0F, 0x2640, 0x2642, 0x27A1}  # ♀ ♂ ➡
_ADULT, _CHILD = 0x1F9D1, 0x1F9D2
_ADULTS = {0x1F468, 0x1F469, _ADULT}
_PERSONS = {*_ADULTS, 0x1F466, 0x1F467, _CHILD}
# Genders, and hair, with code points of their own.
_SAME = {
    **dict.fromkeys((0x1F468, 0x1F469, 0x1F471, 0x1F9D4), _ADULT),  # blond, bearded
    **dict.fromkeys((0x1F466, 0x1F467), _CHILD),
    **dict.fromkeys((0x1F474, 0x1F475), 0x1F9D3),  # old people
    **dict.fromkeys((0x1F478, 0x1F934), 0x1FAC5),  # with a crown
    **dict.fromkeys((0x1FAC3, 0x1FAC4), 0x1F930),  # pregnant
    **{0x1F936: 0x1F385, 0x1F57A: 0x1F483},  # Claus; dancing
    **{0x1FAF1: 0x1F91D, 0x1FAF2: 0x1F91D},  # two hands that shake
}
# Couples with a code point of their own, and what else spells them.
_COUPLES = {
    **dict.fromkeys((0x1F46B, 0x1F46C, 0x1F46D), (_ADULT, 0x1F91D)),
    0x1F48F: (_ADULT, 0x2764, 0x1F48B),
    0x1F491: (_ADULT, 0x2764),
    0x1F46A: (_ADULT, _CHILD),
}
# What never begins a spelling, but comes before some beginnings in numerical order.
_FOLLOWERS = {
    *(0x2194, 0x2195, 0x2620, 0x2640, 0x2642, 0x26A7, 0x2744, 0x27A1, 0x2B1B),
    *(0x1F308, 0x1F32B, 0x1F4A8, 0x1F4AB),
}


@dataclass(frozen=True)
class Glyph:
    """A picture of the font, and all sequences of code points that show it."""

    name: str
    readings: tuple[Reading, ...]
    png: bytes


def lacking() -> str:
    """Say what is not installed; "" where the font is there."""
    if _find_font() is not None:
        return ""
    return (
        f"the font Noto Color Emoji is not installed (Debian: apt install {PACKAGE}); "
        f"looked for {', '.join(map(str, FONTS))}"
    )


def _find_font() -> Path | None:
    return next((path for path in FONTS if path.is_file()), None)


def make() -> dict[str, Split]:
    """Make the splits: all different pictures of the font, by what they spell."""
    path = _find_font()
    if path is None:
        raise DataError(lacking())
    all_glyphs = read_font(path)
    glyphs = sorted(
        (glyph for glyph in all_glyphs if glyph.readings),
        key=lambda glyph: spelling(glyph.readings),
    )
    if not glyphs:
        raise DataError(f"{path} holds no emoji")
    images = _draw(path, glyphs)
    digests = [hashlib.sha256(image).hexdigest() for image in images]
    # ~ comes after all digits, so that an emoji is the first key of its group.
    bases = joined(
        [*(base_of(reading) for reading in glyph.readings), f"~{digest}"]
        for glyph, digest in zip(glyphs, digests, strict=True)
    )
    _, first = np.unique(digests, return_index=True)  # of pictures that are the same
    unlike = np.isin(np.arange(len(images)), first)
    _report(path, len(all_glyphs), len(glyphs), len(first))
    names = ["-".join(f"{c:04x}" for c in spelling(g.readings)) for g in glyphs]
    whole = Split(images, np.array(_classes(glyphs, bases)), np.array(names))
    side = np.array([split_of(base.encode()) for base in bases])  # (N,)
    return {name: whole.take(unlike & (side == name)) for name in SPLITS}


def _report(path: Path, found: int, spelled: int, unlike: int) -> None:
    without = f", {found - spelled} that spell nothing" if found > spelled else ""
    alike = f", {spelled - unlike} that look like another" if spelled > unlike else ""
    left_out = (without + alike).removeprefix(", ")
    say(f"{path} has {found} pictures; left out: {left_out or 'none'}")


def read_font(path: Path) -> list[Glyph]:
    """Read the largest pictures of a font, as PNG files, and what they spell."""
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

    try:
        content = read_bytes(path, MAX_FILE)
    except FileError as error:
        raise DataError(str(error)) from error
    try:
        with TTFont(io.BytesIO(content), lazy=True) as font:
            if "CBDT" not in font:
                raise DataError(
                    f"{path} holds no pictures (a table CBDT), as the font of Debian's "
                    f"{PACKAGE} does"
                )
            strikes = zip(font["CBLC"].strikes, font["CBDT"].strikeData, strict=True)
            _, pictures = max(strikes, key=lambda strike: _pixels(strike[0]))
            readings = _readings(font)
            return [
                Glyph(name, readings.get(name, ()), picture.imageData)
                for name, picture in pictures.items()
            ]
    except DataError:
        raise
    except Exception as error:  # fontTools' readers raise many kinds
        raise DataError(f"{path} is not a font, or is damaged: {error}") from error


def _pixels(strike: Any) -> int:
    return int(strike.bitmapSizeTable.ppemY)


def _readings(font: Any) -> dict[str, tuple[Reading, ...]]:
    """List for each glyph the sequences that show it: characters and ligatures."""
    codes: dict[str, list[int]] = {}  # by glyph
    for code, glyph in sorted(font.getBestCmap().items()):
        codes.setdefault(glyph, []).append(code)
    readings: dict[str, list[Reading]] = {
        glyph: [(code,) for code in found] for glyph, found in codes.items()
    }
    for parts, glyph in _ligatures(font):
        if all(part in codes for part in parts):
            reading = tuple(codes[part][0] for part in parts)
            readings.setdefault(glyph, []).append(reading)
    return {glyph: tuple(found) for glyph, found in readings.items()}


def _ligatures(font: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if "GSUB" not in font:
        return
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, ligatures in getattr(table, "ligatures", {}).items():
                for ligature in ligatures:
                    yield (first, *ligature.Component), ligature.LigGlyph


def spelling(readings: Iterable[Reading]) -> Reading:
    """Choose what names a picture: not a private code, nor one read right to left."""
    return min(readings, key=lambda reading: (_oddness(reading), reading))


def _oddness(reading: Reading) -> tuple[bool, bool, bool, bool]:
    units = _units(reading)
    return (
        any(0xE000 <= code < 0xF900 or code >= 0xF0000 for code in reading),
        len(units) > 1 and any(unit[:1] and unit[0] in TONES for unit in units),
        reading[0] not in _ADULTS,
        reading[0] in _FOLLOWERS,
    )


def _units(reading: Reading) -> list[list[int]]:
    """Cut a sequence at its joiners."""
    units: list[list[int]] = [[]]
    for code in reading:
        if code == JOINER:
            units.append([])
        else:
            units[-1].append(code)
    return units


def base_of(reading: Reading) -> str:
    """Name the emoji that a sequence is a variant of, without tone, gender and hair.

    What is joined is joined in any order and number, so all families are one emoji.
    """
    units: set[Reading] = set()
    for unit in _units(reading):
        plain = tuple(_SAME.get(code, code) for code in unit if code not in _ADDED)
        if len(plain) == 1 and plain[0] in _COUPLES:
            units |= {(code,) for code in _COUPLES[plain[0]]}
        elif plain:
            units.add(plain)
    # A tone, say, that stands alone is an emoji of its own.
    codes = [code for unit in sorted(units) for code in unit] or list(reading)
    return "-".join(f"{code:04x}" for code in codes)


def joined(groups: Iterable[Sequence[str]]) -> list[str]:
    """Name each group of keys by the first key of all groups that hang together.

    Groups that share a key hang together, and so do those that share one with these.
    """
    above: dict[str, str] = {}

    def top(key: str) -> str:
        while above.setdefault(key, key) != key:
            key = above[key]
        return key

    firsts = []
    for group in groups:
        tops = sorted({top(key) for key in group})
        above.update(dict.fromkeys(tops, tops[0]))
        firsts.append(tops[0])
    return [top(first) for first in firsts]


def _classes(glyphs: list[Glyph], bases: list[str]) -> list[int]:
    """Class each picture, as CLASS_NAMES has it; all of one emoji are alike."""
    flags, people = set(), set()
    for glyph, base in zip(glyphs, bases, strict=True):
        codes = set(spelling(glyph.readings))
        if len(codes) > 1 and codes & {*REGIONS, *TAGS}:
            flags.add(base)
        if codes & _PERSONS or (len(codes) > 1 and codes & {*TONES}):
            people.add(base)
    return [0 if base in flags else 1 if base in people else 2 for base in bases]


def _draw(path: Path, glyphs: list[Glyph]) -> Images:
    """Draw glyphs over white, in the middle of squares (N,64,64,3)."""
    images = np.empty((len(glyphs), SIZE, SIZE, 3), np.uint8)
    with without_warnings():
        for i, glyph in enumerate(track(glyphs, "drawing emoji", len(glyphs))):
            picture = decode_picture(f"{path}, glyph {glyph.name},", glyph.png)
            pixels = np.asarray(fit_square(_squared(picture), SIZE))
            images[i] = recolour(pixels.reshape(SIZE, SIZE, -1), 3)
    return images


def _squared(picture: "Image") -> "Image":
    """Widen a picture with white to a square, where cropping would cut what it shows.

    Else it stays as it is: to crop its empty margins keeps more of its detail.
    """
    from PIL import Image, ImageChops

    short, long = sorted(picture.size)
    white = Image.new(picture.mode, picture.size, "white")
    shown = ImageChops.difference(picture, white).getbbox()
    margins = [(side - short) // 2 for side in picture.size]
    width, height = picture.size
    fits = shown is None or (
        min(shown[0], width - shown[2]) >= margins[0]
        and min(shown[1], height - shown[3]) >= margins[1]
    )
    if fits:
        return picture
    square = Image.new(picture.mode, (long, long), "white")
    square.paste(picture, ((long - width) // 2, (long - height) // 2))
    return square
