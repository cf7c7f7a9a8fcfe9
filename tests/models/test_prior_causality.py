"""What each logit of a prior depends on: codes before it and the label, no more."""

import numpy as np
import pytest
from models.prior_examples import (
    CODES,
    GRIDS,
    NAMES,
    Array,
    codes,
    labels,
    logits,
    make,
)

from tinyvq.models import Prior

each_prior = pytest.mark.parametrize("name", NAMES)
each_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda g: f"{g[0]}x{g[1]}")


def influence(prior: Prior, seed: int = 0) -> Array:
    """Find (T,T) bool: whether another code at j changes, by a bit, a logit at t.

    Row j of a batch has another code at j than row j of the batch that it is compared
    with, so nothing but that code differs.
    """
    t = prior.grid[0] * prior.grid[1]
    same = np.repeat(codes(1, prior.grid, seed=seed).reshape(1, t), t, axis=0)
    other = (same + np.eye(t, dtype=np.int64)) % CODES
    chosen = labels(1, prior.num_classes)
    chosen = None if chosen is None else np.repeat(chosen, t)
    return (logits(prior, same, chosen) != logits(prior, other, chosen)).any(axis=-1)


@each_prior
@each_grid
@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_code_changes_no_logits_up_to_its_place_and_the_next_ones(
    name: str, grid: tuple[int, int], num_classes: int
) -> None:
    found = influence(make(name, grid, num_classes=num_classes))
    t = len(found)
    assert not np.tril(found).any()
    beyond = np.arange(t - 1)
    assert found[beyond, beyond + 1].all()


@each_grid
def test_each_code_reaches_all_later_logits_of_a_transformer(
    grid: tuple[int, int],
) -> None:
    found = influence(make("transformer", grid))
    np.testing.assert_array_equal(found, np.triu(np.ones_like(found), 1))


@each_grid
def test_a_pixelcnn_that_is_deep_enough_has_no_blind_spot(
    grid: tuple[int, int],
) -> None:
    found = influence(make("pixelcnn", grid, layers=5))
    np.testing.assert_array_equal(found, np.triu(np.ones_like(found), 1))


@pytest.mark.parametrize(("kernel_size", "layers"), [(3, 1), (3, 2), (5, 1)])
def test_a_pixelcnn_sees_as_far_as_it_says(kernel_size: int, layers: int) -> None:
    grid = (6, 9)
    prior = make("pixelcnn", grid, kernel_size=kernel_size, layers=layers)
    found = influence(prior).reshape(*grid, *grid)  # from (r, c) to (r, c)
    reach = kernel_size // 2 * layers
    r, c = np.indices(grid)
    for row, column in np.ndindex(grid):
        up, left = row - r, column - c
        above = (up >= 1) & (up <= reach + 1) & (np.abs(left) <= reach)
        beside = (up == 0) & (left >= 1) & (left <= reach + 1)
        np.testing.assert_array_equal(found[:, :, row, column], above | beside)


@each_prior
@each_grid
def test_a_label_changes_the_logits_of_its_grid_everywhere(
    name: str, grid: tuple[int, int]
) -> None:
    prior = make(name, grid, num_classes=3)
    x = codes(2, grid)
    one, other = (logits(prior, x, np.array(pair)) for pair in ([1, 0], [1, 2]))
    np.testing.assert_array_equal(one[0], other[0])
    assert (one[1] != other[1]).any(axis=-1).all()


@each_prior
@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_grids_logits_do_not_depend_on_the_others(
    name: str, num_classes: int
) -> None:
    prior, x, y = make(name, num_classes=num_classes), codes(5, (3, 4)), None
    if num_classes:
        y = labels(5, 3)
    together = logits(prior, x, y)
    for i in range(5):
        alone = logits(prior, x[i : i + 1], None if y is None else y[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


@each_prior
@each_grid
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_are_finite_and_nothing_hidden_is_computed_with(
    name: str, grid: tuple[int, int], dtype: str
) -> None:
    """No NaN is made on the way, not even one that is thrown away after."""
    prior, x = make(name, grid, dtype=dtype), codes(3, grid)
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        found = logits(prior, x)
    assert found.shape == (3, grid[0] * grid[1], CODES)
    assert found.dtype == dtype
    assert np.isfinite(found).all()


@each_prior
def test_grids_may_come_as_sequences(name: str) -> None:
    prior, x = make(name), codes(2, (3, 4))
    np.testing.assert_array_equal(logits(prior, x), logits(prior, x.reshape(2, 12)))
