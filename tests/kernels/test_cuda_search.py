"""Nearest-code search by CUDA kernels, emulated: the CPU's answer on every row."""

import numpy as np
import pytest
import tinyvq_kernels
from emulated import needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from kernel_case import Array, draw
from tinyvq_kernels import use_kernels
from tinyvq_kernels._cuda import deferred_checks
from tinyvq_kernels.search import gpu

pytestmark = needs_compiler

RUNGS = [
    kernel.variant
    for kernel in tinyvq_kernels.kernels("nearest_code")
    if kernel.variant.startswith("cuda_emulated")
]
every_rung = pytest.mark.parametrize("rung", RUNGS)
# Around tiles of 64, 128 and 1024 rows, of 64 and 128 codes, chunks of 4, 8 and 16.
SIZES = [
    *((n, 130, 8) for n in (1, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025)),
    *((70, m, 24) for m in (1, 63, 64, 65, 127, 128, 129, 700)),
    *((66, 67, depth) for depth in (1, 3, 4, 5, 8, 9, 12, 15, 16, 17, 20, 33)),
]


def search(rung: str, z: Array, codes: Array) -> Array:
    with use_kernels(nearest_code=rung):
        return np.asarray(tinyvq_kernels.nearest_code(z, codes))


@every_rung
def test_equals_the_cpu_on_every_row(rung: str) -> None:
    for n, m, depth in SIZES:
        z = draw("z", n, depth).astype(np.float32)
        codes = draw("codes", m, depth).astype(np.float32)
        expected = tinyvq_kernels.nearest_code(z, codes)
        np.testing.assert_array_equal(search(rung, z, codes), expected)


@every_rung
@pytest.mark.parametrize("size", [1e-18, 1e-22, 1e-23, 1e-24, 1e-30])
def test_codes_whose_squares_vanish(rung: str, size: float) -> None:
    """In fives that TF32 does not tell apart: what is sure must not be taken for so."""
    z = draw("z", 500, 8).astype(np.float32)
    fives = draw("fives", 13, 8).repeat(5, axis=0)[:64] + 1e-4 * draw("codes", 64, 8)
    codes = (size * fives).astype(np.float32)
    expected = tinyvq_kernels.nearest_code(z, codes)
    np.testing.assert_array_equal(search(rung, z, codes), expected)


@every_rung
def test_large_tiles_equal_the_cpu(rung: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ENOUGH", 4)
    for n, m, depth in [(257, 129, 20), (129, 385, 19), (300, 300, 64)]:
        z = draw("z", n, depth).astype(np.float32)
        codes = draw("codes", m, depth).astype(np.float32)
        expected = tinyvq_kernels.nearest_code(z, codes)
        np.testing.assert_array_equal(search(rung, z, codes), expected)


@every_rung
@given(
    seed=st.integers(0, 99),
    n=st.integers(1, 70),
    m=st.integers(1, 200),
    depth=st.integers(1, 20),
)
def test_ties_go_to_the_lowest_code(
    rung: str, seed: int, n: int, m: int, depth: int
) -> None:
    """Of small integers most scores are exact and many are equal."""
    rng = np.random.default_rng(seed)
    z = rng.integers(-1, 2, (n, depth)).astype(np.float32)
    codes = rng.integers(-1, 2, (m, depth)).astype(np.float32)
    scores = z @ codes.T - (codes**2).sum(axis=1) / 2
    np.testing.assert_array_equal(search(rung, z, codes), scores.argmax(axis=1))


@every_rung
def test_zeros_of_either_sign_are_equal(rung: str) -> None:
    # Eight values: a chain that is filled up with zeros never ends in -0.
    z = np.tile(np.array([[1, -1], [-1, 1]], np.float32), (1, 4))
    codes = np.tile(np.array([0.0, -0.0], np.float32), (300, 4))  # one score is 0,
    codes[0] = [-0.0, 0.0] * 4  # the other -0; of the first code the other way round
    np.testing.assert_array_equal(search(rung, z, codes), [0, 0])


LARGEST = float(np.finfo(np.float32).max)
REFUSED = [
    ("z", 3, np.nan, "row 3 of z has NaN or inf"),
    ("z", 0, -np.inf, "row 0 of z has NaN or inf"),
    ("codes", 70, np.nan, "row 70 of codes has NaN or inf"),
    ("codes", 2, np.inf, "row 2 of codes has NaN or inf"),
    ("codes", 5, 1e19, "row 5 of codes is too large"),
    ("z", 4, -LARGEST, "row 4 of z is too large"),
]


@every_rung
@pytest.mark.parametrize("depth", [8, 20])
@pytest.mark.parametrize(("name", "row", "value", "told"), REFUSED)
def test_what_is_not_finite_is_refused(
    rung: str, depth: int, name: str, row: int, value: float, told: str
) -> None:
    arrays = {"z": draw("z", 5, depth), "codes": draw("codes", 71, depth)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    good = search(rung, **arrays)
    arrays[name][row, depth - 1] = value
    with pytest.raises(ValueError, match=told):
        search(rung, **arrays)
    with deferred_checks() as checks:
        search(rung, **arrays)
        with pytest.raises(ValueError, match="nearest_code"):
            checks.raise_if_flagged()
        arrays[name][row, depth - 1] = 0
        assert search(rung, **arrays).shape == good.shape
        checks.raise_if_flagged()


@every_rung
def test_the_largest_that_is_allowed(rung: str) -> None:
    """Values at the limit, found by halving: both backends draw it at the same one."""
    codes = np.full((1, 4), 3.0, np.float32)
    low, high = np.float32(1), np.float32(LARGEST)
    for _ in range(300):
        middle = np.float32(low / 2 + high / 2)
        if middle in (low, high):
            break
        try:
            tinyvq_kernels.nearest_code(np.full((1, 4), middle), codes)
            low = middle
        except ValueError:
            high = middle
    assert search(rung, np.full((1, 4), low), codes) == [0]
    with pytest.raises(ValueError, match="too large"):
        search(rung, np.full((1, 4), high), codes)
