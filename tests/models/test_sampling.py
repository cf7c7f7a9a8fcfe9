"""Drawing codes: the distribution, its filters, and what a draw depends on."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.prior_examples import CODES, NAMES, Array, codes, labels, logits, make

from tinyvq.models import Prior, filtered_probabilities, sample_codes
from tinyvq.models._sampling import draw
from tinyvq.rng import Stream

each_prior = pytest.mark.parametrize("name", NAMES)

U64 = 2.0**-53
LAST = 1 - U64  # the largest number that a stream draws


def logs(*probabilities: float) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities))


def close(found: Array, *expected: float) -> None:
    """Hold probabilities of a few codes to what they should be: some roundings each."""
    np.testing.assert_allclose(found, expected, rtol=32 * U64, atol=0)


# The filters.


def test_without_filters_the_probabilities_are_the_softmax() -> None:
    close(filtered_probabilities(logs(0.5, 0.3, 0.2) + 7), 0.5, 0.3, 0.2)
    assert filtered_probabilities(np.zeros(3, np.float32)).dtype == np.float64


def test_the_temperature_divides_the_logits() -> None:
    p = logs(0.5, 0.3, 0.2)
    close(filtered_probabilities(p, 0.5), 25 / 38, 9 / 38, 4 / 38)
    roots = [math.sqrt(q) for q in (0.5, 0.3, 0.2)]
    close(filtered_probabilities(p, 2.0), *(root / sum(roots) for root in roots))


def test_at_temperature_0_the_likeliest_is_certain_of_alike_ones_the_first() -> None:
    table = np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 5.0]])
    for filters in ({}, {"top_k": 2}, {"top_p": 0.9}):
        found = filtered_probabilities(table, 0.0, **filters)
        assert found.tolist() == [[0, 1, 0], [1, 0, 0]]
        # A temperature at which all differences are infinite is no other than 0.
        tiny = filtered_probabilities(table[:1], 5e-324, **filters)
        assert tiny.tolist() == [[0, 1, 0]]


def test_top_k_keeps_the_k_likeliest() -> None:
    p = logs(0.1, 0.4, 0.2, 0.3)
    close(filtered_probabilities(p, top_k=2), 0, 4 / 7, 0, 3 / 7)
    close(filtered_probabilities(p, top_k=1), 0, 1, 0, 0)
    for k in (4, 5, 100):
        close(filtered_probabilities(p, top_k=k), 0.1, 0.4, 0.2, 0.3)


def test_top_k_keeps_no_more_than_k_of_alike_ones_the_first() -> None:
    p = logs(0.2, 0.3, 0.2, 0.2, 0.1)
    close(filtered_probabilities(p, top_k=3), 2 / 7, 3 / 7, 2 / 7, 0, 0)


def test_top_p_keeps_the_fewest_that_add_up_to_p_and_at_least_one() -> None:
    p = logs(0.125, 0.5, 0.125, 0.25)
    close(filtered_probabilities(p, top_p=1e-300), 0, 1, 0, 0)
    close(filtered_probabilities(p, top_p=0.49), 0, 1, 0, 0)
    close(filtered_probabilities(p, top_p=0.51), 0, 2 / 3, 0, 1 / 3)
    close(filtered_probabilities(p, top_p=0.74), 0, 2 / 3, 0, 1 / 3)
    close(filtered_probabilities(p, top_p=0.76), 1 / 7, 4 / 7, 0, 2 / 7)
    close(filtered_probabilities(p, top_p=0.88), 0.125, 0.5, 0.125, 0.25)


def test_top_p_that_is_reached_exactly_takes_no_more() -> None:
    assert filtered_probabilities(np.zeros(2), top_p=0.5).tolist() == [1, 0]


def test_top_p_of_1_keeps_the_unlikeliest() -> None:
    """Its probability is lost in the sum of the others, and yet it may be drawn."""
    p = np.array([0.0, -60.0])
    assert filtered_probabilities(p, top_p=1.0)[1] > 0
    assert filtered_probabilities(p, top_p=LAST)[1] == 0


def test_filters_come_in_the_usual_order_temperature_then_k_then_p() -> None:
    p = logs(0.4, 0.3, 0.2, 0.1)
    # Of the first two, 4/7 and 3/7, one reaches 0.5; of all four, it takes two.
    close(filtered_probabilities(p, top_k=2, top_p=0.5), 1, 0, 0, 0)
    close(filtered_probabilities(p, top_p=0.5), 4 / 7, 3 / 7, 0, 0)
    # At 1/2 the first has 16/30, and reaches 0.5 alone.
    close(filtered_probabilities(p, 0.5, top_p=0.5), 1, 0, 0, 0)


@given(
    m=st.integers(1, 9),
    temperature=st.sampled_from([0.25, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 10),
    top_p=st.none() | st.floats(0.01, 1.0),
    ties=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_filters_are_those_of_a_loop(
    m: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    ties: bool,
    seed: int,
) -> None:
    table = Stream(seed).normal((3, m))
    table = np.round(table) if ties else table
    before = table.copy()
    found = filtered_probabilities(table, temperature, top_k, top_p)
    np.testing.assert_array_equal(table, before)
    for row, mine in zip(table, found, strict=True):
        p = [math.exp(x / temperature) for x in row]
        ranked = sorted(range(m), key=lambda i: (-p[i], i))[:top_k]
        whole, reached, kept = sum(p[i] for i in ranked), 0.0, []
        for i in ranked:
            if top_p is not None and reached / whole >= top_p:
                break
            # Where p falls on a sum to a rounding, either answer is right.
            if top_p is not None and abs(reached / whole - top_p) < 1e-12:
                return
            kept.append(i)
            reached += p[i]
        expected = [p[i] / reached if i in kept else 0.0 for i in range(m)]
        # exp of up to 20 has a relative error of 20 roundings, a sum of m one of m.
        np.testing.assert_allclose(mine, expected, rtol=64 * U64, atol=0)


def test_minus_infinity_is_a_probability_of_0() -> None:
    p = logs(0.25, 0.0, 0.75)
    for filters in ({}, {"top_k": 3}, {"top_p": 1.0}, {"top_p": LAST}):
        close(filtered_probabilities(p, **filters), 0.25, 0, 0.75)


# The draw.


def test_a_draw_is_the_inverse_of_the_distribution_function() -> None:
    p = np.array([0.25, 0.5, 0.25])
    numbers = [0.0, 0.25 - U64, 0.25, 0.75 - U64, 0.75, LAST]
    found = draw(np.tile(p, (6, 1)), np.array(numbers))
    assert found.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.dtype == np.int64


@pytest.mark.parametrize("p", [[0, 1, 0], [0, 0.1, 0], [0, 3e-320, 0]])
def test_what_has_probability_0_is_never_drawn(p: list[float]) -> None:
    found = draw(np.array([p, p, p]), np.array([0.0, 0.5, LAST]))
    assert found.tolist() == [1, 1, 1]


def test_a_sum_that_rounds_below_1_still_has_a_last_code() -> None:
    p = np.full(10, 0.1)
    assert np.cumsum(p)[-1] < 1
    assert draw(p, np.array(LAST)).tolist() == 9


def exact(prior: Prior, label: Array | None, **filters: Any) -> Array:
    """Probabilities of all grids of two codes (M,M), the first code first."""
    m = prior.num_codes
    grids = np.stack(np.indices((m, m)), axis=-1).reshape(m * m, 2)
    chosen = None if label is None else np.repeat(label, m * m)
    p = filtered_probabilities(logits(prior, grids, chosen), **filters)  # (M²,2,M)
    rows = np.arange(m * m)
    joint = p[rows, 0, grids[:, 0]] * p[rows, 1, grids[:, 1]]
    return joint.reshape(m, m)


def chi_square(counts: Array, p: Array) -> float:
    """Compare counts with probabilities, over what can happen at all."""
    n, possible = counts.sum(), p > 0
    assert not counts[~possible].any()
    expected = n * p[possible]
    assert expected.min() > 5  # or the statistic is no chi-square
    return float((np.square(counts[possible] - expected) / expected).sum())


def bound(p: Array) -> float:
    """What a chi-square exceeds with a chance of at most e⁻¹⁴, below 1 in a million.

    f + 2√(fx) + 2x at f free cells and x = 14 (Laurent and Massart, 2000, lemma 1).
    """
    free = np.count_nonzero(p) - 1
    return free + 2 * math.sqrt(14 * free) + 28


@each_prior
@pytest.mark.parametrize("grid", [(1, 2), (2, 1)])
@pytest.mark.parametrize(
    "filters", [{}, {"temperature": 2.0}, {"top_k": 2}, {"top_p": 0.8}], ids=str
)
def test_grids_come_as_often_as_their_probability_says(
    name: str, grid: tuple[int, int], filters: dict[str, Any]
) -> None:
    prior = make(name, grid, num_codes=3, num_classes=2)
    with prior.head.weight.mutate() as weight:
        weight *= 0.5  # no grid so rare that it would not be seen
    counts = np.zeros((3, 3))
    chosen = np.ones(4500, np.int64)
    for first, second in sample_codes(prior, 4500, chosen, seed=1, **filters).reshape(
        -1, 2
    ):
        counts[first, second] += 1
    p = exact(prior, np.array(1), **filters)
    assert chi_square(counts, p) < bound(p)
    # And not as those of the other label.
    other = exact(prior, np.array(0))
    assert (other > 0).all()
    assert chi_square(counts, other) > bound(other)


# What a draw depends on.


@each_prior
@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_grid_does_not_depend_on_the_batch_nor_on_the_others(
    name: str, num_classes: int
) -> None:
    prior, y = make(name, num_classes=num_classes), labels(9, num_classes)
    drawn = sample_codes(prior, 9, y, seed=3)
    assert drawn.shape == (9, 3, 4)
    assert drawn.dtype == np.int64
    assert len(np.unique(drawn.reshape(9, -1), axis=0)) == 9
    for batch in (1, 4, 9, 100):
        again = sample_codes(prior, 9, y, seed=3, batch=batch)
        np.testing.assert_array_equal(again, drawn)
    fewer = sample_codes(prior, 5, None if y is None else y[:5], seed=3)
    np.testing.assert_array_equal(fewer, drawn[:5])


@each_prior
def test_another_seed_and_another_label_draw_other_grids(name: str) -> None:
    prior, y = make(name, num_classes=3), np.zeros(6, np.int64)
    drawn = sample_codes(prior, 6, y, seed=3)
    assert (sample_codes(prior, 6, y, seed=4) != drawn).any(axis=(1, 2)).all()
    other = sample_codes(prior, 6, np.array([0, 0, 0, 0, 0, 1]), seed=3)
    np.testing.assert_array_equal(other[:5], drawn[:5])
    assert (other[5] != drawn[5]).any()


@each_prior
def test_at_temperature_0_each_code_is_the_likeliest_after_those_before(
    name: str,
) -> None:
    prior = make(name)
    drawn = sample_codes(prior, 2, seed=3, temperature=0.0)
    likeliest = logits(prior, drawn).argmax(axis=-1)
    np.testing.assert_array_equal(drawn.reshape(2, -1), likeliest)
    np.testing.assert_array_equal(drawn, sample_codes(prior, 2, seed=9, top_k=1))


# Completing what is given.


@each_prior
@pytest.mark.parametrize("positions", [0, 1, 4, 7, 11, 12])
def test_completing_a_grid_of_its_own_draws_it_again(name: str, positions: int) -> None:
    prior, y = make(name, num_classes=3), labels(5, 3)
    drawn = sample_codes(prior, 5, y, seed=3)
    given = drawn.copy()
    given.reshape(5, 12)[:, positions:] = -1  # never looked at
    again = sample_codes(
        prior, 5, y, seed=3, batch=2, given=given, given_positions=positions
    )
    np.testing.assert_array_equal(again, drawn)


@each_prior
def test_what_is_given_is_kept_and_the_rest_depends_on_it(name: str) -> None:
    prior, upper = make(name), codes(5, (3, 4))
    given = upper.copy()
    first = sample_codes(prior, 5, seed=3, given=given, given_positions=8)
    np.testing.assert_array_equal(given, upper)
    np.testing.assert_array_equal(first[:, :2], upper[:, :2])
    given[:, 0] = (given[:, 0] + 1) % CODES
    other = sample_codes(prior, 5, seed=3, given=given, given_positions=8)
    assert (first[:, 2] != other[:, 2]).any()


def test_progress_is_told_code_by_code() -> None:
    told: list[tuple[int, int]] = []
    prior = make("transformer", (1, 3))
    sample_codes(prior, 5, seed=0, batch=3, on_progress=lambda *now: told.append(now))
    assert told == [(n, 15) for n in (3, 6, 9, 11, 13, 15)]
