"""Convolutions on tensor cores, by shuffles and fmas in the emulator.

The portable form differs from the device's in two instructions: how fragments are
multiplied, and how memory is copied. Where values stand, and when, is the same.
"""

from typing import Any

import numpy as np
import pytest
from cases import (
    Geometry,
    conv2d_case,
    conv2d_input_grad_case,
    conv2d_weight_grad_case,
)
from emulated import needs_compiler
from gpu_device import real_cupy
from kernel_case import Array, Arrays, KernelCase, draw
from tinyvq_kernels import emulator, kernels
from tinyvq_kernels.convolution import gpu_tensor

pytestmark = needs_compiler

MAKE = {
    "conv2d": conv2d_case,
    "conv2d_input_grad": conv2d_input_grad_case,
    "conv2d_weight_grad": conv2d_weight_grad_case,
}
every_op = pytest.mark.parametrize("op", MAKE)
every_size = pytest.mark.parametrize("enough", [1, 10**6], ids=["large", "small"])

# Tiles of 64 and 128 rows, of 32, 64 and 128 columns, whole and cut off; chunks of 16
# that a tap ends in; inner indices of several parts; phases that meet unlike taps.
GEOMETRIES = [
    Geometry(1, 9, 15, 8, 3, 3, 36, padding=1),
    Geometry(2, 8, 8, 32, 4, 4, 68, stride=2, padding=1, bias=False),
    Geometry(2, 7, 5, 64, 3, 3, 32, padding=1),
    Geometry(1, 10, 10, 36, 4, 3, 132, stride=3, padding=2, dilation=2),
    Geometry(1, 11, 12, 4, 1, 1, 128),
    Geometry(3, 7, 5, 12, 1, 1, 4, stride=2, padding=3),
    Geometry(1, 31, 33, 4, 2, 3, 8, dilation=2, bias=False),
]


def run(op: str, g: Geometry, arrays: Arrays) -> Arrays:
    """Call the rung, as `resolve` would call it for CuPy's arrays."""
    a, w, *b = arrays
    bias, settings = (b[0] if b else None), (g.stride, g.padding, g.dilation)
    if op == "conv2d":
        return (gpu_tensor.conv2d(a, w, bias, *settings),)
    if op == "conv2d_input_grad":
        return (gpu_tensor.conv2d_input_grad(a, w, (g.h, g.w), bias, *settings),)
    return (gpu_tensor.conv2d_weight_grad(a, w, (g.r, g.s), *settings),)


def case_of(op: str, g: Geometry) -> KernelCase:
    make: Any = MAKE[op]
    case: KernelCase = make(g)
    return case


@every_op
@every_size
def test_agrees_within_the_bound_of_tf32(
    op: str, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_tensor, "ENOUGH", enough)
    monkeypatch.setattr(gpu_tensor, "PART", 64)
    for g in GEOMETRIES:
        case = case_of(op, g)
        inputs = case.cast("float32")
        case.check(run(op, g, inputs), inputs, tf32=True)


@pytest.mark.gpu
@every_op
@every_size
def test_a_gpu_agrees_within_the_bound(
    op: str, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At sizes that take all tiles, and twice the same bits."""
    cupy = real_cupy()
    monkeypatch.setattr(gpu_tensor, "ENOUGH", enough)
    monkeypatch.setattr(gpu_tensor, "PART", 64)
    for g in GEOMETRIES:
        case = case_of(op, g)
        inputs = case.cast("float32")
        there = tuple(cupy.asarray(a) for a in inputs)
        once, twice = (run(op, g, there)[0] for _ in range(2))
        case.check((cupy.asnumpy(once),), inputs, tf32=True)
        cupy.testing.assert_array_equal(once, twice)


@every_op
@every_size
def test_nothing_is_found(
    op: str, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No race, no read of what nobody wrote, no access outside of an array."""
    monkeypatch.setattr(gpu_tensor, "ENOUGH", enough)
    monkeypatch.setattr(gpu_tensor, "PART", 32)
    for g in (
        Geometry(1, 7, 5, 8, 3, 3, 36, padding=1),
        Geometry(2, 5, 6, 20, 2, 3, 4, stride=2, padding=2),
    ):
        inputs = case_of(op, g).cast("float32")
        with emulator.emulation("all") as report:
            (watched,) = run(op, g, inputs)
        assert [str(found) for found in report.findings] == [], str(g)
        np.testing.assert_array_equal(watched, run(op, g, inputs)[0])


@every_op
def test_values_of_tf32_make_exact_sums(op: str) -> None:
    """Small integers are of TF32, and so are sums of a few: each has to be its place's.

    A value that stood in another row, column or tap would be seen at once.
    """
    g = Geometry(2, 9, 8, 20, 3, 2, 40, stride=2, padding=1, dilation=1, bias=True)
    case, rng = case_of(op, g), np.random.default_rng(7)
    inputs = tuple(rng.integers(-8, 9, a.shape).astype(np.float32) for a in case.arrays)
    expected = case.run("reference", tuple(a.astype(np.float64) for a in inputs))
    np.testing.assert_array_equal(run(op, g, inputs), expected)


ROUNDED = {
    1 + 2.0**-11: 1 + 2.0**-10,  # halfway, away from zero
    -(1 + 2.0**-11): -(1 + 2.0**-10),
    1 + 2.0**-11 - 2.0**-23: 1.0,
    2 - 2.0**-12: 2.0,
    2.0**-140: 2.0**-140 - 2.0**-140,
    1 + 2.0**-10: 1 + 2.0**-10,
}


@every_op
@pytest.mark.parametrize("which", [0, 1])
def test_factors_are_rounded_to_nearest(op: str, which: int) -> None:
    """Of either array: a sum over four products of which one is not zero."""
    g = Geometry(1, 1, 1, 4, 1, 1, 4, bias=False)
    for value, rounded in ROUNDED.items():
        arrays = [np.zeros(a.shape, np.float32) for a in case_of(op, g).arrays]
        for i, array in enumerate(arrays):
            array.reshape(-1, 4)[0, 0] = value if i == which else 3.0
        (result,) = run(op, g, tuple(arrays))
        assert result.flat[0] == rounded * 3.0


@every_op
@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000, 0x7F800000])
def test_what_is_not_finite_reaches_the_result(op: str, bits: int) -> None:
    """All patterns of NaN, of which adding half a step would make some a zero."""
    g = Geometry(1, 4, 4, 4, 3, 3, 4, padding=1, bias=False)
    inputs = case_of(op, g).cast("float32")
    inputs[0][0, 1, 1, 1] = np.array(bits, np.uint32).view(np.float32)
    (result,) = run(op, g, inputs)
    touched = result[0, 1, 1]  # a pixel
    if op == "conv2d_weight_grad":
        touched = result[1, 1, 1]  # of the middle tap and that channel, all outputs
    assert not np.isfinite(touched).any()


@pytest.mark.parametrize("stride", [1, 2])
def test_an_image_does_not_depend_on_its_batch(
    stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on other images, nor on how many there are, nor on the tiles' shape."""
    monkeypatch.setattr(gpu_tensor, "PART", 64)
    x, w = draw("x", 3, 6, 6, 16), draw("w", 3, 3, 16, 16)
    x, w, b = (a.astype(np.float32) for a in (x, w, draw("b", 16)))
    results: list[tuple[Array, Array]] = []
    for enough in (1, 10**6):
        monkeypatch.setattr(gpu_tensor, "ENOUGH", enough)
        for images, of in ((x, 2), (x[2:3], 0)):
            y = gpu_tensor.conv2d(images, w, b, stride, 1, 1)
            gx = gpu_tensor.conv2d_input_grad(y, w, (6, 6), b, stride, 1, 1)
            results.append((y[of], gx[of]))
    for y, gx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(gx, results[0][1])


@every_op
@pytest.mark.parametrize(("channels", "most"), [(3, 2**30), (4, 100)])
def test_other_channels_and_sizes_take_the_rung_before(
    op: str, channels: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_tensor, "MOST", most)
    g = Geometry(2, 6, 5, channels, 3, 3, 8, padding=1)
    inputs = case_of(op, g).cast("float32")
    case_of(op, g).check(run(op, g, inputs), inputs)  # by float32's bound
    if channels == 4:
        monkeypatch.undo()
        with pytest.raises(AssertionError, match="more than the bound allows"):
            case_of(op, g).check(run(op, g, inputs), inputs)


@every_op
def test_it_is_entered_for_cuda_alone_and_never_the_default(op: str) -> None:
    (entry,) = (k for k in kernels(op) if k.variant == "tensor_cores")
    assert (entry.backend, entry.default, entry.tf32) == ("cuda", False, True)
    assert entry.dtypes == ("float32",)
    assert not any(k.tf32 for k in kernels(op) if k is not entry)
