"""Which form of a kernel runs where: what the cases are meant to reach, they reach."""

import numpy as np
import pytest
import tinyvq_kernels
from cases import winograd_geometries
from decoder_cases import NAMES, shapes
from kernel_case import Array, draw
from tinyvq_kernels import DecoderWeights, _memory, use_kernels
from tinyvq_kernels.convolution import fastest, winograd, winograd_weights


def test_winograds_cases_take_winograds_form(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def spy(module: object, name: str) -> None:
        real = getattr(module, name)

        def noted(*arguments: object) -> object:
            taken.append(name)
            return real(*arguments)

        monkeypatch.setattr(module, name, noted)

    names = "conv2d", "conv2d_input_grad", "conv2d_weight_grad"
    for module, name in zip((winograd, winograd, winograd_weights), names, strict=True):
        spy(module, name)
    reached = set()
    for g in winograd_geometries():
        if not g.fits or g.n > 3 or g.h > 11:
            continue
        taken.clear()
        x, w = np.zeros((g.n, g.h, g.w, g.c), "f"), np.zeros((g.r, g.s, g.c, g.k), "f")
        y = fastest.conv2d(x, w, None, g.stride, g.padding, 1)
        fastest.conv2d_input_grad(y, w, (g.h, g.w), None, g.stride, g.padding, 1)
        fastest.conv2d_weight_grad(x, y, (g.r, g.s), g.stride, g.padding, 1)
        assert taken == list(names), g
        reached.add((g.r, g.stride))
    assert reached == {(2, 1), (3, 1), (4, 2), (6, 2), (9, 3)}


def test_the_weight_gradient_of_no_image_is_0() -> None:
    x = np.ones((0, 8, 8, 32), np.float32)
    for _ in range(3):
        np.full(10**6, np.nan, np.float32)  # what memory may hold
        gradient = tinyvq_kernels.conv2d_weight_grad(x, x, (3, 3), padding=1)
        np.testing.assert_array_equal(gradient, np.zeros((3, 3, 32, 32)))


def search(variant: str, z: Array, codes: Array) -> Array:
    with use_kernels(nearest_code=variant):
        return np.asarray(tinyvq_kernels.nearest_code(z, codes))


@pytest.mark.parametrize("kind", ["normal", "whole", "repeated"])
@pytest.mark.parametrize("m", [1200, 1201, 2500])
def test_all_searches_on_a_cpu_choose_the_same_codes(m: int, kind: str) -> None:
    """Of few codes and many, in one chunk and in several, with ties and without."""
    variants = [
        kernel.variant
        for kernel in tinyvq_kernels.kernels("nearest_code")
        if kernel.backend == "cpu" and "emulated" not in kernel.variant
    ]
    assert len(variants) > 2
    z, codes = draw("z", 400, 24), draw("codes", m, 24)
    if kind == "whole":  # scores are exact, and many are equal
        z, codes = np.rint(z), np.rint(codes)
    elif kind == "repeated":
        codes = codes[np.arange(m) // 3]
    arrays = z.astype(np.float32), codes.astype(np.float32)
    expected = search("reference", *arrays)
    for variant in variants:
        np.testing.assert_array_equal(search(variant, *arrays), expected, variant)


@pytest.mark.parametrize("newer", [True, False])
def test_freed_memory_is_kept_whatever_the_c_library(
    newer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older ones take no threshold that large: there nothing may be mapped at all."""
    told: dict[int, int] = {}

    class Library:
        @staticmethod
        def mallopt(name: int, value: int) -> int:
            if name == _memory.MMAP_THRESHOLD and not newer:
                return 0
            told[name] = value
            return 1

    monkeypatch.setattr(_memory.sys, "platform", "linux")
    monkeypatch.setattr(_memory.ctypes, "CDLL", lambda name: Library)
    assert _memory.keep_freed_memory()
    assert told.get(_memory.MMAP_MAX) == (None if newer else 0)
    assert told[_memory.ARENA_MAX] == 1
    assert told[_memory.TRIM_THRESHOLD] == 1 << 30


@pytest.mark.parametrize(("rows", "position"), [(2, 4), (2, -1), (1, 0), (3, 0)])
def test_a_step_that_has_no_place_is_refused(rows: int, position: int) -> None:
    arrays = [np.ones(shape, np.float32) for shape in shapes(1, 8, 5)]
    kept = DecoderWeights(**dict(zip(NAMES, arrays, strict=True)), eps=1e-5)
    decoder = tinyvq_kernels.decoder(kept, 2, 2, 4)
    decoder.step(np.ones((2, 8), np.float32), 3)
    with pytest.raises(ValueError, match=r"a step takes x \(2, 8\) and a position in"):
        decoder.step(np.ones((rows, 8), np.float32), position)
