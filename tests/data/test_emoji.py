"""The set emoji: what a font's pictures spell, how they are drawn, how they divide."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import problem
from data.emoji_font import HEIGHT, WIDTH, Reading, disc, png, write_font
from required import absent

from tinyvq.data import SPLITS, Split, _emoji
from tinyvq.data._emoji import base_of, joined, read_font, spelling
from tinyvq.data._npz import packed
from tinyvq.data._split import split_of
from tinyvq.errors import DataError

RED, BLUE = (200, 10, 30), (20, 40, 220)


def codes(text: str) -> Reading:
    return tuple(int(code, 16) for code in text.split("-"))


def name_of(reading: Reading) -> str:
    return "-".join(f"{code:04x}" for code in reading)


@pytest.fixture
def font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the system's font is, for this test alone; to be written."""
    path = tmp_path / "fonts" / "NotoColorEmoji.ttf"
    path.parent.mkdir()
    monkeypatch.setattr(_emoji, "FONTS", (tmp_path / "elsewhere.ttf", path))
    return path


def made() -> dict[str, tuple[str, np.ndarray, int]]:
    """Make the set -> split, image and label by name."""
    found = {}
    for side, split in _emoji.make().items():
        assert split.names is not None
        assert split.labels is not None
        for name, image, label in zip(
            split.names, split.images, split.labels, strict=True
        ):
            found[str(name)] = (side, image, int(label))
    return found


# what is one emoji


@pytest.mark.parametrize(
    "variants",
    [
        "1f44d 1f44d-1f3fb 1f44d-1f3ff",
        "26f9 26f9-fe0f 26f9-1f3fc 26f9-200d-2640 26f9-1f3fc-200d-2642-fe0f",
        "1f3c3 1f3c3-200d-27a1 1f3c3-1f3fb-200d-2640-200d-27a1",
        "1f9d1-200d-2695 1f468-200d-2695-fe0f 1f469-1f3fe-200d-2695",
        "1f9d1 1f468 1f469-1f3fd 1f468-200d-1f9b0 1f469-1f3fb-200d-1f9b3 1f471 1f9d4",
        "1f466 1f467-1f3fb 1f9d2",
        "1f474 1f475 1f9d3-1f3ff",
        "1f478 1f934 1fac5",
        "1f46b 1f46c-1f3fb 1f9d1-200d-1f91d-200d-1f9d1 "
        "1f469-1f3fb-200d-1f91d-200d-1f468-1f3fc",
        "1f48f 1f469-200d-2764-200d-1f48b-200d-1f468",
        "1f491 1f468-1f3fb-200d-2764-fe0f-200d-1f468-1f3ff",
        "1f46a 1f468-200d-1f469-200d-1f467-200d-1f466 1f9d1-200d-1f9d2",
        "1f91d 1f91d-1f3fb 1faf1-1f3fb-200d-1faf2-1f3fc",
        "1f408-200d-2b1b 2b1b-200d-1f408",
    ],
)
def test_tones_genders_and_hair_are_variants_of_one_emoji(variants: str) -> None:
    assert len({base_of(codes(text)) for text in variants.split(" ")}) == 1


def test_different_emoji_have_different_bases() -> None:
    texts = [
        *["1f44d", "1f44e", "1f408", "1f408-200d-2b1b", "1f9d1", "1f9d2", "1f46a"],
        *["1f9d1-200d-2695", "1f9d1-200d-1f4bb", "1f48f", "1f491", "1f46b", "2640"],
        *["2642", "27a1", "1f3fb", "1f3fc", "1f9b0", "200d", "0031", "0031-20e3"],
        *["1f1e6", "1f1e6-1f1fa", "1f1fa-1f1e6", "1f1e6-1f1e6", "1f3f4", "2764"],
        *["1f3f4-200d-2620", "1f3f4-e0067-e0062-e007f", "1f3f4-e0062-e0067-e007f"],
        *["1f48b", "1f91d"],
    ]
    bases = {base_of(codes(text)): text for text in texts}
    assert len(bases) == len(texts)


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ("1f1e9-1f1ea", "fe4e8"),
        ("1f1e9-1f1ea", "e50e"),
        ("26f9-200d-2640", "2640-200d-26f9"),
        ("1f3c3-1f3fb-200d-2640-200d-27a1", "27a1-200d-2640-200d-1f3c3-1f3fb"),
        ("1f9d1-200d-1f680", "1f680-200d-1f9d1"),
        ("1f468-200d-1f466", "1f466-200d-1f468"),
        (
            "1f468-1f3fb-200d-2764-200d-1f468-1f3fc",
            "1f468-200d-2764-200d-1f3fb-1f468-1f3fc",
        ),
        ("1f408-200d-2b1b", "2b1b-200d-1f408"),
        ("2764-200d-1f525", "1f525-200d-2764"),
        ("1f3f3-200d-1f308", "1f308-200d-1f3f3"),
    ],
)
def test_a_picture_is_named_as_it_is_written(right: str, other: str) -> None:
    for readings in itertools.permutations([codes(right), codes(other)]):
        assert name_of(spelling(readings)) == right


def test_groups_that_share_a_key_hang_together() -> None:
    groups = [["d", "c"], ["x"], ["b", "e"], ["c", "e"], ["y"]]
    assert joined(groups) == ["b", "x", "b", "b", "y"]
    # Against the definition, on groups at random: spread the least key until it stays.
    draws = np.random.default_rng(0)
    for _ in range(50):
        groups = [
            [chr(97 + key) for key in draws.integers(0, 20, draws.integers(1, 4))]
            for _ in range(draws.integers(1, 15))
        ]
        expected = [min(group) for group in groups]
        for _ in groups:
            expected = [
                min(
                    e
                    for e, other in zip(expected, groups, strict=True)
                    if own & {*other}
                )
                for own in map(set, groups)
            ]
        assert joined(groups) == expected


# how it is read and drawn


def test_the_largest_pictures_are_read_with_all_they_spell(font: Path) -> None:
    thumb, cat = codes("1f44d-1f3fb"), codes("1f408-200d-2b1b")
    pictures = {
        reading: png(disc(RED, seed=i))
        for i, reading in enumerate([(0x1F44D,), (0x1F3FB,), (0x2B1B,), thumb, cat])
    }
    write_font(font, pictures, mirrored=[cat])
    found = {glyph.png: set(glyph.readings) for glyph in read_font(font)}
    expected = {data: {reading} for reading, data in pictures.items()}
    expected[pictures[cat]] = {cat, cat[::-1]}
    assert found == expected


def test_pictures_are_in_the_middle_over_white_in_their_colours(font: Path) -> None:
    half = disc(BLUE)
    half[..., 3] //= 2  # 127 of 255 of blue over white
    write_font(font, {(0x2600,): png(disc(RED)), (0x2601,): png(half)})
    images = {name: image for name, (_, image, _) in made().items()}
    assert images.keys() == {"2600", "2601"}
    for image in images.values():
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, image[::-1])
        np.testing.assert_array_equal(image, image[:, ::-1])
        # A radius of 40 of 128 pixels is one of 20 of 64; Lanczos reaches 3 further.
        assert (image[:9] == 255).all()
        assert (image[:, :9] == 255).all()
        assert (image[13, 32] != 255).any()
        assert (image[32, 13] != 255).any()
    np.testing.assert_array_equal(images["2600"][32, 32], RED)
    over = [round((127 * value + 128 * 255) / 255) for value in BLUE]
    # Pillow composites in whole numbers, each rounded once.
    np.testing.assert_allclose(images["2601"][32, 32].astype(int), over, atol=1)


@pytest.mark.parametrize("tall", [False, True])
def test_what_reaches_a_side_is_not_cut(font: Path, tall: bool) -> None:
    """A picture is wider than high; only its empty margins may go."""
    wide = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    wide[60:68] = (*RED, 255)
    narrow = wide.copy()
    narrow[:, :4] = narrow[:, -4:] = 0
    if tall:
        wide, narrow = wide.swapaxes(0, 1), narrow.swapaxes(0, 1)
    write_font(font, {(0x2600,): png(wide), (0x2601,): png(narrow)})
    images = {name: image for name, (_, image, _) in made().items()}
    if tall:
        images = {name: image.swapaxes(0, 1) for name, image in images.items()}
    # 128 pixels, the middle ones, become all of 64; or else all of 136 do.
    heights = {
        name: (255 - image[:, 32, 1].astype(float)).sum() / (255 - RED[1])
        for name, image in images.items()
    }
    for name, image in images.items():
        assert (image[31:33, [0, -1], 0] < 230).all(), name
        assert (image[:20] == 255).all(), name
    # The band's 8 pixels, scaled by 64/136 or 64/128. That Lanczos rings beyond white
    # and is clipped there adds less than a tenth of a pixel on each side.
    assert heights["2600"] == pytest.approx(8 * 64 / 136, abs=0.2)
    assert heights["2601"] == pytest.approx(8 * 64 / 128, abs=0.2)


def test_grey_pictures_become_coloured_ones(font: Path) -> None:
    grey = np.full((HEIGHT, WIDTH), 255, np.uint8)
    grey[30:-30, 30:-30] = 90
    write_font(font, {(0x2600,): png(grey)})
    ((_, image, _),) = made().values()
    assert image.shape == (64, 64, 3)
    assert (image[20:-20, 20:-20] == 90).all()


# how it is divided


def a_hundred() -> dict[Reading, bytes]:
    """A hundred emoji, each in six tones and two genders, all pictures different."""
    seeds = itertools.count(1)
    tones = [(), *((tone,) for tone in range(0x1F3FB, 0x1F400))]
    pictures = {(code,): b"" for code in (0x200D, 0x2642, *range(0x1F3FB, 0x1F400))}
    for code in range(0x1F400, 0x1F464):
        for tone, gender in itertools.product(tones, [(), (0x200D, 0x2642)]):
            pictures[(code, *tone, *gender)] = b""
    return {
        reading: png(disc((n % 256, n // 256, 99), radius=20))
        for n, reading in zip(seeds, pictures, strict=False)
    }


def test_variants_of_an_emoji_stand_in_one_split(font: Path) -> None:
    pictures = a_hundred()
    write_font(font, pictures)
    found = made()
    assert {codes(name) for name in found} == pictures.keys()
    sides: dict[int, set[str]] = {}
    for name, (side, _, _) in found.items():
        sides.setdefault(codes(name)[0], set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    # By the hash of the emoji alone, whatever else the font has.
    for code, (side,) in sides.items():
        assert side == split_of(f"{code:04x}".encode())
    counts = {side: sum(s == {side} for s in sides.values()) for side in SPLITS}
    assert all(counts.values())
    assert counts["train"] > 60


def test_pictures_that_are_the_same_stand_once_and_hold_their_emoji_together(
    font: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a variant of what is seen in training might be in the test split."""
    in_train = next(c for c in itertools.count(0x1F400) if side_of(c) == "train")
    in_test = next(c for c in itertools.count(0x1F400) if side_of(c) == "test")
    same = png(disc(RED))
    pictures = {(in_train,): same, (in_test,): same, (0x1F3FB,): png(disc(BLUE))}
    pictures |= {
        (code, 0x1F3FB): png(disc(RED, radius=20 + i))
        for i, code in enumerate((in_train, in_test))
    }
    write_font(font, pictures)
    found = made()
    first, second = sorted((in_train, in_test))
    assert f"{first:04x}" in found
    assert f"{second:04x}" not in found
    sides = {found[f"{code:04x}-1f3fb"][0] for code in (first, second)}
    assert sides == {side_of(first)} == {found[f"{first:04x}"][0]}
    assert "has 5 pictures; left out: 1 that look like another" in (
        capsys.readouterr().err
    )


def side_of(code: int) -> str:
    return split_of(f"{code:04x}".encode())


def test_pictures_that_nothing_spells_are_reported(
    font: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_font(font, {(0x2600,): png(disc(RED))}, unspelled=[png(disc(BLUE))])
    assert made().keys() == {"2600"}
    said = capsys.readouterr().err
    assert said == f"{font} has 2 pictures; left out: 1 that spell nothing\n"


def test_flags_and_people_are_classes(font: Path) -> None:
    texts = {
        "1f1e6-1f1fa": 0,
        "1f3f4-e0067-e007f": 0,
        "1f1e6": 2,
        "1f44d": 1,  # for it has tones
        "1f44d-1f3fb": 1,
        "1f3fb": 2,
        "1f468-200d-1f680": 1,
        "1f680": 2,
        "1f3f4": 2,
    }
    parts = {(code,) for text in texts for code in codes(text)}
    readings = sorted(parts | {codes(text) for text in texts})
    pictures = {r: png(disc((n, 0, 0))) for n, r in enumerate(readings)}
    write_font(font, pictures)
    found = made()
    assert {text: found[text][2] for text in texts} == texts
    assert len(_emoji.CLASS_NAMES) == 3


def test_the_same_font_gives_the_same_bytes(font: Path) -> None:
    """In other processes, too, where sets of texts have another order."""
    write_font(font, dict(itertools.islice(a_hundred().items(), 60)))
    here = packed(_emoji.make())
    program = (
        "import hashlib, pathlib, sys\n"
        "from tinyvq.data import _emoji, _npz\n"
        "_emoji.FONTS = (pathlib.Path(sys.argv[1]),)\n"
        "sys.stdout.buffer.write(_npz.packed(_emoji.make()))"
    )
    for seed in "12":
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONHASHSEED": seed,
        }
        run = subprocess.run(
            [sys.executable, "-c", program, font],
            env=environment,
            capture_output=True,
            check=True,
        )
        assert run.stdout == here


# what is missing or damaged


def test_a_font_that_is_missing_is_told_with_its_package(tmp_path: Path, font) -> None:
    expected = (
        "the font Noto Color Emoji is not installed (Debian: apt install "
        f"fonts-noto-color-emoji); looked for {tmp_path / 'elsewhere.ttf'}, {font}"
    )
    assert _emoji.lacking() == problem(_emoji.make) == expected
    write_font(font, {(0x2600,): png(disc(RED))})
    assert _emoji.lacking() == ""


@pytest.mark.parametrize("content", [b"", b"text\n" * 99, b"\0\1\0\0\0\1" + bytes(9)])
def test_what_is_no_font_is_refused(font: Path, content: bytes) -> None:
    font.write_bytes(content)
    message = problem(_emoji.make)
    assert message.startswith(f"{font} is not a font, or is damaged: ")
    assert "\n" not in message


def test_a_font_of_outlines_is_refused_as_such(font: Path) -> None:
    from fontTools.ttLib import TTFont

    write_font(font, {(0x2600,): png(disc(RED))})
    with TTFont(font) as outlines:
        del outlines["CBDT"], outlines["CBLC"]
        outlines.save(font)
    assert problem(_emoji.make).startswith(f"{font} holds no pictures (a table CBDT)")


def test_a_font_without_emoji_is_refused(font: Path) -> None:
    write_font(font, {}, unspelled=[png(disc(RED))])
    assert problem(_emoji.make) == f"{font} holds no emoji"


@pytest.mark.parametrize("kind", ["cut short", "no picture"])
def test_a_damaged_picture_is_named(font: Path, kind: str) -> None:
    bad = png(disc(RED))[:200] if kind == "cut short" else b"GIF89a" + bytes(99)
    write_font(font, {(0x2600,): png(disc(RED)), (0x2601,): bad})
    message = problem(_emoji.make)
    assert message.startswith(f"{font}, glyph u2601, is ")
    assert "\n" not in message


def test_a_damaged_font_is_read_or_refused(font: Path) -> None:
    write_font(font, dict(itertools.islice(a_hundred().items(), 12)))
    whole = font.read_bytes()
    refusals = []
    for seed in range(60):
        draws = np.random.default_rng(seed)
        content = bytearray(whole)
        for place in draws.integers(0, len(whole), 8):
            content[place] = draws.integers(256)
        font.write_bytes(content[: None if seed % 3 else draws.integers(len(whole))])
        try:
            _emoji.make()
        except DataError as error:
            refusals.append(str(error))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert len(refusals) > 20  # which shows that the damage is one
    assert all(said.startswith(f"{font}") for said in refusals)


# the system's own font


@pytest.fixture(scope="module")
def whole() -> dict[str, Split]:
    if lacking := _emoji.lacking():
        absent("EMOJI", lacking)
    return _emoji.make()


def test_the_installed_font_is_divided_by_emoji(whole: dict[str, Split]) -> None:
    names = {side: {str(name) for name in split.names} for side, split in whole.items()}
    assert sum(map(len, names.values())) > 3000
    tones = re.compile("-1f3f[b-f]|-200d-264[02]|-200d-1f9b[0-3]")
    people = re.compile("1f46[89]|1f9d1")
    plain = {
        side: {people.sub("P", tones.sub("", name)) for name in found}
        for side, found in names.items()
    }
    for one, other in itertools.combinations(plain.values(), 2):
        assert one & other == set()
    images = [image.tobytes() for split in whole.values() for image in split.images]
    assert len(set(images)) == len(images)


def test_the_installed_font_is_drawn_whole(whole: dict[str, Split]) -> None:
    """Most pictures have the white of their corners, and none is blank."""
    images = np.concatenate([split.images for split in whole.values()])
    assert (images.reshape(len(images), -1).min(axis=1) < 255).all()
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]]  # (N,4,3)
    assert (corners > 250).all(axis=(1, 2)).mean() > 0.9
