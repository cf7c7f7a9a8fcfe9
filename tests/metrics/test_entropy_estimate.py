"""The entropy of a source, estimated from few of its codes."""

import math
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.errors import DataError, DTypeError, ShapeError
from tinyvq.metrics import (
    CodebookUsage,
    chao_wang_jost_entropy_bits,
    entropy_bits,
    perplexity,
)
from tinyvq.rng import Stream

CODES = 512
rank = np.arange(1, CODES + 1)
SOURCES = {
    "uniform": np.ones(CODES),
    "half unused": (rank <= CODES // 2).astype(float),
    "zipf 0.5": rank**-0.5,
    "zipf 1": 1.0 / rank,
    "zipf 1.5": rank**-1.5,
}


def usage_of(source: str, size: int, draw: int) -> CodebookUsage:
    weights = SOURCES[source]
    edges = np.cumsum(weights) / weights.sum()
    unit = Stream(draw, source, size).uniform(size)
    usage = CodebookUsage(CODES)
    # The last edge may round to less than 1.
    usage.add(np.minimum(np.searchsorted(edges, unit, side="right"), CODES - 1))
    return usage


@pytest.mark.parametrize("size", [49, 128, 256, 512, 1024, 2048, 8192])
@pytest.mark.parametrize("source", SOURCES)
def test_it_is_closer_to_the_source_than_the_entropy_of_the_sample(
    source: str, size: int
) -> None:
    truth, true_bits = perplexity(SOURCES[source]), entropy_bits(SOURCES[source])
    usages = [usage_of(source, size, draw) for draw in range(20)]
    plain = np.array([usage.perplexity for usage in usages])
    corrected = np.array([usage.corrected_perplexity for usage in usages])
    assert np.abs(corrected - truth).mean() < np.abs(plain - truth).mean()
    assert abs(corrected.mean() - truth) < abs(plain.mean() - truth)
    # In bits as well, where the formula of the first order is its competitor.
    bits = np.array([chao_wang_jost_entropy_bits(usage.counts) for usage in usages])
    miller_madow = np.array(
        [u.entropy_bits + (u.used - 1) / (2 * size) / math.log(2) for u in usages]
    )
    bias = abs(bits.mean() - true_bits)
    assert bias < abs(np.mean([u.entropy_bits for u in usages]) - true_bits)
    if size <= CODES:
        assert bias < abs(miller_madow.mean() - true_bits)


def by_definition(counts: list[int]) -> float:
    """Σ_k Δ_k/k in nats: counted subsets for k < n, the closed form for the rest."""
    n = sum(counts)
    nats = 0.0
    for k in range(1, n):
        # The chance that k of the other n - 1 draws hold none of the same code.
        missed = [c / n * math.comb(n - c, k) / math.comb(n - 1, k) for c in counts]
        nats += math.fsum(missed) / k
    once, twice = counts.count(1), counts.count(2)
    if once == 0:
        return nats
    with localcontext() as context:
        context.prec = 400
        f1, f2 = Decimal(once), Decimal(twice)
        if twice == 0:
            a = 2 / ((n - 1) * (f1 - 1) + 2)
        else:
            a = 2 * f2 / ((n - 1) * f1 + 2 * f2)
        if a == 1:
            return nats
        terms = sum(((1 - a) ** k / k for k in range(1, n)), Decimal(0))
        return nats + float(f1 / n * (1 - a) ** (1 - n) * (-a.ln() - terms))


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_it_is_the_sum_over_chances_of_something_new(counts: list[int]) -> None:
    n = sum(counts)
    # Sums of n ≤ 108 terms, below log(108) < 5 each; the rest's is multiplied by e^8.
    allowed = (n + 20) * 5 * math.exp(8) * 2.0**-53
    found = chao_wang_jost_entropy_bits(np.array(counts)) * math.log(2)
    assert found == pytest.approx(by_definition(counts), rel=0, abs=allowed)


@pytest.mark.parametrize(
    "counts", [[1] * 60, [1] * 60 + [2], [1, 40], [1, 2, 300], [1] + [2] * 80]
)
def test_it_holds_where_much_or_little_is_unseen(counts: list[int]) -> None:
    n = sum(counts)
    allowed = (n + 20) * 6 * math.exp(8) * 2.0**-53
    found = chao_wang_jost_entropy_bits(np.array(counts)) * math.log(2)
    assert found == pytest.approx(by_definition(counts), rel=0, abs=allowed)


@given(counts=st.lists(st.integers(3, 10_000), min_size=1, max_size=20))
def test_a_large_sample_is_moved_by_the_first_order_alone(counts: list[int]) -> None:
    # Nothing was seen just once. ψ(x) = log x - 1/2x - 1/12x² + ε/120x⁴ makes of
    # Σ (c/n)·(ψ(n) - ψ(c)) the entropy, (used - 1)/2n, and less than Σ 1/12nc more.
    array = np.array(counts)
    n = array.sum()
    miller_madow = entropy_bits(array) * math.log(2) + (len(counts) - 1) / (2 * n)
    more = chao_wang_jost_entropy_bits(array) * math.log(2) - miller_madow
    rounding = (n + 20) * 12 * 2.0**-53  # a sum of n terms, below log(200,000) < 12.3
    assert -rounding <= more + 1 / (12 * n**2) + np.sum(1 / (120 * n * array**3.0))
    assert more <= np.sum(1 / (12 * n * array)) + rounding


def test_little_of_a_large_sample_can_be_new() -> None:
    """Where the rest is summed term by term, over more terms than the sample has."""
    counts = np.array([200_000, 1, 2, 2, 2, 2, 2])
    found = chao_wang_jost_entropy_bits(counts)
    assert entropy_bits(counts) < found < entropy_bits(counts) + 1e-3


def test_known_perplexities() -> None:
    usage = CodebookUsage(4)
    usage.add(np.array([2]))
    assert usage.corrected_perplexity == 1.0
    usage.add(np.full(9, 2))
    assert usage.corrected_perplexity == 1.0
    # All that was seen is new: as many codes as there are, and no more.
    pair = CodebookUsage(2)
    pair.add(np.array([0, 1]))
    assert chao_wang_jost_entropy_bits(pair.counts) > 1.1
    assert pair.corrected_perplexity == 2.0


def test_it_does_not_depend_on_the_batches() -> None:
    whole, cut = CodebookUsage(60), CodebookUsage(60)
    indices = Stream(1).integers(60, 90)
    whole.add(indices)
    for part in np.array_split(indices, 7):
        cut.add(part)
    assert cut.corrected_perplexity == whole.corrected_perplexity


# What is refused.


@pytest.mark.parametrize("dtype", ["float64", "bool"])
def test_averages_are_refused(dtype: str) -> None:
    with pytest.raises(DTypeError, match=f"expected integer counts, got {dtype}"):
        chao_wang_jost_entropy_bits(np.ones(4, dtype))


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        (np.zeros(3, int), DataError, "all 3 are zero"),
        (np.array([1, -2]), DataError, "got -2 for code 1"),
        (np.ones((2, 2), int), ShapeError, r"expected shape \(M,\)"),
    ],
)
def test_counts_that_are_none_are_refused(
    counts: npt.NDArray[np.int64], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        chao_wang_jost_entropy_bits(counts)
    with pytest.raises(DataError, match="all 5 are zero"):
        _ = CodebookUsage(5).corrected_perplexity
