"""Pictures show what their words say, pixel for pixel where pixels matter."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from required import library

from tinyvq.data import from_unit
from tinyvq.errors import FileError, ShapeError
from tinyvq.report import pictures, save_png
from tinyvq.report._runs import PANELS
from tinyvq.report.pictures import (
    GAP,
    PAPER,
    WIDTH,
    codebook_picture,
    curve_picture,
    image_grid,
    reconstruction_picture,
)
from tinyvq.rng import Stream

Image = library("PIL.Image")


def noise(count: int, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    shape = (count, height, width, channels)
    return Stream(0, "pictures").integers(256, shape).astype(np.uint8)


def parse(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def shrunk(picture: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Undo the enlargement, which must be by a whole factor."""
    factor = picture.shape[0] // height
    assert picture.shape == (height * factor, width * factor, 3)
    small = picture[::factor, ::factor]
    np.testing.assert_array_equal(
        small.repeat(factor, axis=0).repeat(factor, axis=1), picture
    )
    return small


# Grids.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 3), (6, 3), (7, 4)])
def test_each_image_has_its_place(channels: int, count: int, columns: int) -> None:
    images = noise(count, 5, 4, channels)
    rows = -(-count // columns)
    height, width = rows * 5 + (rows - 1) * GAP, columns * 4 + (columns - 1) * GAP
    grid = shrunk(image_grid(images, columns), height, width)
    covered = np.zeros((height, width), dtype=bool)
    for i, image in enumerate(images):
        top, left = (i // columns) * (5 + GAP), (i % columns) * (4 + GAP)
        place = (slice(top, top + 5), slice(left, left + 4))
        np.testing.assert_array_equal(grid[place], np.broadcast_to(image, (5, 4, 3)))
        covered[place] = True
    assert (grid[~covered] == PAPER).all()  # gaps, and places without an image


def test_small_images_are_enlarged_and_large_ones_left() -> None:
    assert image_grid(noise(1, 28, 28, 1), 1).shape == (952, 952, 3)  # 34 times
    assert image_grid(noise(4, 8, WIDTH, 3), 1).shape == (4 * 8 + 3 * GAP, WIDTH, 3)
    assert image_grid(noise(2, 8, 700, 3), 2).shape == (8, 1400 + GAP, 3)


def test_floats_are_shown_as_their_bytes() -> None:
    unit = np.array([-0.5, 0.0, 0.5, 0.7, -9.0], np.float32).reshape(1, 1, 5, 1)
    grid = shrunk(image_grid(unit, 1), 1, 5)
    np.testing.assert_array_equal(grid[0, :, 0], [0, 128, 255, 255, 0])


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 4, 4, 2), (4, 4, 3), (2, 4, 4, 4)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected images \(N,H,W,1\) or \(N,H,W,3\)"):
        image_grid(np.zeros(shape, np.uint8), 2)


# Reconstructions.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("as_floats", [False, True])
def test_originals_stand_above_their_reconstructions(
    channels: int, as_floats: bool
) -> None:
    images, made = noise(12, 6, 4, channels), noise(24, 6, 4, channels)[12:]
    shown = made if not as_floats else made.astype(np.float32) / 255 - 0.5
    if as_floats:
        np.testing.assert_array_equal(from_unit(shown), made)
    gap = 2 * GAP  # between pairs; within a pair a line of one pixel
    height, width = 2 * 13 + gap, 10 * 4 + 9 * gap
    grid = shrunk(reconstruction_picture(images, shown), height, width)
    for i in range(12):
        top, left = (i // 10) * (13 + gap), (i % 10) * (4 + gap)
        column = grid[top : top + 13, left : left + 4]
        np.testing.assert_array_equal(
            column[:6], np.broadcast_to(images[i], (6, 4, 3)), err_msg=f"original {i}"
        )
        assert (column[6] == PAPER).all()
        np.testing.assert_array_equal(
            column[7:], np.broadcast_to(made[i], (6, 4, 3)), err_msg=f"made {i}"
        )


def test_images_that_do_not_match_their_reconstructions_are_refused() -> None:
    with pytest.raises(ShapeError, match="as many reconstructions as images"):
        reconstruction_picture(noise(3, 4, 4, 1), noise(2, 4, 4, 1))
    with pytest.raises(ShapeError, match="all of one size"):
        reconstruction_picture(noise(3, 4, 4, 1), noise(3, 4, 8, 1))


# Files.


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_png_holds_the_very_pixels(tmp_path: Path, channels: int) -> None:
    (image,) = noise(1, 7, 9, channels)
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.mode == ("L" if channels == 1 else "RGB")
        np.testing.assert_array_equal(np.asarray(picture).reshape(image.shape), image)
    save_png(tmp_path / "b.png", image)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (image,) = noise(1, 7, 9, 1)
    with pytest.raises(FileError, match="cannot write /proc/tinyvq"):
        save_png(Path("/proc/tinyvq.png"), image)


# The curve.


def records(steps: int = 5) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        record = {"step": step * 10, "nmse": 1 / step, "batch_perplexity": 10.0 * step}
        if step % 2 == 0:
            record |= {"val_nmse": 1.1 / step, "val_perplexity": 12.0 * step}
        made.append(record)
    return made


def lines(given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draw a curve; the points of each line, by panel and label."""
    figures: list[Any] = []
    real = pictures.as_png

    def keep(figure: Any) -> bytes:
        figures.append(figure)
        return real(figure)

    monkeypatch.setattr(pictures, "as_png", keep)
    curve_picture(given, PANELS["vqvae"])
    (figure,) = figures
    return [
        {str(line.get_label()): line.get_xydata().tolist() for line in axes.get_lines()}
        for axes in figure.axes
    ]


def test_the_curve_shows_every_logged_point(monkeypatch: pytest.MonkeyPatch) -> None:
    error, use = lines(records(), monkeypatch)
    assert error == {
        "training batch": [[10 * s, 1 / s] for s in range(1, 6)],
        "validation": [[20, 1.1 / 2], [40, 1.1 / 4]],
    }
    assert use == {
        "training batch": [[10 * s, 10.0 * s] for s in range(1, 6)],
        "validation": [[20, 24.0], [40, 48.0]],
    }


def test_a_value_that_was_not_finite_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = records()
    given[2]["nmse"] = None
    error, _ = lines(given, monkeypatch)
    assert [x for x, _ in error["training batch"]] == [10, 20, 40, 50]


@pytest.mark.parametrize("count", [1, 2, 500])
def test_a_curve_of_any_length_is_a_png_of_one_size(count: int) -> None:
    picture = parse(curve_picture(records(count), PANELS["vqvae"]))
    assert picture.shape == (360, 960, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_a_curve_without_validation() -> None:
    given = [{k: v for k, v in r.items() if "val" not in k} for r in records()]
    assert parse(curve_picture(given, PANELS["vqvae"])).shape == (360, 960, 3)


def test_panels_without_measures_are_left_out() -> None:
    """A VQ-GAN whose adversary has no weight logs what a VQ-VAE does."""
    assert parse(curve_picture(records(), PANELS["vqgan"])).shape == (360, 960, 3)
    assert parse(curve_picture([], PANELS["vqgan"])).shape == (360, 480 * 2, 3)


def test_equal_records_make_equal_bytes() -> None:
    assert curve_picture(records(), PANELS["vqvae"]) == curve_picture(
        records(), PANELS["vqvae"]
    )


# The codebook.


def test_codes_stand_in_the_order_of_their_use(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([0, 5, 9, 0, 5, 1])
    images = noise(6, 4, 4, 1)
    seen: list[Any] = []
    real = image_grid

    def keep(shown: Any, columns: int, **rest: Any) -> Any:
        seen.append((shown, columns))
        return real(shown, columns, **rest)

    monkeypatch.setattr(pictures, "image_grid", keep)
    codebook_picture(counts, images, "caption")
    ((shown, columns),) = seen
    np.testing.assert_array_equal(shown, images[[2, 1, 4, 5]])  # only those in use
    assert columns == 6


@pytest.mark.parametrize(
    ("codes", "size", "channels"),
    [(1, 28, 1), (2, 4, 1), (10, 28, 1), (512, 12, 3)],
)
@pytest.mark.parametrize("used", [1, None])
def test_a_codebook_of_any_size_is_a_png(
    codes: int, size: int, channels: int, used: int | None
) -> None:
    counts = np.zeros(codes, np.int64)
    counts[:used] = np.arange(1, codes + 1)[:used]
    images = np.zeros((codes, size, size, channels), np.float32)
    picture = parse(codebook_picture(counts, images, "what each code decodes to"))
    assert picture.shape[1] == 960
    assert 200 < picture.shape[0] < 5000


def test_equal_codebooks_make_equal_bytes() -> None:
    counts, images = np.array([3, 0, 2]), noise(3, 4, 4, 3)
    one = codebook_picture(counts, images, "caption")
    assert one == codebook_picture(counts, images, "caption")
    assert one != codebook_picture(counts[::-1].copy(), images, "caption")
