"""Coverage and density, held against their definition and known cases."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.errors import ConfigError, DataError, ShapeError
from tinyvq.metrics import coverage_and_density


def by_definition(real: Any, made: Any, k: int) -> tuple[float, float]:
    """Eq. 3 and 4 of the source, distance by distance."""
    covered, balls = 0, 0
    for i, x in enumerate(real):
        others = sorted(
            np.linalg.norm(x - other) for j, other in enumerate(real) if j != i
        )
        inside = [np.linalg.norm(x - y) < others[k - 1] for y in made]
        covered += any(inside)
        balls += sum(inside)
    return covered / len(real), balls / (k * len(made))


@given(st.integers(0, 2**32), st.integers(7, 40), st.integers(1, 40), st.integers(1, 6))
def test_they_are_what_the_definition_says(seed: int, n: int, m: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    real, made = rng.standard_normal((n, 3)), rng.standard_normal((m, 3)) + 100.0
    made -= 99.5
    assert coverage_and_density(real, made, k) == by_definition(real, made, k)


def test_more_rows_than_are_held_at_once() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.standard_normal((300, 2)), rng.standard_normal((70, 2))
    assert coverage_and_density(real, made, 3) == by_definition(real, made, 3)


def test_a_generator_that_repeats_itself_covers_little() -> None:
    rng = np.random.default_rng(0)
    real = rng.standard_normal((500, 8))
    alike = rng.standard_normal((500, 8))
    covered, density = coverage_and_density(real, alike)
    assert covered > 0.9
    assert 0.8 < density < 1.2
    repeated = np.repeat(alike[:1], 500, axis=0)
    assert coverage_and_density(real, repeated)[0] < 0.1
    assert coverage_and_density(real, alike + 50) == (0.0, 0.0)
    assert coverage_and_density(real, real)[0] == 1.0


def test_far_from_the_origin_nothing_cancels() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.standard_normal((100, 4)), rng.standard_normal((100, 4))
    far = coverage_and_density(real + 2.0**24, made + 2.0**24)
    assert far == coverage_and_density(real, made)


def test_an_outlier_costs_the_others_no_digits() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.standard_normal((60, 2)), rng.standard_normal((60, 2))
    real[7] = 1e12
    assert coverage_and_density(real, made, 3) == by_definition(real, made, 3)


@pytest.mark.parametrize(
    ("real", "made", "k", "error", "words"),
    [
        ((5, 2), (5, 3), 1, ShapeError, r"got \(5, 2\), \(5, 3\)"),
        ((5,), (5, 1), 1, ShapeError, "needs real"),
        ((5, 2), (5, 2), 0, ConfigError, "at least 1, got 0"),
        ((5, 2), (5, 2), 5, DataError, "got 5 and 5"),
        ((5, 2), (0, 2), 1, DataError, "got 5 and 0"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    real: Any, made: Any, k: int, error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        coverage_and_density(np.ones(real), np.ones(made), k)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        coverage_and_density(np.full((9, 2), np.nan), np.ones((3, 2)))
