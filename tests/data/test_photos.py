"""The set photos: how photographs are halved, cut, thinned out and divided."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import pixels, problem, write_picture
from required import absent

from tinyvq.data import CATALOG, SPLITS, _photos
from tinyvq.data._npz import packed
from tinyvq.data._photos import PHOTOGRAPHS, halved, is_flat
from tinyvq.data._split import dealt

NAMES = tuple(f"{letter}.png" for letter in "abcdefghijkl")


@pytest.fixture
def backgrounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the photographs are, for this test alone: twelve, of two packages."""
    packages = {"one": NAMES[:5], "other": tuple(f"nature/{n}" for n in NAMES[5:])}
    monkeypatch.setattr(_photos, "PHOTOGRAPHS", packages)
    monkeypatch.setattr(_photos, "BACKGROUNDS", tmp_path / "backgrounds")
    return tmp_path / "backgrounds"


def write_all(backgrounds: Path) -> dict[str, np.ndarray]:
    """Write the photographs: of noise, with two rows of three patches and a rest."""
    found = {}
    for i, name in enumerate(n for ns in _photos.PHOTOGRAPHS.values() for n in ns):
        found[Path(name).stem] = pixels(259, 387, 3, seed=i)
        write_picture(backgrounds / name, found[Path(name).stem])
    return found


def test_a_photograph_is_halved_by_means_of_four() -> None:
    image = pixels(7, 10, 3)
    found = halved(image)
    assert found.shape == (3, 5, 3)
    assert found.dtype == np.uint8
    for row, column, channel in np.ndindex(found.shape):
        four = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        assert found[row, column, channel] == int(four.sum() / 4 + 0.5)
    assert (halved(np.full((4, 4, 3), 255, np.uint8)) == 255).all()


def test_patches_are_the_middle_of_the_half_row_by_row(backgrounds: Path) -> None:
    photographs = write_all(backgrounds)
    found = {}
    for split in _photos.make().values():
        assert split.names is not None
        assert split.labels is None
        found |= dict(zip(split.names, split.images, strict=True))
    assert len(found) == 12 * 6
    for name, photograph in photographs.items():
        half = halved(photograph)
        assert half.shape == (129, 193, 3)
        for row, column in itertools.product(range(2), range(3)):
            top, left = 64 * row, 64 * column  # of 1 pixel too many, the last goes
            expected = half[top : top + 64, left : left + 64]
            patch = found[f"{name}-{row:02}-{column:02}"]
            np.testing.assert_array_equal(patch, expected)


def test_a_patch_is_flat_below_a_variance() -> None:
    two = np.zeros((1, 64, 64, 3), np.uint8)
    two[:, ::2] = 10  # a deviation of 5
    assert not is_flat(two)[0]
    two[0, 0, 0, 0] = 9
    assert is_flat(two)[0]
    two[..., 0], two[..., 1:] = 128, 0
    assert is_flat(two)[0]  # of a colour, and as flat as a grey
    two[:, ::2, :, 2] = 255  # one colour is enough
    assert not is_flat(two)[0]
    draws = np.random.default_rng(0)
    noise = draws.random((200, 64, 64, 3)) * draws.uniform(0, 35, (200, 1, 1, 1))
    patches = (draws.integers(0, 220, (200, 1, 1, 3)) + noise).astype(np.uint8)
    expected = patches.var(axis=(1, 2), dtype=np.float64).mean(axis=1) < 25
    np.testing.assert_array_equal(is_flat(patches), expected)
    assert 0 < expected.sum() < 200


def test_of_flat_patches_one_in_eight_is_kept(
    backgrounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_all(backgrounds)
    image = np.full((256, 2560, 3), 60, np.uint8)  # two rows of twenty
    image[:128, :128] = pixels(128, 128, 3)
    write_picture(backgrounds / "a.png", image)
    splits = _photos.make()
    names = [n for s in splits.values() for n in s.names if n.startswith("a-")]  # type: ignore[union-attr]
    flat = [(row, column) for row in range(2) for column in range(20)][1:]
    kept = [(0, 0), *flat[::8]]
    assert names == [f"a-{row:02}-{column:02}" for row, column in kept]
    assert capsys.readouterr().err == (
        f"12 photographs have {11 * 6 + 40} patches; left out: 34, all but one "
        "in 8 of the flat ones (deviation below 5 of 255)\n"
    )


def test_patches_of_a_photograph_stand_in_one_split(backgrounds: Path) -> None:
    write_all(backgrounds)
    stems = {
        side: {name.split("-")[0] for name in split.names}  # type: ignore[union-attr]
        for side, split in _photos.make().items()
    }
    assert list(stems) == list(SPLITS)
    assert {side: len(found) for side, found in stems.items()} == {
        "train": 8,
        "val": 2,
        "test": 2,
    }
    assert len(set.union(*stems.values())) == 12
    names = [name for found in _photos.PHOTOGRAPHS.values() for name in found]
    for name, side in zip(names, dealt(names), strict=True):
        assert Path(name).stem in stems[side]


def test_every_split_gets_some_of_a_few_whatever_their_order() -> None:
    for count in range(3, 40):
        names = [f"{i}.jpg" for i in range(count)]
        sides = dealt(names)
        tenth = (count + 9) // 10
        assert sides.count("val") == sides.count("test") == tenth
        assert sides.count("train") == count - 2 * tenth
        assert dealt(names[::-1]) == sides[::-1]
    assert dealt([]) == []


def test_the_same_photographs_give_the_same_bytes(backgrounds: Path) -> None:
    write_all(backgrounds)
    first = packed(_photos.make())
    for path in backgrounds.rglob("*.png"):  # listed in another order
        path.rename(path.with_suffix(".moved"))
        path.with_suffix(".moved").rename(path)
    assert packed(_photos.make()) == first


def test_grey_photographs_become_coloured_ones(backgrounds: Path) -> None:
    write_all(backgrounds)
    write_picture(backgrounds / "a.png", pixels(128, 128))
    (patch,) = (
        image
        for split in _photos.make().values()
        for name, image in zip(split.names, split.images, strict=True)  # type: ignore[arg-type]
        if name == "a-00-00"
    )
    expected = halved(pixels(128, 128)[..., None])
    np.testing.assert_array_equal(patch, expected.repeat(3, axis=-1))


def test_packages_that_are_missing_are_named(backgrounds: Path) -> None:
    first = backgrounds / "a.png"
    assert _photos.lacking() == (
        "12 of its 12 photographs are missing (Debian: apt install one other); "
        f"looked for {first} ..."
    )
    write_all(backgrounds)
    assert _photos.lacking() == ""
    (backgrounds / "nature" / "l.png").unlink()
    assert _photos.lacking() == (
        "1 of its 12 photographs are missing (Debian: apt install other); looked for "
        f"{backgrounds}/nature/l.png"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is damaged: "), (b"some text", "is not a PNG, JPEG or WebP picture")],
)
def test_a_damaged_photograph_is_named(
    backgrounds: Path, content: bytes | None, said: str
) -> None:
    write_all(backgrounds)
    path = backgrounds / "nature" / "g.png"
    path.write_bytes(path.read_bytes()[:-5000] if content is None else content)
    assert problem(_photos.make).startswith(f"{path} {said}")


@pytest.mark.parametrize("shape", [(127, 200, 3), (200, 126, 3)])
def test_a_photograph_that_is_too_small_is_refused(backgrounds: Path, shape) -> None:
    write_all(backgrounds)
    write_picture(backgrounds / "c.png", pixels(*shape))
    height, width = shape[0] // 2, shape[1] // 2
    assert problem(_photos.make) == (
        f"{backgrounds}/c.png is {width}×{height} at half its size, expected 64×64"
    )


HELD_OUT = {
    "val": {
        "Bridge_by_Sander_Klootwijk.jpg",
        "Kleiber_by_Lukas_Baubkus.jpg",
        "mate/nature/Dune.jpg",
    },
    "test": {
        "Dragonfly_by_Bolly.jpg",
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "sunset_by_Aitzol_Berasategi.jpg",
    },
}


def test_the_photographs_are_different_and_divided_as_ever() -> None:
    names = [name for found in PHOTOGRAPHS.values() for name in found]
    assert len(names) == len({Path(name).stem for name in names}) == 26
    sides = dict(zip(names, dealt(names), strict=True))
    for held, expected in HELD_OUT.items():
        assert {name for name, side in sides.items() if side == held} == expected


@pytest.mark.deep
def test_the_installed_photographs_make_the_set_that_is_described() -> None:
    if lacking := _photos.lacking():
        absent("PHOTOS", lacking)
    found = _photos.make()
    count = sum(len(split) for split in found.values())
    assert CATALOG["photos"].what.startswith(f"{count:,} patches")
    stems = [{n.rsplit("-", 2)[0] for n in s.names} for s in found.values()]  # type: ignore[union-attr]
    assert sum(map(len, stems)) == len(set.union(*stems)) == 26
