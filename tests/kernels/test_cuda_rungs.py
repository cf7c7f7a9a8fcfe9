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
from tinyvq_kernels import use_kernels
from tinyvq_kernels._cuda import deferred_checks
from tinyvq_kernels.convolution import gpu as convolution
from tinyvq_kernels.scatter import gpu as scatter

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


@pytest.mark.parametrize("rung", ["plain", "by_code"])
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
    for rung in ("plain", "sorted"):
        with use_kernels(code_sums=f"cuda_emulated_{rung}"):
            sums, counts = tinyvq_kernels.code_sums(z, indices, 400)
        np.testing.assert_array_equal(counts, np.bincount(indices, minlength=400))
        np.testing.assert_allclose(sums, exact, rtol=0, atol=2e-3)
