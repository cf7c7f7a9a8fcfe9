"""Drawing grids of codes from a prior."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.errors import ConfigError, NonFiniteError, ShapeError
from tinyvq.models._prior import (
    Indices,
    Prior,
    check_range,
    check_sizes,
    whole_numbers,
)
from tinyvq.rng import Stream

Float64 = npt.NDArray[np.float64]


def sample_codes(
    prior: Prior,
    count: int,
    labels: Indices | None = None,
    *,
    seed: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    given: Indices | None = None,
    given_positions: int = 0,
    batch: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Indices:
    """Draw `count` grids of codes (count,P,Q), code by code in raster order.

    labels           (count,), for a prior that takes them
    temperature, top_k, top_p   as of `filtered_probabilities`
    given            (count,P,Q): its first `given_positions` codes in raster order are
                     kept, and the rest is drawn to complete them
    batch            grids that are drawn at once: a matter of memory, not of the result
    on_progress      is told how many codes are done, and of how many

    What is drawn for grid i depends on the seed, on i, its label and its given codes
    alone: a larger count begins with the same grids.
    """
    _check_filters(temperature, top_k, top_p)
    check_sizes("sample_codes", count=count, batch=batch)
    labels = prior.check_labels(labels, count)
    p, q = prior.grid
    t = p * q
    codes = np.zeros((count, t), np.int64)
    _take_given(prior, codes, given, given_positions)
    for first in range(0, count if given_positions < t else 0, batch):
        part = codes[first : first + batch]  # (n,T), filled in place
        unit = np.stack(
            [
                Stream(seed, "sample", first + i).uniform(t)  # one a position
                for i in range(len(part))
            ]
        )  # (n,T)
        chosen = None if labels is None else labels[first : first + batch]
        decoder = prior.decoder(chosen, len(part))
        for at in range(t):
            logits = decoder.next_logits(part[:, at - 1] if at > 0 else None)
            if at >= given_positions:
                likely = filtered_probabilities(logits, temperature, top_k, top_p)
                part[:, at] = draw(likely, unit[:, at])
            if on_progress is not None:
                on_progress(first * t + (at + 1) * len(part), codes.size)
    return codes.reshape(count, p, q)


def _take_given(
    prior: Prior, codes: Indices, given: Indices | None, positions: int
) -> None:
    """Copy the first given codes to the front of each row of codes (count,T)."""
    count, t = codes.shape
    if not 0 <= positions <= t:
        raise ConfigError(
            f"sample_codes: given_positions must be in 0 .. {t}, got {positions}"
        )
    if given is None:
        if positions > 0:
            raise ConfigError(
                f"sample_codes: given_positions is {positions}, but nothing is given"
            )
        return
    array = whole_numbers("sample_codes", "given", given)
    if array.shape != (count, *prior.grid):
        raise ShapeError(
            f"sample_codes: given must be {(count, *prior.grid)}, got {array.shape}"
        )
    kept = array.reshape(count, t)[:, :positions]
    if kept.size:
        check_range("sample_codes", kept, prior.num_codes)
    codes[:, :positions] = kept


def filtered_probabilities(
    logits: npt.NDArray[Any],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float64:
    """Return the distribution to draw from, given logits (...,M).

    temperature  what the logits are divided by, first; 0 takes the likeliest alone
    top_k        then keep the k likeliest, no more; None keeps all
    top_p        then the fewest of the likeliest whose probabilities, among those kept,
                 add up to at least top_p: at least one; None keeps all

    Of equally likely ones the lower index counts as likelier. In float64. Raises
    NonFiniteError where logits are NaN or +inf; -inf is a probability of 0.
    """
    _check_filters(temperature, top_k, top_p)
    x = np.asarray(logits, np.float64)
    largest = x.max(axis=-1, keepdims=True)
    if not np.isfinite(largest).all():
        raise NonFiniteError(
            "the prior's logits are not finite: its weights are spoilt"
        )
    if temperature == 0:
        first = x.argmax(axis=-1, keepdims=True)
        return np.asarray(np.arange(x.shape[-1]) == first, np.float64)
    with np.errstate(over="ignore"):  # a tiny temperature makes -inf, which is right
        p: Float64 = np.exp((x - largest) / temperature)
    whole = top_p is None or top_p == 1
    if top_k is None and whole:
        return _normalized(p)
    order = np.argsort(-p, axis=-1, kind="stable")  # the likeliest first
    ranked = np.take_along_axis(p, order, axis=-1)
    if top_k is not None:
        ranked[..., top_k:] = 0
    ranked = _normalized(ranked)
    if top_p is not None and not whole:
        before = np.zeros_like(ranked)  # what all likelier ones add up to
        np.cumsum(ranked[..., :-1], axis=-1, out=before[..., 1:])
        ranked[before >= top_p] = 0
        ranked = _normalized(ranked)
    np.put_along_axis(p, order, ranked, axis=-1)
    return p


def draw(probabilities: Float64, unit: Float64) -> Indices:
    """Turn uniform numbers in [0, 1) into codes: (...,M), (...) -> (...).

    The inverse of the distribution function: the first code at which the probabilities,
    added up in order of index, exceed the number. None of probability 0 is ever drawn.
    """
    total = np.cumsum(probabilities, axis=-1)
    # Rounding may leave the sum below 1, or make the product the sum itself.
    end = total[..., -1:]
    target = np.minimum(unit[..., None] * end, np.nextafter(end, 0))
    return np.asarray((total <= target).sum(axis=-1), np.int64)


def _normalized(p: Float64) -> Float64:
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


def _check_filters(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < math.inf:
        finite = " and finite" if temperature == math.inf else ""
        raise ConfigError(f"temperature must be at least 0{finite}, got {temperature}")
    if top_k is not None and (not hasattr(top_k, "__index__") or top_k < 1):
        raise ConfigError(
            f"top_k must be a whole number of at least 1, got {top_k!r}; "
            "leave it out to keep all codes"
        )
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"top_p must be above 0 and at most 1, got {top_p}")
