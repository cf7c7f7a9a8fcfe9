"""Norms that remember, and dropout that can be repeated."""

import numpy as np
import pytest
from peers import require

from tinyvq import nn
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return Stream(seed, "normal", *shape).normal(shape)


# Batch norm.


@pytest.mark.torch
def test_batch_norm_is_pytorchs_over_several_steps_and_in_evaluation() -> None:
    torch = require("torch")
    ours = nn.BatchNorm2d(3).astype(np.float64)
    theirs = torch.nn.BatchNorm2d(3).double()
    for seed in range(4):
        x = 2 * normal(5, 4, 3, 3, seed=seed) + seed
        x_t = torch.tensor(x.transpose(0, 3, 1, 2).copy())
        y, y_t = ours(Tensor(x)), theirs(x_t)
        np.testing.assert_allclose(
            y.numpy(), y_t.detach().permute(0, 2, 3, 1), rtol=0, atol=1e-12
        )
    # Each step adds roundings of a few u to means and variances below 10.
    close = {"rtol": 0, "atol": 1e-13}
    np.testing.assert_allclose(ours.running_mean.numpy(), theirs.running_mean, **close)
    np.testing.assert_allclose(ours.running_var.numpy(), theirs.running_var, **close)
    ours.eval()
    theirs.eval()
    np.testing.assert_allclose(
        ours(Tensor(x)).numpy(),
        theirs(x_t).detach().permute(0, 2, 3, 1),
        rtol=0,
        atol=1e-12,
    )
    kept = ours.state_dict()
    ours(Tensor(x + 9))
    for name, array in ours.state_dict().items():  # evaluation learns nothing
        np.testing.assert_array_equal(array, kept[name])


def test_an_image_in_evaluation_does_not_depend_on_the_others() -> None:
    layer = nn.BatchNorm2d(2)
    layer(Tensor(normal(8, 3, 3, 2).astype(np.float32)))
    layer.eval()
    x = normal(4, 3, 3, 2, seed=1).astype(np.float32)
    together, alone = layer(Tensor(x)), layer(Tensor(x[1:2]))
    np.testing.assert_array_equal(together.numpy()[1:2], alone.numpy())


def test_frozen_statistics_stay_and_are_freed_again() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2)))
    x = Tensor(normal(4, 3, 3, 2).astype(np.float32))
    model(x)
    kept = model.state_dict()
    with nn.frozen_statistics(model):
        frozen = model(x)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, kept[name])
    with pytest.raises(KeyError), nn.frozen_statistics(model):
        raise KeyError
    # It is the batch's own statistics that normalise, frozen or not.
    np.testing.assert_array_equal(model(x).numpy(), frozen.numpy())
    assert any((a != kept[n]).any() for n, a in model.state_dict().items())


def test_the_gradient_of_evaluation_takes_the_statistics_as_constants() -> None:
    layer = nn.BatchNorm2d(1).astype(np.float64)
    with layer.running_var.mutate() as var, layer.running_mean.mutate() as mean:
        var[...], mean[...] = 4.0 - layer.eps, 3.0
    layer.eval()
    x = Tensor(normal(2, 1, 1, 1), requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 0.5, rtol=1e-15)


# Group and layer norm.


@pytest.mark.parametrize("groups", [0, 4, -1])
def test_channels_that_make_no_groups_are_refused(groups: int) -> None:
    with pytest.raises(ConfigError, match=f"6 channels do not make {groups} groups"):
        nn.GroupNorm(groups, 6)


def test_a_norm_without_channels_is_refused() -> None:
    for make in (nn.LayerNorm, nn.BatchNorm2d, lambda c: nn.GroupNorm(1, c)):
        with pytest.raises(ConfigError):
            make(0)


def test_a_norm_of_another_width_is_refused_when_it_comes() -> None:
    x = Tensor(np.ones((2, 3, 3, 5), np.float32))
    for layer in (nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.BatchNorm2d(4)):
        with pytest.raises(ShapeError, match=r"needs x .* got \(2, 3, 3, 5\)"):
            layer(x)


# Dropout.


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    layer = nn.Dropout(0.3, rng=Stream(0))
    x = Tensor(np.ones((200, 500), np.float32))
    y = layer(x).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    # 100,000 draws: the share is off by √(0.3·0.7/100,000) = 0.0014, six times at most.
    assert abs((y == 0).mean() - 0.3) < 0.009
    other = layer(x).numpy()
    assert (y != other).any()  # another call drops others


def test_dropout_is_off_in_evaluation_and_at_zero() -> None:
    x = Tensor(normal(3, 4))
    layer = nn.Dropout(0.5, rng=Stream(0))
    assert nn.Dropout(0.0)(x) is x
    assert layer.eval()(x) is x
    assert layer.calls.item() == 0


def test_dropout_goes_on_from_a_state_where_it_was() -> None:
    x = Tensor(np.ones((5, 6), np.float32))
    one, other = (nn.Dropout(0.5, rng=Stream(7)) for _ in range(2))
    for _ in range(3):
        one(x)
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one(x).numpy(), other(x).numpy())
    apart = nn.Dropout(0.5, rng=Stream(8))
    apart.load_state_dict(one.state_dict())
    assert (one(x).numpy() != apart(x).numpy()).any()


def test_dropout_drops_the_same_from_the_gradient() -> None:
    x = Tensor(np.ones((5, 6), np.float32), requires_grad=True)
    y = nn.Dropout(0.5, rng=Stream(0))(x)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


@pytest.mark.parametrize("p", [1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(p: float) -> None:
    with pytest.raises(ConfigError, match=r"needs p in \[0, 1\)"):
        nn.Dropout(p)


def test_gelu_as_a_layer() -> None:
    with no_grad():
        y = nn.GELU()(Tensor(np.array([-1.0, 0.0, 1.0])))
    # x Φ(x) at 1 is 0.8413; the tanh form has 0.8412.
    np.testing.assert_allclose(y.numpy(), [-0.1588, 0.0, 0.8412], atol=5e-5)
