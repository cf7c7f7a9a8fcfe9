"""One position after another gives what all positions at once give."""

from typing import Any

import numpy as np
import pytest
from models.prior_examples import (
    CODES,
    GRIDS,
    NAMES,
    Recomputing,
    codes,
    dropouts,
    labels,
    logits,
    make,
    step_by_step,
)

from tinyvq.models import sample_codes

each_prior = pytest.mark.parametrize("name", NAMES)
each_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda g: f"{g[0]}x{g[1]}")
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

LAYERS = 12  # in a row: of the small priors, whatever adds up
TERMS = 64  # in the longest sum: 4 widths of the transformer's MLP


@each_prior
@each_grid
@each_dtype
@pytest.mark.parametrize("num_classes", [0, 3])
def test_step_by_step_logits_are_those_of_the_whole_to_rounding(
    name: str, grid: tuple[int, int], dtype: str, num_classes: int
) -> None:
    """Sums of up to n terms that are added in another order differ by up to n·u.

    So does each of the layers, one after another, against the largest value.
    """
    prior = make(name, grid, dtype=dtype, num_classes=num_classes)
    x, y = codes(5, grid), labels(5, num_classes)
    whole = logits(prior, x, y)
    stepped = step_by_step(prior, x, y)
    assert stepped.dtype == dtype
    unit = np.finfo(dtype).eps / 2
    tolerance = 2 * LAYERS * TERMS * unit * np.abs(whole).max()
    np.testing.assert_allclose(stepped, whole, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["pixelcnn", "pixelcnn by 5"])
def test_a_pixelcnns_steps_are_those_of_the_whole_to_the_bit(name: str) -> None:
    """A convolution adds up in one order, wherever in an image it stands."""
    prior, x = make(name, num_classes=3), codes(5, (3, 4))
    y = labels(5, 3)
    np.testing.assert_array_equal(step_by_step(prior, x, y), logits(prior, x, y))


@each_prior
@each_dtype
@pytest.mark.parametrize("num_classes", [0, 3])
def test_the_codes_drawn_are_those_drawn_without_a_cache(
    name: str, dtype: str, num_classes: int
) -> None:
    """In 192 draws, each of which a rounding of 1e-6 could turn with that chance."""
    prior = make(name, (4, 3), dtype=dtype, num_classes=num_classes)
    y = labels(16, num_classes)
    kept = sample_codes(prior, 16, y, seed=5)
    recomputed = sample_codes(Recomputing(prior), 16, y, seed=5)
    np.testing.assert_array_equal(kept, recomputed)
    assert len(np.unique(kept)) == CODES


@each_prior
def test_decoders_do_not_share_what_they_keep(name: str) -> None:
    prior, x = make(name), codes(2, (3, 4)).reshape(2, 12)
    one, two = prior.decoder(None, 1), prior.decoder(None, 1)
    found: list[list[Any]] = [[], []]
    for t in range(12):
        for i, decoder in enumerate((one, two)):
            before = x[i : i + 1, t - 1] if t else None
            found[i].append(decoder.next_logits(before)[0])
    for i in range(2):
        np.testing.assert_array_equal(
            np.stack(found[i]), step_by_step(prior, x[i : i + 1])[0]
        )


@each_prior
def test_logits_handed_out_stay_what_they_were(name: str) -> None:
    prior, x = make(name), codes(2, (3, 4)).reshape(2, 12)
    decoder = prior.decoder(None, 2)
    found, before = [], []
    for t in range(12):
        found.append(decoder.next_logits(x[:, t - 1] if t else None))
        before.append(found[-1].copy())
    np.testing.assert_array_equal(found, before)


@each_prior
def test_decoding_drops_nothing_and_leaves_the_prior_as_it_was(name: str) -> None:
    prior, x = make(name, dropout=0.5), codes(2, (3, 4))
    expected = step_by_step(prior.eval(), x)
    prior.train()
    next(dropouts(prior)).training = False  # the user's own choice
    before, modes = prior.state_dict(), [d.training for d in dropouts(prior)]
    np.testing.assert_array_equal(step_by_step(prior, x), expected)
    assert [d.training for d in dropouts(prior)] == modes
    for path, array in prior.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
