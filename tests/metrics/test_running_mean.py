"""RunningMean: batches of different sizes, one mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.errors import ConfigError, DataError, NonFiniteError
from tinyvq.metrics import RunningMean

items = st.floats(-1e6, 1e6)
batches = st.lists(st.lists(items, min_size=1, max_size=9), min_size=1, max_size=9)


@given(batches=batches)
def test_every_item_weighs_the_same(batches: list[list[float]]) -> None:
    running = RunningMean()
    for batch in batches:
        running.add(math.fsum(batch) / len(batch), count=len(batch))
    everything = [item for batch in batches for item in batch]
    assert running.count == len(everything)
    # At most 81 values below 1e6 are summed, with a division and a product for each.
    allowed = (9 + 3) * 2.0**-53 * 1e6
    expected = math.fsum(everything) / len(everything)
    assert running.mean == pytest.approx(expected, rel=0, abs=allowed)


def test_the_last_small_batch_does_not_bias_it() -> None:
    running = RunningMean()
    running.add(1.0, count=100)
    running.add(0.0, count=28)
    assert running.mean == 100 / 128


def test_the_mean_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="nothing was added, so there is no mean"):
        _ = RunningMean().mean


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_mean_that_is_not_finite_is_refused_and_not_added(value: float) -> None:
    running = RunningMean()
    running.add(2.0, count=3)
    with pytest.raises(NonFiniteError, match=f"got {value} after 3 items"):
        running.add(value, count=1)
    assert (running.count, running.mean) == (3, 2.0)


@pytest.mark.parametrize("count", [0, -1])
def test_a_batch_of_nothing_is_refused(count: int) -> None:
    running = RunningMean()
    with pytest.raises(ConfigError, match=f"expected a count ≥ 1, got {count}"):
        running.add(1.0, count=count)
    assert running.count == 0
