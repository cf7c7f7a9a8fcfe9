"""Baselines of priors: proper distributions that learn what counting can."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq.errors import ConfigError, DataError, DTypeError, ShapeError
from tinyvq.metrics import left_above_nats, position_histogram_nats
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
Model = Callable[[Array, Array, int], float]
U64 = 2.0**-53

MODELS: tuple[Model, ...] = (position_histogram_nats, left_above_nats)
both = pytest.mark.parametrize("model", MODELS)

NOISE = 0.2  # of a source: the share of tokens that are drawn blindly


def noise(seed: int, shape: tuple[int, int, int], num_codes: int) -> Array:
    return Stream(seed, "codes").integers(num_codes, shape)


def grids_where(
    rule: Callable[[int, int, Array, Array], Array], seed: int, n: int, num_codes: int
) -> Array:
    """Grids (n, 5, 5) of codes = rule(row, column, left, above), but for the noise."""
    grids = noise(seed, (n, 5, 5), num_codes)
    blind = Stream(seed, "blind").uniform((n, 5, 5)) < NOISE
    outside = np.zeros(n, np.int64)
    for p, q in itertools.product(range(5), range(5)):
        left = grids[:, p, q - 1] if q else outside
        above = grids[:, p - 1, q] if p else outside
        ruled = rule(p, q, left, above) % num_codes
        grids[:, p, q] = np.where(blind[:, p, q], grids[:, p, q], ruled)
    return grids


def entropy_of_rules(num_codes: int) -> float:
    """Nats per token of such grids: one likely code, the rest alike."""
    rest = NOISE / num_codes
    likely = 1 - NOISE + rest
    return -likely * math.log(likely) - (num_codes - 1) * rest * math.log(rest)


# Both are distributions.


@both
@pytest.mark.parametrize("seed", [0, 1])
def test_the_probabilities_of_all_grids_add_up_to_1(model: Model, seed: int) -> None:
    """Token by token they can only where each sees nothing that comes after it."""
    # Few codes and fewer grids: contexts seen often, once, and never.
    skewed = noise(seed, (9, 2, 2), 3) * noise(seed + 9, (9, 2, 2), 2)
    train = np.concatenate([skewed, noise(seed, (3, 2, 2), 3)])
    total = 0.0
    for codes in itertools.product(range(3), repeat=4):
        grid = np.array(codes).reshape(1, 2, 2)
        total += math.exp(-4 * model(train, grid, 3))
    # A token's probability takes 6 blends of half a dozen roundings; its logarithm, a
    # mean of four, and an exponential add a few more.
    assert total == pytest.approx(1.0, rel=0, abs=(4 * (6 * 6 + 10) + 81) * U64)


@both
def test_codes_that_were_never_seen_have_a_finite_cost(model: Model) -> None:
    train = np.zeros((20, 3, 3), np.int64)
    test = np.full((2, 3, 3), 511)
    cost = model(train, test, 512)
    assert math.log(512) < cost < 50
    assert model(train, train[:2], 512) < 0.01


@both
def test_the_test_grids_are_only_measured(model: Model) -> None:
    train = noise(0, (50, 4, 3), 7)
    one, two = noise(1, (5, 4, 3), 7), noise(2, (15, 4, 3), 7)
    together = model(train, np.concatenate([one, two]), 7)
    apart = 0.25 * model(train, one, 7) + 0.75 * model(train, two, 7)
    # Means of up to 240 terms below log 7·100.
    assert together == pytest.approx(apart, rel=0, abs=2 * 240 * 7 * U64)


@both
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64"])
def test_any_integer_type_and_layout(model: Model, dtype: str) -> None:
    train, test = noise(0, (30, 4, 6), 200), noise(1, (8, 4, 6), 200)
    expected = model(train, test, 200)
    narrow = np.asfortranarray(train.astype(dtype))
    assert model(narrow, test.astype(dtype), 200) == expected


# What each of them learns.


@pytest.mark.parametrize("num_codes", [4, 64])
def test_codes_drawn_alike_cost_their_entropy(num_codes: int) -> None:
    train, test = noise(0, (400, 5, 5), num_codes), noise(1, (400, 5, 5), num_codes)
    for model in MODELS:
        cost = model(train, test, num_codes)
        # Neither beats log M by more than the chance in 10,000 tokens, nor pays for
        # what it counts: smoothing makes a histogram flat where it finds nothing.
        assert cost == pytest.approx(math.log(num_codes), abs=0.02)


def test_a_histogram_knows_what_stands_where() -> None:

    def rule(p: int, q: int, left: Array, above: Array) -> Array:
        return np.full_like(left, 5 * p + q)

    train, test = grids_where(rule, 0, 800, 32), grids_where(rule, 1, 400, 32)
    truth = entropy_of_rules(32)
    for model in MODELS:
        # 31 numbers a position, learned from 800: (M - 1)/2N nats more; and the
        # deviation of 10,000 costs, of log(0.8/0.00625)·√(0.2·0.8)/100 = 0.019.
        cost = model(train, test, 32)
        assert cost == pytest.approx(truth, abs=31 / 1600 + 3 * 0.019)


RULES: dict[str, Callable[[int, int, Array, Array], Array]] = {
    "left": lambda p, q, left, above: 3 * left + 1,
    "above": lambda p, q, left, above: 3 * above + 1,
    "left here": lambda p, q, left, above: left + 5 * p + 3 * q,
    "above here": lambda p, q, left, above: above + 5 * p + 3 * q,
    "left and above": lambda p, q, left, above: left + 3 * above + 1,
}


@pytest.mark.parametrize("rule", RULES)
def test_counts_of_neighbours_know_each_rule(rule: str) -> None:
    """One rule for each level: a level left out, or not found, would cost log M."""
    codes = 16
    n, contexts = {
        **{"left": (200, 16), "above": (200, 16)},  # too few to learn each place apart
        **{"left here": (1500, 25 * 16), "above here": (1500, 25 * 16)},
        **{"left and above": (1500, 16 * 16)},
    }[rule]
    train = grids_where(RULES[rule], 0, n, codes)
    test = grids_where(RULES[rule], 1, 400, codes)
    truth = entropy_of_rules(codes)
    # 15 numbers for each context, (M - 1)/2 nats a context if learned from nothing; and
    # three deviations of the mean of 10,000 costs, 0.017.
    allowed = 15 / 2 * contexts / (25 * n) + 3 * 0.017
    found = left_above_nats(train, test, codes)
    assert found == pytest.approx(truth, abs=allowed)
    # The first row or column has no neighbours to go by, and its noise spreads.
    assert position_histogram_nats(train, test, codes) > truth + 0.4


def test_more_grids_never_make_the_baseline_much_worse() -> None:
    rule = RULES["left and above"]
    test = grids_where(rule, 1, 200, 16)
    costs = [
        left_above_nats(grids_where(rule, 0, n, 16), test, 16)
        for n in (2, 20, 200, 2000)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] < math.log(16) + 0.5  # two grids teach little, and harm little


def test_the_constant_suits_the_counts() -> None:
    """Chosen by what is held back: large for noise, small for what never changes."""
    flat = noise(0, (30, 2, 2), 50)
    # With a constant of 1, the histogram of 30 grids would cost about log 50 + 0.2.
    assert position_histogram_nats(flat, noise(1, (200, 2, 2), 50), 50) < math.log(50.8)
    fixed = np.broadcast_to(np.arange(4).reshape(2, 2), (30, 2, 2))
    # With a constant of 1, log(80/31).
    assert position_histogram_nats(fixed, fixed, 50) < 0.001


def test_it_is_the_histogram_of_its_position_with_a_constant() -> None:
    train, test = noise(0, (40, 2, 3), 5) ** 2 // 4, noise(1, (7, 2, 3), 5) ** 2 // 4
    found = position_histogram_nats(train, test, 5)
    costs = []
    for power in range(-6, 15):
        constant = 2.0**power / 5
        terms = [
            -math.log(
                (sum(g[p, q] == grid[p, q] for g in train) + constant)
                / (40 + 5 * constant)
            )
            for grid in test
            for p, q in itertools.product(range(2), range(3))
        ]
        costs.append(math.fsum(terms) / len(terms))
    # 42 terms below log(40·320), added in another order.
    nearest = min(costs, key=lambda cost: abs(cost - found))
    assert found == pytest.approx(nearest, rel=0, abs=(42 + 8) * 12 * U64)


# What is refused.


@both
@pytest.mark.parametrize("shape", [(4, 3), (0, 3, 3), (4, 3, 3, 1), (4, 0, 3)])
def test_what_is_no_set_of_grids_is_refused(
    model: Model, shape: tuple[int, ...]
) -> None:
    good, bad = np.zeros((4, 3, 3), int), np.zeros(shape, int)
    for train, test, name in ((bad, good, "train"), (good, bad, "test")):
        with pytest.raises(ShapeError, match=rf"grids \(N, P, Q\) .* got {name} of"):
            model(train, test, 8)


@both
def test_grids_of_two_sizes_are_refused(model: Model) -> None:
    message = r"one size, got train \(4, 3, 3\), test \(4, 3, 4\)"
    with pytest.raises(ShapeError, match=message):
        model(np.zeros((4, 3, 3), int), np.zeros((4, 3, 4), int), 8)


@both
@pytest.mark.parametrize("dtype", ["float64", "bool"])
def test_codes_that_are_not_integers_are_refused(model: Model, dtype: str) -> None:
    good, bad = np.zeros((4, 3, 3), int), np.zeros((4, 3, 3), dtype)
    for train, test, name in ((bad, good, "train"), (good, bad, "test")):
        with pytest.raises(DTypeError, match=f"integer codes, got {name} of {dtype}"):
            model(train, test, 8)


@both
@pytest.mark.parametrize(("code", "low", "high"), [(8, 0, 8), (-1, -1, 0)])
def test_codes_outside_the_codebook_are_refused(
    model: Model, code: int, low: int, high: int
) -> None:
    good, bad = np.zeros((4, 3, 3), int), np.zeros((4, 3, 3), int)
    bad[2, 1, 0] = code
    for train, test, name in ((bad, good, "train"), (good, bad, "test")):
        message = rf"codes in 0 \.\. 7, got {name} in {low} \.\. {high}"
        with pytest.raises(DataError, match=message):
            model(train, test, 8)


@both
def test_a_single_training_grid_is_refused(model: Model) -> None:
    grid = np.zeros((1, 3, 3), int)
    with pytest.raises(DataError, match="at least 2 training grids"):
        model(grid, grid, 8)


@both
def test_codebooks_whose_triples_cannot_be_numbered_are_refused(model: Model) -> None:
    grids = np.zeros((4, 3, 3), int)
    with pytest.raises(ConfigError, match="3000000 codes are too many"):
        model(grids, grids, 3_000_000)
    assert model(grids, grids, 1_000_000) < 0.1
