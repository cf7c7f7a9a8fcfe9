"""One picture at a time: every kind of pixel that PNG, JPEG and WebP have."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import chunk, encoded, pixels, png, problem, written
from required import library

from tinyvq.data import _folder, read_picture

Image = library("PIL.Image")

GREY = pixels(6, 4)
COLOUR = pixels(6, 4, 3)
ALPHA = pixels(6, 4, seed=1)


def saved(folder: Path, picture: Image.Image, suffix: str, **options: object) -> Path:
    path = folder / f"picture.{suffix}"
    picture.save(path, **options)
    return path


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Exact, before rounding: opaque is the colour, transparent is white."""
    share = alpha[..., None] / 255.0
    return colour * share + 255 * (1 - share)


def assert_within_1(found: np.ndarray, exact: np.ndarray) -> None:
    """Bytes composed in integers by rounding twice at most: less than 1 off."""
    assert found.dtype == np.uint8
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() < 1


def test_grey_is_read_as_it_is(tmp_path: Path) -> None:
    found = read_picture(saved(tmp_path, Image.fromarray(GREY), "png"))
    np.testing.assert_array_equal(found, GREY[..., None])


def test_colour_is_read_as_it_is(tmp_path: Path) -> None:
    for suffix, options in (("png", {}), ("webp", {"lossless": True})):
        path = saved(tmp_path, Image.fromarray(COLOUR), suffix, **options)
        np.testing.assert_array_equal(read_picture(path), COLOUR)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_grey_spread_over_all_bytes(tmp_path: Path, depth: int) -> None:
    """8 pixels in each of 2 rows, whose values count up and wrap."""
    values = np.arange(16) % 2**depth
    bits = "".join(f"{value:0{depth}b}" for value in values)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    half = len(packed) // 2
    body = b"\0" + packed[:half] + b"\0" + packed[half:]
    path = tmp_path / "few.png"
    path.write_bytes(png(8, 2, body, depth))
    expected = (values * (255 // (2**depth - 1))).reshape(2, 8, 1)
    np.testing.assert_array_equal(read_picture(path), expected)


def test_16_bits_of_grey_are_scaled_to_8(tmp_path: Path) -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    path = tmp_path / "wide.png"
    path.write_bytes(png(256, 256, rows, depth=16))
    expected = np.rint(wide / 257.0).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(read_picture(path), expected)


def test_16_bits_of_colour_are_scaled_to_8(tmp_path: Path) -> None:
    """By their upper byte, as Pillow does: less than 1 off."""
    wide = np.array([[0, 255, 256], [32768, 65279, 65535]], ">u2")
    path = tmp_path / "wide.png"
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    path.write_bytes(png(1, 2, rows, depth=16, kind=2))
    assert_within_1(read_picture(path), wide.reshape(2, 1, 3) / 257.0)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(COLOUR).quantize(24)  # as many as there are pixels
    path = saved(tmp_path, palette, "png")
    with Image.open(path) as opened:
        assert opened.mode == "P"
    np.testing.assert_array_equal(
        read_picture(path), np.asarray(palette.convert("RGB"))
    )


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_palette_with_transparency_is_put_over_white(
    tmp_path: Path, as_bytes: bool
) -> None:
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    transparency = bytes([255, 0, 51]) if as_bytes else 1
    path = saved(tmp_path, palette, "png", transparency=transparency)
    last = (
        [70 * 0.2 + 204, 80 * 0.2 + 204, 90 * 0.2 + 204] if as_bytes else [70, 80, 90]
    )
    exact = np.array([[[10, 20, 30], [255, 255, 255], last]])
    assert_within_1(read_picture(path), exact)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_alpha_is_put_over_white(tmp_path: Path, suffix: str) -> None:
    alpha = ALPHA.copy()
    alpha[0, :2] = 0, 255
    picture = Image.fromarray(np.dstack([COLOUR, alpha]))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    found = read_picture(saved(tmp_path, picture, suffix, **options))
    assert_within_1(found, over_white(COLOUR, alpha))
    np.testing.assert_array_equal(found[0, 0], [255] * 3)
    np.testing.assert_array_equal(found[0, 1], COLOUR[0, 1])


def test_grey_with_alpha_is_put_over_white_and_stays_grey(tmp_path: Path) -> None:
    picture = Image.fromarray(np.dstack([GREY, ALPHA]), mode="LA")
    found = read_picture(saved(tmp_path, picture, "png"))
    assert_within_1(found, over_white(GREY[..., None], ALPHA))


@pytest.mark.parametrize("depth", [1, 8, 16])
def test_a_transparent_shade_of_grey_is_put_over_white(
    tmp_path: Path, depth: int
) -> None:
    """A PNG may name one shade that is transparent, here the darker of two."""
    rows = {1: b"\0\x40", 8: b"\0\x03\xc8", 16: b"\0\x03\x03\xc8\xc8"}[depth]
    shade = {1: 0, 8: 3, 16: 0x303}[depth]
    data = png(2, 1, rows, depth)
    end = data.index(b"IDAT") - 4
    path = tmp_path / "shade.png"
    path.write_bytes(data[:end] + chunk(b"tRNS", struct.pack(">H", shade)) + data[end:])
    other = 255 if depth == 1 else 0xC8
    np.testing.assert_array_equal(read_picture(path), [[[255], [other]]])


def flat(value: int | tuple[int, ...], mode: str) -> Image.Image:
    return Image.new(mode, (16, 8), value)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 77, [77]),
        ("RGB", (200, 100, 50), [200, 100, 50]),
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
        ("CMYK", (0, 0, 0, 255), [0, 0, 0]),
    ],
)
def test_jpeg(tmp_path: Path, mode: str, value: object, expected: list[int]) -> None:
    """JPEG keeps a flat colour but for rounding: of Y and of Cb or Cr, by 0.5 each.

    Blue is Y + 1.772 Cb, the worst: 0.5 + 0.886, and 0.5 of its own.
    """
    found = read_picture(saved(tmp_path, flat(value, mode), "jpg", quality=100))
    assert found.shape == (8, 16, len(expected))
    assert np.abs(found - np.array(expected, float)).max() <= 1.886


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_its_camera_says(tmp_path: Path, orientation: int) -> None:
    """The picture as meant: dark, but for its left end; stored as EXIF says."""
    meant = np.full((16, 32), 20, np.uint8)
    meant[:8, :8] = 220
    # From the EXIF standard: where the stored first row and column belong.
    stored = {
        1: meant,
        2: meant[:, ::-1],  # top, right
        3: meant[::-1, ::-1],  # bottom, right
        4: meant[::-1],  # bottom, left
        5: meant.T,  # left, top
        6: np.rot90(meant, 1),  # right, top
        7: np.rot90(meant, 2).T,  # right, bottom
        8: np.rot90(meant, -1),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored))
    path = saved(tmp_path, picture, "jpg", quality=100, exif=exif)
    found = read_picture(path)
    # Flat blocks of 8×8, so that JPEG rounds once.
    assert np.abs(found[..., 0] - meant.astype(float)).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_the_content_counts_and_not_the_name(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path, Image.fromarray(COLOUR), "png")
    other = path.rename(tmp_path / f"other.{suffix}")
    np.testing.assert_array_equal(read_picture(other), COLOUR)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_refused_under_any_name(tmp_path: Path, format: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(COLOUR, format))
    assert problem(read_picture, path) == f"{path} is not a PNG, JPEG or WebP picture"


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 20, bytes(300)])
def test_text_named_as_a_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    assert problem(read_picture, path) == f"{path} is not a PNG, JPEG or WebP picture"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_short_is_refused(tmp_path: Path, format: str) -> None:
    whole = encoded(pixels(40, 40, 3), format)
    path = tmp_path / "cut.png"
    # A PNG has all its pixels without its last 20 bytes, checksums and an end mark.
    last = len(whole) - 21 if format == "PNG" else len(whole) - 1
    for length in np.linspace(0, last, 100).astype(int):
        written(path, whole[:length])
        message = problem(read_picture, path)
        not_one = f"{path} is not a PNG, JPEG or WebP picture"
        assert message == not_one or message.startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("side", [8001, 12_000, 50_000, 2**31 - 1])
def test_a_bomb_of_pixels_is_refused_unread(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, bytes(1000)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message = problem(read_picture, path)
    assert message == f"{path} has more than 64000000 pixels"
    assert not caught


def test_as_many_pixels_as_are_allowed_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, Image.fromarray(GREY), "png")
    monkeypatch.setattr(_folder, "MAX_PIXELS", GREY.size)
    assert read_picture(path).size == GREY.size
    monkeypatch.setattr(_folder, "MAX_PIXELS", GREY.size - 1)
    assert problem(read_picture, path) == f"{path} has more than 23 pixels"


def test_text_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    """A PNG may hold compressed text of any length beside its pixels."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 * 2**20)))
    data = png(4, 4, bytes(20))
    path = tmp_path / "text.png"
    path.write_bytes(data[:33] + text + data[33:])
    assert "damaged" in problem(read_picture, path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse
    message = problem(read_picture, path)
    assert message.startswith(f"cannot read {path}: it holds 1099511627776 bytes")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert (
        problem(read_picture, tmp_path) == f"cannot read {tmp_path}: it is not a file"
    )
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)  # opening it would wait for ever
    assert problem(read_picture, pipe) == f"cannot read {pipe}: it is not a file"
    missing = tmp_path / "missing.png"
    missing.symlink_to("nowhere")
    expected = f"cannot read {missing}: No such file or directory"
    assert problem(read_picture, missing) == expected


@pytest.mark.parametrize("size", [1, 5, 8, 11])
@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (8, 8)])
def test_a_picture_is_scaled_and_its_middle_kept(tmp_path, size: int, shape) -> None:
    """Three flat squares in a row or a column: only the middle one stays."""
    array = np.kron([[30, 90, 150]], np.ones((8, 8))).astype(np.uint8)
    array = {(8, 24): array, (24, 8): array.T, (8, 8): array[:, 8:16]}[shape]
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(array)), "png")
    found = read_picture(path, size)
    assert found.shape == (size, size, 1)
    # The filter reaches beyond the edges, into a square that is 60 darker or lighter,
    # with less than half of its weight; and as far on one side as on the other.
    off = found[..., 0].astype(int) - 90
    assert np.abs(off).max() < 30
    assert np.abs(off + off[::-1, ::-1]).max() <= 1  # rounded twice
    if size == 8:  # nothing to scale
        np.testing.assert_array_equal(off, 0)


def test_a_picture_of_the_size_asked_for_is_left_as_it_is(tmp_path: Path) -> None:
    square = pixels(9, 9, 3)
    path = saved(tmp_path, Image.fromarray(square), "png")
    np.testing.assert_array_equal(read_picture(path, 9), square)


def test_reading_leaves_pythons_warnings_as_they_were(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(COLOUR), "png")
    before = list(warnings.filters)
    read_picture(path)
    assert warnings.filters == before
