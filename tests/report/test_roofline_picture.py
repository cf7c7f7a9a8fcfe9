"""The roofline picture shows each op under the roofs, and its labels can be read."""

import io
from itertools import combinations

import pytest
from required import library

from tinyvq.profiling import Cost, Machine, OpCost, Profile
from tinyvq.report import roofline_picture
from tinyvq.report.roofline import Box, around, place, places, roofline_figure

Text = library("matplotlib.text").Text
Image = library("PIL.Image")

MACHINE = Machine("Some Processor", 4, flops=4e11, bandwidth=4e10)


def op(seconds: float, flops: float, moved: float) -> OpCost:
    half = Cost(1, seconds / 2, flops / 2, moved / 2, 0.0)
    return OpCost(half, half)


# Twelve convolutions in a crowd, as a network has them, and some that stand apart.
OPS = {
    **{f"Conv2d {n}×{n} stride 2": op(0.03, 9e8 + n * 1e7, 1e7) for n in range(1, 9)},
    "ConvTranspose2d 4×4": op(0.3, 6e10, 4e8),
    "ReLU": op(0.2, 1e8, 1e9),
    "Reshape": op(0.1, 0.0, 0.0),
    "Transpose": op(0.1, 0.0, 1e8),
    "Div": op(0.0001, 1.0, 12.0),
}
PROFILE = Profile(10, OPS, {}, seconds=1.0, peak_memory=0)


def test_the_picture_is_a_png_of_1200_pixels() -> None:
    with Image.open(io.BytesIO(roofline_picture(PROFILE, MACHINE, "a run"))) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1200


def test_points_stand_where_the_ops_do() -> None:
    found = {op.name: op for op in places(PROFILE)}
    assert found.keys() == OPS.keys() - {"Reshape", "Transpose", "Div"}
    relu = found["ReLU"]
    assert (relu.x, relu.y) == pytest.approx((0.1, 0.5))
    assert relu.share == pytest.approx(0.2)


def test_title_and_labels_say_what_was_run_where() -> None:
    figure = roofline_figure(PROFILE, MACHINE, "vqvae conv")
    (axes,) = figure.axes
    title = axes.get_title()
    assert title.startswith("vqvae conv\n")
    assert "Some Processor, 4 threads" in title
    words = {text.get_text() for text in axes.texts}
    assert {"memory: 40 GB/s", "arithmetic: 400 GFLOP/s", "ReLU  20%"} <= words
    assert {f"Conv2d {n}×{n} stride 2  3%" for n in range(1, 9)} <= words
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_labels_overlap_neither_each_other_nor_a_point() -> None:
    figure = roofline_figure(PROFILE, MACHINE, "a run")
    (axes,) = figure.axes
    extents = [Text.get_window_extent(text) for text in axes.texts]
    boxes = [Box(e.x0, e.y0, e.x1, e.y1) for e in extents]
    assert len(boxes) == 2 + 10
    assert not any(a.meets(b) for a, b in combinations(boxes, 2))
    whole = axes.get_window_extent()
    assert all(box.within(Box(whole.x0, whole.y0, whole.x1, whole.y1)) for box in boxes)
    for found in places(PROFILE):
        x, y = axes.transData.transform((found.x, found.y))
        assert not any(box.meets(around(float(x), float(y), 4, 4)) for box in boxes)


def test_a_place_is_near_free_and_in_the_frame() -> None:
    frame, point = Box(0, 0, 400, 300), around(200, 150, 20, 20)
    first = place(point, 60, 16, frame, [point])
    assert first is not None
    assert first.bottom >= point.top
    second = place(point, 60, 16, frame, [point, first])
    assert second is not None
    assert not second.meets(first)
    near, wall = Box(0, 60, 400, 172), Box(0, 172, 400, 176)
    third = place(point, 60, 16, frame, [near], [wall])
    assert third is not None
    assert third.top <= near.bottom  # above there is room nearer by, past a label
    beyond = place(point, 60, 16, frame, [Box(0, 0, 400, 172)], [wall])
    assert beyond is not None
    assert beyond.bottom >= wall.top  # where there is no other
    assert place(point, 60, 16, frame, [point, frame]) is None
    assert place(point, 500, 16, frame, [point]) is None
    corner = place(around(395, 295, 4, 4), 60, 16, frame, [])
    assert corner is not None
    assert corner.within(frame)
