"""The set photos: patches of the photographs that come with three Debian packages.

Of the pictures in these packages the photographs are used; drawings, patterns and
renderings are not. All patches of a photograph stand in one split. Each photograph has
its own licence: /usr/share/doc/PACKAGE/copyright tells it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyvq.data._folder import read_picture
from tinyvq.data._images import SPLITS, Images, Split
from tinyvq.data._resize import recolour
from tinyvq.data._split import dealt
from tinyvq.errors import DataError
from tinyvq.messages import say, track

SIZE = 64
FLAT = 5  # a patch is flat below this standard deviation of its 256 levels
KEEP_FLAT = 8  # of flat patches, such as sky, one in so many is kept
BACKGROUNDS = Path("/usr/share/backgrounds")
PHOTOGRAPHS = {  # by package
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk.jpg",
        "Dragonfly_by_Bolly.jpg",
        "Picture_0B_by_freespace.jpg",
        "Picture_1A_by_freespace.jpg",
        "Wine_by_Jakkub_Mede.jpg",
        "aitzgorri_by_Aitzol_Berasategi.jpg",
        "free_by_Peter_Nerlich.jpg",
        "friends_by_Aitzol_Berasategi.jpg",
        "greentock_by_Peter_Nerlich.jpg",
        "life_by_Aitzol_Berasategi.jpg",
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "seeding_by_Clements_Engelhardt.jpg",
        "sunset_by_Aitzol_Berasategi.jpg",
    ),
    "lomiri-wallpapers-20.04": ("Kleiber_by_Lukas_Baubkus.jpg",),
    "mate-backgrounds": (
        "mate/nature/Aqua.jpg",
        "mate/nature/Blinds.jpg",
        "mate/nature/Dune.jpg",
        "mate/nature/FreshFlower.jpg",
        "mate/nature/Garden.jpg",
        "mate/nature/GreenMeadow.jpg",
        "mate/nature/LadyBird.jpg",
        "mate/nature/RainDrops.jpg",
        "mate/nature/Storm.jpg",
        "mate/nature/TwoWings.jpg",
        "mate/nature/Wood.jpg",
        "mate/nature/YellowFlower.jpg",
    ),
}


def lacking() -> str:
    """Say which packages are not installed; "" where every photograph is there."""
    missing = {
        package: [path for name in names if not (path := BACKGROUNDS / name).is_file()]
        for package, names in PHOTOGRAPHS.items()
    }
    packages = [package for package, paths in missing.items() if paths]
    if not packages:
        return ""
    paths = [path for found in missing.values() for path in found]
    total = sum(map(len, PHOTOGRAPHS.values()))
    return (
        f"{len(paths)} of its {total} photographs are missing (Debian: apt install "
        f"{' '.join(packages)}); looked for {paths[0]}{' ...' if paths[1:] else ''}"
    )


def make() -> dict[str, Split]:
    """Make the splits: each photograph's patches, row by row."""
    names = sorted(name for found in PHOTOGRAPHS.values() for name in found)
    sides = dict(zip(names, dealt(names), strict=True))
    found: dict[str, list[Split]] = {side: [] for side in SPLITS}
    total = 0
    for name in track(names, "cutting photographs", len(names)):
        path = BACKGROUNDS / name
        patches = _cut(path)
        total += len(patches)
        found[sides[name]].append(patches.take(_kept(patches.images)))
    kept = sum(len(patches) for side in found.values() for patches in side)
    say(
        f"{len(names)} photographs have {total} patches; left out: {total - kept}, "
        f"all but one in {KEEP_FLAT} of the flat ones (deviation below {FLAT} of 255)"
    )
    return {side: _together(patches) for side, patches in found.items()}


def _cut(path: Path) -> Split:
    """Cut a photograph, at half its size, into patches from its middle."""
    photograph = halved(recolour(read_picture(path), 3))
    height, width, _ = photograph.shape
    rows, columns = height // SIZE, width // SIZE
    if rows * columns == 0:
        raise DataError(
            f"{path} is {width}×{height} at half its size, expected {SIZE}×{SIZE}"
        )
    top, left = (height - rows * SIZE) // 2, (width - columns * SIZE) // 2
    middle = photograph[top : top + rows * SIZE, left : left + columns * SIZE]
    patches = (
        middle.reshape(rows, SIZE, columns, SIZE, 3)
        .swapaxes(1, 2)
        .reshape(rows * columns, SIZE, SIZE, 3)
    )
    places = [(row, column) for row in range(rows) for column in range(columns)]
    return Split(
        patches,
        names=np.array([f"{path.stem}-{row:02}-{column:02}" for row, column in places]),
    )


def halved(image: Images) -> Images:
    """Halve an image (H,W,C): the mean of each square of four pixels, rounded."""
    height, width, channels = image.shape
    even = image[: height // 2 * 2, : width // 2 * 2]
    squares = even.reshape(height // 2, 2, width // 2, 2, channels)
    four = squares.sum(axis=(1, 3), dtype=np.uint16)  # (H/2,W/2,C)
    mean: Images = ((four + 2) // 4).astype(np.uint8)
    return mean


def _kept(patches: Images) -> npt.NDArray[np.bool_]:
    """Mask the patches (N,H,W,C) to keep: all that are not flat, and some that are."""
    flat = is_flat(patches)
    kept: npt.NDArray[np.bool_] = ~flat | ((np.cumsum(flat) - 1) % KEEP_FLAT == 0)
    return kept


def is_flat(patches: Images) -> npt.NDArray[np.bool_]:
    """Tell which patches (N,H,W,C) have a variance below FLAT², mean over colours."""
    count, height, width, channels = patches.shape
    pixels = patches.reshape(count, height * width, channels).astype(np.uint16)
    n = height * width
    sums = pixels.sum(axis=1, dtype=np.int64)  # (N,C)
    squares = (pixels**2).sum(axis=1, dtype=np.int64)  # 255² fits 16 bits
    # n² · variance, in whole numbers, so that it is the same everywhere.
    spread = n * squares - sums**2  # (N,C)
    flat: npt.NDArray[np.bool_] = spread.sum(axis=1) < FLAT**2 * channels * n**2
    return flat


def _together(patches: list[Split]) -> Split:
    names = [split.names for split in patches if split.names is not None]
    return Split(
        np.concatenate([split.images for split in patches]),
        names=np.concatenate(names),
    )
