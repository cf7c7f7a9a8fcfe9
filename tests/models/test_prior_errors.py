"""What priors, their decoders and sampling refuse, and how they say so."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models.prior_examples import NAMES, codes, make

from tinyvq.errors import (
    ConfigError,
    DTypeError,
    GraphError,
    NonFiniteError,
    ShapeError,
)
from tinyvq.models import PixelCNN, TransformerPrior, filtered_probabilities
from tinyvq.models import sample_codes as sample
from tinyvq.rng import Stream

each_prior = pytest.mark.parametrize("name", NAMES)


def refuses(error: type[Exception], message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [TransformerPrior, PixelCNN])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_codes": 0}, "num_codes must be a whole number of at least 1, got 0"),
        ({"num_codes": 2.5}, "num_codes must be a whole number of at least 1, got 2.5"),
        ({"grid": (0, 4)}, "rows must be a whole number of at least 1, got 0"),
        ({"grid": (3, -1)}, "columns must be a whole number of at least 1, got -1"),
        ({"grid": (3,)}, "needs a grid (P, Q), got (3,)"),
        ({"num_classes": -1}, "num_classes must be a whole number, 0 for none, got -1"),
        ({"layers": 0}, "layers must be a whole number of at least 1, got 0"),
        ({"dropout": 1.0}, "Dropout: needs p in [0, 1), got 1.0"),
    ],
)
def test_settings_of_any_prior_are_checked(
    kind: Any, settings: dict[str, Any], message: str
) -> None:
    settings = {"num_codes": 7, "grid": (3, 4), "rng": Stream(0), **settings}
    refuses(ConfigError, message, lambda: kind(**settings))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (TransformerPrior, {"heads": 3}, "width 128 does not make 3 heads"),
        (TransformerPrior, {"width": 0}, "width must be a whole number of at least 1"),
        (PixelCNN, {"hidden": 0}, "hidden must be a whole number of at least 1"),
        (PixelCNN, {"kernel_size": 4}, "kernel_size must be odd and at least 3, got 4"),
        (PixelCNN, {"kernel_size": 1}, "kernel_size must be odd and at least 3, got 1"),
    ],
)
def test_settings_of_each_prior_are_checked(
    kind: Any, settings: dict[str, Any], message: str
) -> None:
    refuses(ConfigError, message, lambda: kind(7, (3, 4), **settings))


@each_prior
def test_grids_that_are_not_its_own_are_refused(name: str) -> None:
    prior, x = make(name), codes(2, (3, 4))
    kind = type(prior).__name__
    needs = f"{kind}: needs indices (N, 3, 4) or (N, 12), got "
    for wrong in (x[:, :2], x.transpose(0, 2, 1), x[0, 0], x.reshape(-1), x[..., None]):
        refuses(ShapeError, f"{needs}{wrong.shape}", lambda w=wrong: prior(w))
    refuses(ShapeError, "needs at least one grid, got (0, 3, 4)", lambda: prior(x[:0]))
    refuses(DTypeError, "indices must be integers, got float64", lambda: prior(x / 1))


@each_prior
@pytest.mark.parametrize(("code", "came"), [(7, "0 .. 7"), (-1, "-1 .. 6")])
def test_codes_of_another_codebook_are_refused(name: str, code: int, came: str) -> None:
    prior, x = make(name), codes(2, (3, 4))
    x[0, 0] = [0, 1, 5, 6]
    x[1, 2, 3] = code  # the last, which no logits depend on
    message = f"codes must be in 0 .. 6, got {came}"
    refuses(ShapeError, message, lambda: prior(x))


@each_prior
def test_labels_that_it_does_not_take_are_refused(name: str) -> None:
    kind = type(make(name)).__name__
    x = codes(2, (3, 4))
    without, three = make(name), make(name, num_classes=3)
    y = np.array([0, 2])
    doors: list[Callable[[Any, Any], Any]] = [
        lambda prior, y: prior(x, y),
        lambda prior, y: prior.decoder(y, 2),
        lambda prior, y: sample(prior, 2, y, seed=0),
    ]
    for door in doors:
        for prior, labels, error, message in (
            (without, y, ConfigError, "this prior takes no labels, got 2"),
            (three, None, ConfigError, "this prior needs labels in 0 .. 2"),
            (three, y + 1, ConfigError, "labels must be in 0 .. 2, got 1 .. 3"),
            (three, y - 1, ConfigError, "labels must be in 0 .. 2, got -1 .. 1"),
            (three, y[:1], ShapeError, "needs labels (2,), got (1,)"),
            (three, y[None], ShapeError, "needs labels (2,), got (1, 2)"),
            (three, y / 2, DTypeError, "labels must be integers, got float64"),
        ):
            refuses(
                error,
                f"{kind}: {message}",
                lambda d=door, p=prior, l=labels: d(p, l),
            )


@each_prior
def test_a_decoder_is_used_from_the_first_position_to_the_last(name: str) -> None:
    prior = make(name, (1, 2))
    one = np.array([0, 6])
    refuses(ConfigError, "count must be a whole number", lambda: prior.decoder(None, 0))
    decoder = prior.decoder(None, 2)
    early = "position 0 takes no codes before it"
    refuses(ShapeError, early, lambda: decoder.next_logits(one))
    decoder.next_logits(None)
    late = "position 1 takes the codes before"
    refuses(ShapeError, late, lambda: decoder.next_logits(None))
    shape = "needs the codes (2,) of the position before, got (1,)"
    refuses(ShapeError, shape, lambda: decoder.next_logits(one[:1]))
    large = "codes must be in 0 .. 6, got 1 .. 7"
    refuses(ShapeError, large, lambda: decoder.next_logits(one + 1))
    kind = "codes must be integers, got float64"
    refuses(DTypeError, kind, lambda: decoder.next_logits(one * 1.0))
    decoder.next_logits(one)  # none of what was refused has moved it
    done = "all 2 positions are done"
    refuses(GraphError, done, lambda: decoder.next_logits(one))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"temperature": -0.1}, "temperature must be at least 0, got -0.1"),
        ({"temperature": np.nan}, "temperature must be at least 0, got nan"),
        ({"temperature": np.inf}, "temperature must be at least 0 and finite, got inf"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, got 0; leave it"),
        ({"top_k": -3}, "top_k must be a whole number of at least 1, got -3"),
        ({"top_k": 1.5}, "top_k must be a whole number of at least 1, got 1.5"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.01}, "top_p must be above 0 and at most 1, got 1.01"),
        ({"top_p": np.nan}, "top_p must be above 0 and at most 1, got nan"),
    ],
)
def test_filters_out_of_range_are_refused(
    filters: dict[str, Any], message: str
) -> None:
    p = np.zeros((1, 4))
    refuses(ConfigError, message, lambda: filtered_probabilities(p, **filters))
    prior = make("transformer")
    refuses(ConfigError, message, lambda: sample(prior, 1, seed=0, **filters))


@pytest.mark.parametrize(
    "row", [[0, np.nan, 1], [0, np.inf, 1], [-np.inf, -np.inf, -np.inf]]
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_refused(
    row: list[float], temperature: float
) -> None:
    table = np.array([[0.0, 1.0, 2.0], row])
    refuses(
        NonFiniteError,
        "the prior's logits are not finite: its weights are spoilt",
        lambda: filtered_probabilities(table, temperature),
    )


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"count": 0}, ConfigError, "count must be a whole number of at least 1"),
        ({"batch": 0}, ConfigError, "batch must be a whole number of at least 1"),
        ({"given_positions": 13}, ConfigError, "must be in 0 .. 12, got 13"),
        ({"given_positions": -1}, ConfigError, "must be in 0 .. 12, got -1"),
        (
            {"given": None, "given_positions": 3},
            ConfigError,
            "given_positions is 3, but nothing is given",
        ),
        (
            {"given": codes(2, (4, 3))},
            ShapeError,
            "given must be (2, 3, 4), got (2, 4, 3)",
        ),
        ({"given": codes(3, (3, 4))}, ShapeError, "given must be (2, 3, 4), got (3,"),
        (
            {"given": codes(2, (3, 4)) / 2},
            DTypeError,
            "given must be integers, got float64",
        ),
        (
            {"given": np.full((2, 3, 4), 7)},
            ShapeError,
            "codes must be in 0 .. 6, got 7 .. 7",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = codes(2, (3, 4))
    settings = {"count": 2, "given": given, "given_positions": 8, **settings}
    prior = make("transformer")
    refuses(error, message, lambda: sample(prior, seed=0, **settings))
