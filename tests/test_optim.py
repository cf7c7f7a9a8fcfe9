"""Optimisers: their steps, and their state."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optim_examples import OPTIMISERS, bits, give_gradients, parameters, train

from tinyvq import nn
from tinyvq.errors import ConfigError, GraphError, ModuleError
from tinyvq.optim import SGD, Adam, AdamW
from tinyvq.tensor import Tensor

U64 = 2.0**-53

every_optimiser = pytest.mark.parametrize("name", OPTIMISERS)


# Steps, by hand. With gradients of 1 and numbers that are sums of powers of two, SGD's
# arithmetic is exact.


def test_sgd_without_momentum_moves_against_the_gradient() -> None:
    p = nn.Parameter(np.array([1.0, 2.0]))
    sgd = SGD([p], lr=0.25)
    for _ in range(2):
        p.grad = Tensor(np.array([1.0, -2.0]))
        sgd.step()
    assert p.numpy().tolist() == [0.5, 3.0]


def test_momentum_adds_up_earlier_gradients() -> None:
    p = nn.Parameter(np.array([0.0]))
    sgd = SGD([p], lr=1.0, momentum=0.5)
    seen = []
    for _ in range(3):
        p.grad = Tensor(np.array([1.0]))
        sgd.step()
        seen.append(p.item())
    assert seen == [-1.0, -1.0 - 1.5, -1.0 - 1.5 - 1.75]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_adam_s_first_step_is_lr_whatever_the_gradient(scale: float) -> None:
    p = nn.Parameter(np.array([1.0, 1.0]))
    p.grad = Tensor(np.array([scale, -scale]))
    Adam([p], lr=0.125, eps=1e-30).step()
    # The moments are (1-β)g and (1-β)g², divided by 1-β: a dozen roundings of a step
    # of 1/8, then one of the sum.
    assert p.numpy().tolist() == pytest.approx([0.875, 1.125], abs=4 * U64)


def test_decay_is_of_the_parameter_and_not_of_the_gradient() -> None:
    p = nn.Parameter(np.array([1.0, -4.0]))
    p.grad = Tensor(np.zeros(2))
    AdamW([p], lr=0.5, weight_decay=0.25).step()
    assert p.numpy().tolist() == [0.875, -3.5]
    Adam([p], lr=0.5).step()
    assert p.numpy().tolist() == [0.875, -3.5]


@every_optimiser
def test_a_parameter_without_gradient_stays_and_its_steps_are_not_counted(
    name: str,
) -> None:
    """The bias corrections of a parameter that comes in late start with it."""
    late, early = parameters(), parameters()
    optimiser = OPTIMISERS[name](late)
    for step in range(20):
        give_gradients(late, step)
        late[0].grad = None
        optimiser.step()
    assert bits(late)[0] == bits(early)[0]
    train(late, optimiser, range(20, 23))
    train(early, OPTIMISERS[name](early), range(20, 23))
    assert bits(late)[0] == bits(early)[0]


@every_optimiser
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_keep_dtype_and_identity(name: str, dtype: str) -> None:
    ps = parameters(dtype)
    arrays = [p.array for p in ps]
    train(ps, OPTIMISERS[name](ps), range(3))
    for p, array in zip(ps, arrays, strict=True):
        assert p.array is array
        assert p.dtype == dtype
    assert bits(ps) != bits(parameters(dtype))


@every_optimiser
def test_a_step_leaves_gradients_as_they_are(name: str) -> None:
    ps = parameters()
    optimiser = OPTIMISERS[name](ps)
    for step in range(2):
        give_gradients(ps, step)
        before = [p.grad.numpy().copy() for p in ps if p.grad is not None]
        optimiser.step()
        for p, gradient in zip(ps, before, strict=True):
            np.testing.assert_array_equal(p.grad, gradient)
    optimiser.zero_grad()
    assert all(p.grad is None for p in ps)


@every_optimiser
def test_the_learning_rate_may_change_before_each_step(name: str) -> None:
    ps, still = parameters(), parameters()
    optimiser = OPTIMISERS[name](ps)
    optimiser.lr = 0.0
    train(ps, optimiser, range(3))
    assert bits(ps) == bits(still)
    optimiser.lr = 0.1
    train(ps, optimiser, range(3, 4))
    assert bits(ps) != bits(still)


def test_a_step_is_seen_by_graphs_that_saved_the_old_values() -> None:
    p = nn.Parameter(np.ones(2))
    y = (p * p).sum()
    give_gradients([p], 0)
    SGD([p], lr=1.0).step()
    with pytest.raises(GraphError, match="was changed in place"):
        y.backward()


# State.


@every_optimiser
def test_a_restored_state_goes_on_bit_for_bit(name: str) -> None:
    straight, stopped = parameters(), parameters()
    train(straight, OPTIMISERS[name](straight), range(6))
    first = OPTIMISERS[name](stopped)
    train(stopped, first, range(3))
    second = OPTIMISERS[name](stopped)
    second.load_state_dict(first.state_dict())
    train(stopped, second, range(3, 6))
    assert bits(stopped) == bits(straight)
    for key, array in second.state_dict().items():
        assert array.dtype == (np.int64 if key == "steps" else np.float64)


@every_optimiser
def test_a_state_is_a_copy_both_ways(name: str) -> None:
    ps = parameters()
    optimiser = OPTIMISERS[name](ps)
    train(ps, optimiser, range(2))
    state = optimiser.state_dict()
    kept = {key: array.copy() for key, array in state.items()}
    optimiser.load_state_dict(state)
    for array in state.values():
        array[...] = 0
    for key, array in optimiser.state_dict().items():
        np.testing.assert_array_equal(array, kept[key], strict=True)


def test_a_state_names_its_slots() -> None:
    ps = parameters()
    slots = {f"{m}.{i}" for m in "mv" for i in range(3)}
    assert Adam(ps).state_dict().keys() == {"steps"} | slots
    assert SGD(ps, lr=1.0).state_dict().keys() == {
        "steps",
        *(f"momentum.{i}" for i in range(3)),
    }


Break = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda s: s.pop("m.1"), r"the optimiser's state: m\.1 is missing"),
        (lambda s: s.update({"m.3": s["m.0"]}), r"m\.3 is unknown here"),
        (
            lambda s: s.update({"v.0": np.zeros((3, 4))}),
            r"v\.0 must be float64 \(4, 3\), got float64 \(3, 4\)",
        ),
        (
            lambda s: s.update({"v.2": np.zeros((), "float32")}),
            r"v\.2 must be float64 \(\), got float32 \(\)",
        ),
        (
            lambda s: s.update({"steps": np.int64(3)}),
            r"steps must be int64 \(3,\), got int64 \(\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_raises_and_changes_nothing(
    spoil: Break, says: str
) -> None:
    ps = parameters()
    adam = Adam(ps)
    train(ps, adam, range(2))
    before = adam.state_dict()
    state = {key: array + 1 for key, array in before.items()}
    spoil(state)
    with pytest.raises(ModuleError, match=says):
        adam.load_state_dict(state)
    for key, array in adam.state_dict().items():
        np.testing.assert_array_equal(array, before[key], strict=True)


@pytest.mark.parametrize("rows", [np.array([2, 0]), slice(None), np.array([], int)])
def test_rows_that_are_reset_forget_their_moments_alone(rows: Any) -> None:
    ps = parameters()
    sgd, adam = SGD(ps, lr=0.1, momentum=0.9), Adam(ps)
    for optimiser in (sgd, adam):
        train(ps, optimiser, range(2))
        before = optimiser.state_dict()
        optimiser.reset_rows(ps[0], rows)
        for key, array in optimiser.state_dict().items():
            wanted = before[key].copy()
            if key in ("momentum.0", "m.0", "v.0"):
                assert np.count_nonzero(before[key]) == before[key].size
                wanted[rows] = 0
            if key == "v.0" and len(others := np.delete(before[key], rows, axis=0)):
                wanted[rows] = others.mean(axis=0)
            np.testing.assert_allclose(array, wanted, rtol=4 * U64, atol=0, strict=True)


def test_after_many_steps_a_row_that_is_reset_steps_as_the_others_do() -> None:
    p = nn.Parameter(np.zeros((4, 2)))
    gradient = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]])
    adam = Adam([p], lr=0.125)
    for step in range(2060):
        if step == 2000:
            adam.reset_rows(p, np.array([2]))
        before = p.numpy().copy()
        p.grad = Tensor.wrap(gradient)
        adam.step()
        assert np.abs(p.numpy() - before).max() < 1.001 * adam.lr


def test_rows_of_a_stranger_cannot_be_reset() -> None:
    ps = parameters()
    with pytest.raises(
        ConfigError, match=r"float64 \(4, 3\) is none of .* optimiser's 3"
    ):
        Adam(ps).reset_rows(parameters()[0], slice(None))


# Settings.


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: SGD([], lr=1.0), "an optimiser needs at least one parameter"),
        (lambda p: SGD([p, p], lr=1.0), "a parameter was given to the optimiser twice"),
        (lambda p: SGD([p], lr=0.0), "lr must be above 0, got 0.0"),
        (lambda p: Adam([p], lr=math.nan), "lr must be above 0, got nan"),
        (lambda p: SGD([p], 1.0, 1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda p: SGD([p], 1.0, -0.1), r"momentum must be in \[0, 1\), got -0.1"),
        (
            lambda p: Adam([p], betas=(1.0, 0.9)),
            r"betas\[0\] must be in \[0, 1\), got 1",
        ),
        (
            lambda p: Adam([p], betas=(0.9, -1)),
            r"betas\[1\] must be in \[0, 1\), got -1",
        ),
        (lambda p: Adam([p], eps=0.0), "eps must be above 0, got 0.0"),
        (
            lambda p: AdamW([p], weight_decay=-0.1),
            "weight_decay must be at least 0, got -0.1",
        ),
    ],
)
def test_settings_out_of_range_are_told(
    make: Callable[[nn.Parameter], Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        make(nn.Parameter(np.ones(2)))
