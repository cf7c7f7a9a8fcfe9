"""Which images a step sees, and pixels on their way into a model and back."""

import numpy as np
import pytest
from data.data_examples import problem
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.data import batch_indices, from_unit, to_unit
from tinyvq.data._batches import _order
from tinyvq.data._split import split_of
from tinyvq.errors import ConfigError

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**63)


def steps(n: int, batch_size: int, count: int, seed: int = 0) -> np.ndarray:
    """The images of the first `count` steps, end to end."""
    return np.concatenate(
        [batch_indices(n, batch_size, step, seed) for step in range(1, count + 1)]
    )


def test_an_image_keeps_its_side_from_version_to_version() -> None:
    sides = {b"0": "train", b"11": "val", b"17": "test"}
    assert {content: split_of(content) for content in sides} == sides


@given(n=sizes, batch_size=sizes, seed=seeds)
def test_every_image_is_seen_once_an_epoch(n: int, batch_size: int, seed: int) -> None:
    """Whatever divides what, and where a batch is larger than the set, too."""
    epochs = 3
    seen = steps(n, batch_size, -(-epochs * n // batch_size), seed)
    assert seen.dtype == np.int64
    for epoch in range(epochs):
        part = seen[epoch * n : (epoch + 1) * n]
        np.testing.assert_array_equal(np.sort(part), np.arange(n))


@given(n=sizes, batch_size=sizes, step=st.integers(1, 10**12), seed=seeds)
def test_a_batch_depends_on_the_seed_and_the_step_alone(
    n: int, batch_size: int, step: int, seed: int
) -> None:
    first = batch_indices(n, batch_size, step, seed)
    batch_indices(n, batch_size, step + 1, seed)
    batch_indices(n + 1, batch_size, 1, seed + 1)
    _order.cache_clear()
    np.testing.assert_array_equal(batch_indices(n, batch_size, step, seed), first)


@given(n=sizes, seed=seeds)
def test_the_size_of_a_batch_does_not_change_the_order(n: int, seed: int) -> None:
    expected = steps(n, 1, 60, seed)
    for batch_size in (2, 3, 60):
        found = steps(n, batch_size, 60 // batch_size, seed)
        np.testing.assert_array_equal(found, expected)


def test_a_batch_goes_on_with_the_next_epoch_where_one_ends() -> None:
    whole = steps(10, 10, 2)
    first, second, third = (batch_indices(10, 7, step, 0) for step in (1, 2, 3))
    np.testing.assert_array_equal(first, whole[:7])
    np.testing.assert_array_equal(second, whole[7:14])
    np.testing.assert_array_equal(third[:6], whole[14:])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        batch_indices(50, 50, step, seed).tobytes()
        for step in (1, 2, 3)
        for seed in (0, 1, 2)
    }
    assert len(orders) == 9


def test_the_order_is_this_one_for_ever() -> None:
    """A run that is resumed years later must go on with the same images."""
    expected = [0, 8, 3, 7, 2, 1, 4, 6, 9, 5, 8, 2, 1, 9, 4]
    assert steps(10, 5, 3, seed=7).tolist() == expected


def test_a_batch_may_be_changed_without_harm() -> None:
    batch = batch_indices(10, 10, 1, 0)
    expected = batch.copy()
    batch[:] = 0
    np.testing.assert_array_equal(batch_indices(10, 10, 1, 0), expected)


def test_no_images_are_an_error() -> None:
    message = problem(batch_indices, 0, 4, 1, 0)
    assert message == "there are no images to draw a batch from"


@pytest.mark.parametrize(("batch_size", "step"), [(0, 1), (-1, 1), (4, 0), (4, -1)])
def test_sizes_and_steps_below_1_are_errors(batch_size: int, step: int) -> None:
    message = f"batch_size and step must be at least 1, got {batch_size} and {step}"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        batch_indices(10, batch_size, step, 0)


def test_all_256_bytes_come_back_exactly() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    unit = to_unit(every)
    assert unit.dtype == np.float32
    assert unit.min() == -0.5
    assert unit.max() == 0.5
    assert (np.diff(unit.reshape(-1)) > 0).all()
    # Two roundings in float32, of numbers up to 1 and to 0.5.
    exact = every / 255.0 - 0.5
    assert np.abs(unit - exact).max() <= 2.0**-25 + 2.0**-26
    np.testing.assert_array_equal(from_unit(unit), every)
    np.testing.assert_array_equal(from_unit(unit.astype(np.float64)), every)
    assert from_unit(unit).dtype == np.uint8


def test_a_pixel_goes_to_the_nearest_byte() -> None:
    every = np.arange(256)
    for off in (-0.49, 0.49):
        unit = (every + off) / 255 - 0.5
        np.testing.assert_array_equal(from_unit(unit), every)


def test_what_lies_outside_is_clipped() -> None:
    unit = np.array([-np.inf, -1e30, -0.51, 0.51, 3.0, 1e30, np.inf], np.float32)
    np.testing.assert_array_equal(from_unit(unit), [0, 0, 0, 255, 255, 255, 255])


def test_images_are_left_as_they_are() -> None:
    images = np.arange(256, dtype=np.uint8)
    unit = to_unit(images)
    from_unit(unit)
    np.testing.assert_array_equal(images, np.arange(256))
    np.testing.assert_array_equal(unit, to_unit(images))
