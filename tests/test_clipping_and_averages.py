"""Clipping, the schedule, and averaged weights."""

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from optim_examples import bits, parameters

from tinyvq import nn, optim
from tinyvq.errors import ConfigError, GraphError, ModuleError
from tinyvq.optim import WeightAverage
from tinyvq.tensor import Tensor

U32, U64 = 2.0**-24, 2.0**-53


def with_gradients(*gradients: Any) -> list[nn.Parameter]:
    ps = [nn.Parameter(np.zeros_like(g)) for g in gradients]
    for p, g in zip(ps, gradients, strict=True):
        p.grad = Tensor(g)
    return ps


def test_the_norm_is_of_all_gradients_together() -> None:
    ps = with_gradients(np.array([[2.0, -4.0]]), np.array(5.0), np.zeros(0))
    ps.append(nn.Parameter(np.ones(3)))  # without a gradient
    assert optim.grad_norm(ps) == math.sqrt(45)
    assert optim.grad_norm(ps[3:]) == 0.0
    assert optim.grad_norm(iter(ps)) == math.sqrt(45)


def test_the_norm_of_float32_gradients_is_summed_in_float64() -> None:
    # 1e6 squares of 1e-25, which are 0 in float32.
    (p,) = with_gradients(np.full(10**6, 1e-25, "float32"))
    assert optim.grad_norm([p]) == pytest.approx(1e-22, rel=4 * U32, abs=0)


def test_clipping_scales_all_gradients_to_the_length() -> None:
    ps = with_gradients(np.array([6.0, 0.0]), np.array([-8.0]))
    assert optim.clip_grad_norm(iter(ps), 2.5) == 10.0
    assert [p.grad.numpy().tolist() for p in ps] == [[1.5, 0.0], [-2.0]]
    assert optim.grad_norm(ps) == 2.5


@pytest.mark.parametrize("max_norm", [10.0, 11.0, math.inf])
def test_gradients_that_are_short_enough_keep_their_bits(max_norm: float) -> None:
    ps = with_gradients(np.array([6.0, 0.0]), np.array([-8.0]))
    assert optim.clip_grad_norm(ps, max_norm) == 10.0
    assert [p.grad.numpy().tolist() for p in ps] == [[6.0, 0.0], [-8.0]]


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_clipping_to_no_length_is_refused(max_norm: float) -> None:
    with pytest.raises(ConfigError, match=f"max_norm must be above 0, got {max_norm}"):
        optim.clip_grad_norm(with_gradients(np.ones(2)), max_norm)


# The schedule.


def test_the_schedule_at_its_corners() -> None:
    rate = {
        step: optim.warmup_cosine(step, 8.0, warmup=4, total=12, floor=0.25)
        for step in (1, 2, 4, 8, 12, 100)
    }
    # Halfway down the cosine is halfway between 8 and 0.25 · 8; cos(π/2) is 6e-17.
    assert rate == {
        1: 2,
        2: 4,
        4: 8,
        8: pytest.approx(5, rel=4 * U64, abs=0),
        12: 2,
        100: 2,
    }


def test_the_schedule_falls_after_the_warm_up_and_not_before() -> None:
    rates = [optim.warmup_cosine(s, 1.0, warmup=10, total=30) for s in range(1, 31)]
    assert rates[:10] == [step / 10 for step in range(1, 11)]
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert len(set(rates[9:])) == 21
    assert rates[-1] == 0.0


def test_without_warm_up_or_total_the_rate_stays() -> None:
    assert optim.warmup_cosine(1, 3.0) == 3.0
    assert optim.warmup_cosine(10**9, 3.0, warmup=5) == 3.0
    assert optim.warmup_cosine(5, 3.0, warmup=5, total=5) == 3.0
    assert optim.warmup_cosine(6, 3.0, warmup=5, total=4) == 3.0


@pytest.mark.parametrize("step", [0, -1])
def test_steps_count_from_one(step: int) -> None:
    for warmup in (0, 5):
        with pytest.raises(ConfigError, match=f"steps count from 1, got {step}"):
            optim.warmup_cosine(step, 1.0, warmup=warmup)


# Averaged weights.


class Two(nn.Module):
    def __init__(self, dtype: str) -> None:
        self.a, self.b, _ = parameters(dtype)
        self.mean = nn.Buffer(np.ones(2))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_after_one_step_the_average_is_the_weights(decay: float, dtype: str) -> None:
    model = Two(dtype)
    average = WeightAverage(model, decay)
    before = model.state_dict()
    average.update()
    with average.swapped_in():
        for path, array in model.state_dict().items():
            # (1-d)·w, then divided by 1-d: two roundings of float64, of which float32
            # shows nothing.
            rtol = 0.0 if dtype == "float32" else 2 * U64
            np.testing.assert_allclose(array, before[path], rtol=rtol, atol=0)


def test_the_average_is_the_weighted_mean_of_what_was_seen() -> None:
    model = Two("float64")
    average = WeightAverage(model, 0.75)
    seen = []
    for step in range(4):
        with model.a.mutate() as array:
            array[...] = step
        seen.append(float(step))
        average.update()
    weights = [0.75 ** (3 - step) for step in range(4)]
    wanted = sum(w * x for w, x in zip(weights, seen, strict=True)) / sum(weights)
    with average.swapped_in():
        # Four products and sums, and a division.
        np.testing.assert_allclose(model.a.numpy(), wanted, rtol=10 * U64, atol=0)


def test_weights_come_back_after_the_block_even_by_an_error() -> None:
    model = Two("float32")
    average = WeightAverage(model, 0.5)
    average.update()
    with model.a.mutate() as array:
        array += 1
    average.update()
    before = bits(model.parameters())
    with suppress(KeyError), average.swapped_in():
        assert bits(model.parameters()) != before
        raise KeyError
    assert bits(model.parameters()) == before


def test_there_is_no_average_before_the_first_step() -> None:
    average = WeightAverage(Two("float32"))
    with (
        pytest.raises(GraphError, match=r"call update\(\) after"),
        average.swapped_in(),
    ):
        pass
    with pytest.raises(ConfigError, match=r"decay must be in \[0, 1\), got 1.0"):
        WeightAverage(Two("float32"), 1.0)


def test_an_average_goes_on_from_its_state_bit_for_bit() -> None:
    straight, stopped = Two("float32"), Two("float32")
    first, second = WeightAverage(straight, 0.9), WeightAverage(stopped, 0.9)
    for average in (first, second):
        average.update()
    resumed = WeightAverage(stopped, 0.9)
    resumed.load_state_dict(second.state_dict())
    for average, model in ((first, straight), (resumed, stopped)):
        with model.b.mutate() as array:
            array *= 3
        average.update()
    with first.swapped_in(), resumed.swapped_in():
        assert bits(straight.parameters()) == bits(stopped.parameters())
    state = resumed.state_dict()
    assert state.keys() == {"steps", "sum.0", "sum.1"}
    state["sum.1"] = state["sum.1"].astype("float32")
    with pytest.raises(ModuleError, match=r"averaged weights: sum\.1 must be float64"):
        resumed.load_state_dict(state)
