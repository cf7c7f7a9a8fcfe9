"""What the CUDA kernels promise beyond the cases of the table, in the emulator."""

from typing import Any

import numpy as np
import pytest
import tinyvq_kernels
from cases import (
    Geometry,
    conv2d_case,
    conv2d_input_grad_case,
    conv2d_weight_grad_case,
)
from emulated import needs_compiler
from kernel_case import Array, draw
from tinyvq_kernels import emulator, use_kernels
from tinyvq_kernels._cuda import deferred_checks
from tinyvq_kernels.convolution import gpu as convolution
from tinyvq_kernels.convolution import gpu_narrow as narrow
from tinyvq_kernels.scatter import gpu as scatter
from tinyvq_kernels.search import gpu as search
from tinyvq_kernels.search.tiled import code_starts

pytestmark = needs_compiler

# Tiles of 64 and 128 rows, of 32 and 64 columns, whole and cut off; inner indices that
# make several parts; channels in fours and not.
GEOMETRIES = [
    Geometry(1, 9, 15, 8, 3, 3, 36, padding=1),
    Geometry(2, 8, 8, 32, 4, 4, 68, stride=2, padding=1, bias=False),
    Geometry(3, 12, 11, 67, 3, 3, 35, padding=1),
    Geometry(2, 13, 13, 36, 4, 4, 65, stride=3, padding=2, dilation=2),
    Geometry(1, 16, 16, 33, 1, 1, 130),
    Geometry(5, 16, 16, 3, 3, 3, 5, padding=1),
]


@pytest.mark.parametrize("enough", [1, 10**6], ids=["large tiles", "many parts"])
@pytest.mark.parametrize(
    "make", [conv2d_case, conv2d_input_grad_case, conv2d_weight_grad_case]
)
def test_tiles_and_parts_of_any_number(
    make: Any, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "ENOUGH", enough)
    for g in GEOMETRIES:
        case = make(g)
        inputs = case.cast("float32")
        case.check(case.run("cuda_emulated_register_tiled", inputs), inputs)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_image_does_not_depend_on_its_batch(
    stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on other images, nor on how many there are: parts meet in one order."""
    x, w = draw("x", 4, 8, 8, 32), draw("w", 3, 3, 32, 32)
    x, w, b = (a.astype(np.float32) for a in (x, w, draw("b", 32)))
    results = []
    for enough in (1, 10**6):
        monkeypatch.setattr(convolution, "ENOUGH", enough)
        for images, of in ((x, 2), (x[2:3], 0)):
            y = convolution.conv2d(images, w, b, stride, 1, 1)
            gx = convolution.conv2d_input_grad(y, w, (8, 8), b, stride, 1, 1)
            results.append((y[of], gx[of]))
    for y, gx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(gx, results[0][1])


# Few channels at one side: tiles whole and cut off, several chunks of the inner index
# and of pixels, phases without taps, each number of lanes; and the kernel that runs.
FROM_FEW, TO_FEW = "conv2d_from_few_channels", "conv2d_to_few_channels"
WEIGHTS = "conv2d_weight_grad_narrow"
NARROW = [
    (conv2d_case, Geometry(2, 9, 10, 3, 4, 4, 68, stride=2, padding=1), FROM_FEW),
    (conv2d_case, Geometry(1, 9, 7, 4, 5, 3, 33, padding=2, dilation=2), FROM_FEW),
    (conv2d_case, Geometry(2, 8, 9, 1, k=32, stride=3, bias=False), FROM_FEW),
    (conv2d_case, Geometry(2, 9, 10, 64, k=3, padding=1), TO_FEW),
    (conv2d_case, Geometry(1, 9, 7, 132, k=1, stride=2, dilation=2), TO_FEW),
    (conv2d_case, Geometry(3, 5, 6, 300, r=2, s=3, k=4, bias=False), TO_FEW),
    (conv2d_case, Geometry(3, 5, 6, 36, k=2), TO_FEW),
    (conv2d_input_grad_case, Geometry(2, 9, 10, 36, 4, 4, 3, 2, 1), FROM_FEW),
    (conv2d_input_grad_case, Geometry(2, 9, 8, 33, 2, 3, 2, stride=3), FROM_FEW),
    (conv2d_input_grad_case, Geometry(1, 9, 8, 5, k=1, dilation=2), FROM_FEW),
    (conv2d_input_grad_case, Geometry(3, 16, 13, 3, 4, 4, 64, 2, 1), TO_FEW),
    (
        conv2d_input_grad_case,
        Geometry(2, 9, 8, 1, 2, 3, 8, stride=3, padding=4),
        TO_FEW,
    ),
    (conv2d_input_grad_case, Geometry(1, 9, 8, 2, k=16, dilation=2), TO_FEW),
    (conv2d_weight_grad_case, Geometry(3, 16, 13, 3, 4, 4, 68, 2, 1), WEIGHTS),
    (conv2d_weight_grad_case, Geometry(4, 17, 13, 3, k=32, padding=1), WEIGHTS),
    (
        conv2d_weight_grad_case,
        Geometry(2, 9, 7, 4, k=33, stride=2, dilation=2),
        WEIGHTS,
    ),
    (conv2d_weight_grad_case, Geometry(4, 17, 13, 36, k=3, padding=1), WEIGHTS),
    (conv2d_weight_grad_case, Geometry(2, 9, 8, 33, 2, 3, 1, dilation=2), WEIGHTS),
]


@pytest.mark.parametrize(("make", "g", "kernel"), NARROW)
def test_few_channels_have_kernels_of_their_own(
    make: Any, g: Geometry, kernel: str
) -> None:
    case = make(g)
    inputs = case.cast("float32")
    with emulator.emulation("all") as report:
        results = case.run("cuda_emulated_narrow", inputs)
    assert [str(found) for found in report.findings] == []
    assert report.launches[0].kernel == kernel
    case.check(results, inputs)


@pytest.mark.parametrize(
    ("make", "g"),
    [
        (conv2d_case, Geometry(c=5, k=4)),
        (conv2d_case, Geometry(h=9, w=9, c=516, r=4, s=4, k=1)),  # too many weights
        (conv2d_input_grad_case, Geometry(h=9, w=9, k=3, stride=2, dilation=2)),
        (conv2d_weight_grad_case, Geometry(c=5, k=4, stride=2)),
    ],
)
def test_other_convolutions_run_on_the_rung_before(make: Any, g: Geometry) -> None:
    case = make(g)
    with emulator.emulation("fast") as report:
        case.run("cuda_emulated_narrow", case.cast("float32"))
    assert "register_tiled" in report.launches[0].kernel


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_an_image_of_few_channels_does_not_depend_on_its_batch(
    c: int, stride: int
) -> None:
    x, w = draw("x", 4, 9, 7, c), draw("w", 4, 3, c, 64)
    x, w = x.astype(np.float32), w.astype(np.float32)
    y = narrow.conv2d(x, w, None, stride, 1, 1)
    gx = narrow.conv2d_input_grad(y, w, (9, 7), None, stride, 1, 1)
    for of in range(4):
        one = narrow.conv2d(x[of : of + 1], w, None, stride, 1, 1)
        back = narrow.conv2d_input_grad(one, w, (9, 7), None, stride, 1, 1)
        np.testing.assert_array_equal(one[0], y[of])
        np.testing.assert_array_equal(back[0], gx[of])


@pytest.mark.parametrize("parts", [1, 2, 31, 32, 33, 100])
def test_many_parts_are_added(parts: int) -> None:
    sums = draw("sums", parts, 5, 13).astype(np.float32)
    total = np.empty((5, 13), np.float32)
    with emulator.emulation("all") as report:
        convolution.add_many_parts(sums, total)
    assert report.findings == []
    exact = sums.astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(total, exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rung", ["plain", "fused"])
def test_adam_updates_many_parameters_at_once(rung: str, dtype: str) -> None:
    shapes = [(3,), (1025,), (), (0,), (2, 600), (1024,)]
    settings = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    numbers = tinyvq_kernels.adam_numbers([1, 2, 3, 4, 5, 600], **settings)
    results = []
    for variant in (f"cuda_emulated_{rung}", "reference"):
        lists = [[draw(name, *s).astype(dtype) for s in shapes] for name in "pgmv"]
        lists[3] = [np.square(v, out=v) for v in lists[3]]
        with use_kernels(adam=variant):
            tinyvq_kernels.adam(*lists, numbers=numbers)
        results.append([a for arrays in lists for a in arrays])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(
            got, want, rtol=20 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps
        )


@pytest.mark.parametrize("rung", ["plain", "by_code", "banded"])
@pytest.mark.parametrize("wrong", [-1, 5, 2**32, -(2**40)])
def test_an_index_out_of_range_is_told(rung: str, wrong: int) -> None:
    """By the kernels, for on a device the door does not look."""
    z = draw("z", 7, 3)
    indices = np.array([0, 4, 2, wrong, 1, 1, 0])
    with pytest.raises(IndexError, match=r"0 \.\. 4"):
        getattr(scatter, rung)(z, indices, 5)
    with deferred_checks() as checks:
        getattr(scatter, rung)(z, indices, 5)
        with pytest.raises(ValueError, match="code_sums"):
            checks.raise_if_flagged()


def test_sums_of_codes_are_the_same_in_any_order_of_blocks() -> None:
    """Rows over several bands, a code with most of them, codes with none."""
    rng = np.random.default_rng(5)
    indices = np.where(rng.random(3000) < 0.7, 3, rng.integers(0, 300, 3000))
    z = draw("z", 3000, 33).astype(np.float32)
    exact = np.zeros((400, 33))
    np.add.at(exact, indices, z.astype(np.float64))
    sums: Array
    for rung in ("plain", "sorted", "banded"):
        with use_kernels(code_sums=f"cuda_emulated_{rung}"):
            sums, counts = tinyvq_kernels.code_sums(z, indices, 400)
        np.testing.assert_array_equal(counts, np.bincount(indices, minlength=400))
        np.testing.assert_allclose(sums, exact, rtol=0, atol=2e-3)


@pytest.mark.parametrize("rows", [0, 63, 64, 65, 2048, 17_000])
@pytest.mark.parametrize("spread", ["evenly", "on one code", "in a row"])
def test_bands_of_codes(rows: int, spread: str) -> None:
    """Around a band of 64; one warp per code and eight, each with more than 32 bands.

    The values are whole, so that any order of additions makes the same bits.
    """
    rng = np.random.default_rng(rows)
    indices = rng.integers(0, 70, rows)
    if spread != "evenly":
        indices = np.sort(indices) if spread == "in a row" else indices * 0 + 69
    z = rng.integers(-50, 50, (rows, 3)).astype(np.float32)
    results = []
    for rung in ("cuda_emulated_banded", "reference"):
        with use_kernels(code_sums=rung):
            results.append(tinyvq_kernels.code_sums(z, indices, 70))
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("means", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("moves", [True, False])
def test_running_means_are_the_same_bits_as_numpy_makes(
    means: str, dtype: str, moves: bool
) -> None:
    sums, codes = (draw(name, 100, 37).astype(dtype) for name in ("sums", "codes"))
    counts = np.random.default_rng(0).integers(0, 3, 100)
    results = []
    for variant in ("cuda_emulated_fused", "reference"):
        kept = [np.abs(draw("size", 100)), draw("total", 100, 37), draw("average")]
        kept = [array.astype(means) for array in kept]
        moved = codes.copy()
        with use_kernels(running_means=variant):
            tinyvq_kernels.running_means(
                *(sums, counts, *kept, moved if moves else None), rows=99, decay=0.97
            )
        results.append((*kept, moved))
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)
    assert (results[0][-1] == codes).all(axis=1).sum() == (
        (counts == 0).sum() if moves else 100
    )


WRONG: list[tuple[str, Any, type[Exception], str]] = [
    ("counts", np.zeros(4, np.int32), TypeError, "counts must be int64"),
    ("size", np.zeros(4, np.float32), TypeError, "dtypes differ"),
    ("codes", np.zeros((4, 3)), TypeError, "dtypes differ"),
    ("total", np.zeros((4, 2)), ValueError, r"total must have shape \(4, 3\)"),
    ("average", np.zeros(1), ValueError, r"average must have shape \(\)"),
    ("total", np.zeros((3, 4)).T, ValueError, "total must be C-contiguous"),
]


@pytest.mark.parametrize(("name", "wrong", "error", "message"), WRONG)
def test_running_means_refuse_what_they_cannot_write(
    name: str, wrong: Any, error: type[Exception], message: str
) -> None:
    arrays = {
        "sums": np.zeros((4, 3), np.float32),
        "counts": np.zeros(4, np.int64),
        "size": np.zeros(4),
        "total": np.zeros((4, 3)),
        "average": np.zeros(()),
        "codes": np.zeros((4, 3), np.float32),
    }
    tinyvq_kernels.running_means(*arrays.values(), rows=0, decay=0.9)
    arrays[name] = wrong
    with pytest.raises(error, match=message):
        tinyvq_kernels.running_means(*arrays.values(), rows=0, decay=0.9)


@pytest.mark.parametrize("depth", [1, 63, 64, 65, 200])
def test_chains_of_starts_are_never_cut(depth: int) -> None:
    """Also where a chain is walked in chunks of 64: the bits that the CPU makes."""
    codes = draw("codes", 70, depth).astype(np.float32)
    call = search._begin(codes, codes)
    expected = np.empty(70, np.float32)
    code_starts(codes.reshape(-1), 70, depth, expected)
    np.testing.assert_array_equal(call.starts, expected)
    top, longest = call.top.view(np.float64)
    assert (top, longest) == (np.abs(codes).max(), -2 * expected.min())
