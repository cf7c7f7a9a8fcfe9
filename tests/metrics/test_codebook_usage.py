"""Entropy, perplexity, used and dead codes."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.errors import ConfigError, DataError, DTypeError, ShapeError
from tinyvq.metrics import (
    CodebookUsage,
    batch_perplexity,
    codes_used,
    entropy_bits,
    perplexity,
)
from tinyvq.quantizers import QuantizerStats
from tinyvq.rng import Stream

# Entropies are differences and sums, in two orders, of at most 100 values below
# log(50000) < 11; the exponential makes of that a relative error.
ALLOWED = 4 * 100 * 11 * 2.0**-53
counts_of_codes = st.lists(st.integers(0, 1000), min_size=1, max_size=50).filter(any)


def entropy_of(indices: list[int]) -> float:
    """log n - Σ c·log c / n in nats: from the counts, without any share."""
    n = len(indices)
    terms = [c * math.log(c) for c in Counter(indices).values()]
    return math.log(n) - math.fsum(terms) / n


@given(counts=counts_of_codes)
def test_perplexity_is_the_exponential_of_the_entropy(counts: list[int]) -> None:
    indices = [m for m, count in enumerate(counts) for _ in range(count)]
    nats = entropy_of(indices)
    array = np.array(counts)
    assert entropy_bits(array) == pytest.approx(nats / math.log(2), rel=0, abs=ALLOWED)
    assert perplexity(array) == pytest.approx(math.exp(nats), rel=ALLOWED)
    assert 1 <= perplexity(array) <= len(counts) * (1 + ALLOWED)
    assert codes_used(array) == len(set(indices))


@given(counts=counts_of_codes)
def test_a_quantizers_own_statistics_agree(counts: list[int]) -> None:
    indices = np.repeat(np.arange(len(counts)), counts)
    stats = QuantizerStats(len(counts), np.zeros((len(indices), 1)), indices)
    assert stats.batch_perplexity == batch_perplexity(indices, len(counts))
    assert stats.codes_used == codes_used(np.array(counts))


def test_known_distributions() -> None:
    assert entropy_bits(np.array([7])) == 0.0
    assert math.copysign(1, entropy_bits(np.array([0, 7, 0]))) == 1  # not -0.0
    assert perplexity(np.array([0, 7, 0])) == 1.0
    assert entropy_bits(np.array([3, 3, 3, 3])) == 2.0
    assert perplexity(np.full(512, 5)) == 512.0
    assert entropy_bits(np.array([2, 1, 1, 0])) == 1.5


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
def test_counts_of_any_dtype(dtype: str) -> None:
    counts = np.array([200, 100, 100, 0], dtype)  # the sum does not fit into uint8
    assert entropy_bits(counts) == 1.5


def test_running_averages_of_counts_that_have_faded() -> None:
    """Where an average is above 0 but its share of all is not."""
    counts = np.array([5e-324, 512.0, 512.0])
    with np.errstate(under="ignore"):
        assert entropy_bits(counts) == 1.0


@pytest.mark.parametrize("size", [1, 3, 10, 64, 1000])
def test_a_splits_figures_do_not_depend_on_its_batches(size: int) -> None:
    indices = Stream(0).integers(30, 1000) ** 2 // 10  # uneven, 0 .. 84
    whole, cut = CodebookUsage(100), CodebookUsage(100)
    whole.add(indices)
    parts = [indices[i : i + size] for i in range(0, 1000, size)]
    for part in parts:
        cut.add(part)
    assert cut.perplexity == whole.perplexity
    assert cut.entropy_bits == whole.entropy_bits
    assert (cut.used, cut.dead, cut.total) == (whole.used, whole.dead, 1000)
    assert whole.perplexity == pytest.approx(
        math.exp(entropy_of(indices.tolist())), rel=ALLOWED
    )
    assert whole.used + whole.dead == 100
    assert whole.used == len(set(indices.tolist()))
    # The figure of single batches does: it cannot exceed their size.
    mean = np.mean([batch_perplexity(part, 100) for part in parts])
    if size == 1000:
        assert mean == whole.perplexity
    else:
        assert mean < whole.perplexity - 0.1


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64"])
@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2)])
def test_indices_of_any_shape_and_integer_type(
    shape: tuple[int, ...], dtype: str
) -> None:
    indices = np.arange(12).reshape(shape).astype(dtype) % 5
    usage = CodebookUsage(6)
    usage.add(indices)
    np.testing.assert_array_equal(usage.counts, [3, 3, 2, 2, 2, 0])
    assert (usage.used, usage.dead) == (5, 1)


def test_an_empty_batch_counts_nothing() -> None:
    usage = CodebookUsage(3)
    usage.add(np.zeros((0, 4), np.int64))
    assert (usage.total, usage.used, usage.dead) == (0, 0, 3)


# What is refused.


@pytest.mark.parametrize("dtype", ["float64", "bool"])
def test_indices_that_are_not_integers_are_refused(dtype: str) -> None:
    usage = CodebookUsage(3)
    with pytest.raises(DTypeError, match=f"expected integer indices, got {dtype}"):
        usage.add(np.zeros(4, dtype))
    assert usage.total == 0


@pytest.mark.parametrize("indices", [[0, 3], [-1, 2], [1, 2**40]])
def test_indices_outside_the_codebook_are_refused_and_not_counted(
    indices: list[int],
) -> None:
    usage = CodebookUsage(3)
    low, high = indices
    with pytest.raises(DataError, match=rf"in 0 \.\. 2, got {low} \.\. {high}"):
        usage.add(np.array(indices))
    assert usage.total == 0


@pytest.mark.parametrize("num_codes", [0, -3])
def test_a_codebook_without_codes_is_refused(num_codes: int) -> None:
    with pytest.raises(ConfigError, match=f"num_codes ≥ 1, got {num_codes}"):
        CodebookUsage(num_codes)


def test_nothing_has_no_perplexity() -> None:
    message = "all 3 are zero, so there is no distribution of codes to measure"
    usage = CodebookUsage(3)
    nothing: list[Any] = [
        lambda: usage.perplexity,
        lambda: usage.entropy_bits,
        lambda: perplexity(np.zeros(3)),
        lambda: batch_perplexity(np.zeros(0, np.int64), 3),
    ]
    for figure in nothing:
        with pytest.raises(DataError, match=message):
            figure()
    assert codes_used(np.zeros(3)) == 0


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_counts_that_are_none_are_refused_by_their_code(bad: float) -> None:
    for figure in (entropy_bits, perplexity, codes_used):
        with pytest.raises(DataError, match=f"finite counts ≥ 0, got {bad} for code 2"):
            figure(np.array([1.0, 2.0, bad]))


@pytest.mark.parametrize("shape", [(0,), (2, 3), ()])
def test_counts_are_one_row(shape: tuple[int, ...]) -> None:
    for figure in (entropy_bits, perplexity, codes_used):
        with pytest.raises(ShapeError, match=r"expected shape \(M,\) with M ≥ 1, got"):
            figure(np.ones(shape))
