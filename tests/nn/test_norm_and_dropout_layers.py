"""Norms that remember, and dropout that can be repeated."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peers import require

from tinyvq import nn
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad

Array = npt.NDArray[np.float64]


def normal(*shape: int, seed: int = 0) -> Array:
    return Stream(seed, "normal", *shape).normal(shape)


# Sums of at most 100 values below 10, in float64, on either side, and a few roundings
# of what is made of them; gradients are multiplied by 1/σ, which is below 2 here.
CLOSE = {"rtol": 0, "atol": 2 * 110 * 10 * 2 * 2.0**-53}


def assert_same_as_pytorch(ours: nn.Module, theirs: Any, x: Array) -> None:
    """Hold the output, and the gradients of the input and of both parameters."""
    torch = require("torch")
    x_t = torch.tensor(x, requires_grad=True)
    x_o = Tensor(x, requires_grad=True)
    channels_first = x.ndim == 4 and not isinstance(theirs, torch.nn.LayerNorm)
    y_t = theirs(x_t.permute(0, 3, 1, 2) if channels_first else x_t)
    y_t = y_t.permute(0, 2, 3, 1) if channels_first else y_t
    y = ours(x_o)
    np.testing.assert_allclose(y.numpy(), y_t.detach().numpy(), **CLOSE)
    gy = normal(*x.shape, seed=99)
    ours.zero_grad()
    theirs.zero_grad()
    y.backward(gy)
    y_t.backward(torch.tensor(gy))
    for found, wanted in zip(
        (x_o, *ours.parameters()), (x_t, *theirs.parameters()), strict=True
    ):
        assert found.grad is not None
        np.testing.assert_allclose(found.grad.numpy(), wanted.grad.numpy(), **CLOSE)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (
            lambda: nn.GroupNorm(3, 6),
            lambda torch: torch.nn.GroupNorm(3, 6, eps=1e-6),
            (2, 4, 3, 6),
        ),
        (
            lambda: nn.GroupNorm(2, 6, eps=0.1),
            lambda torch: torch.nn.GroupNorm(2, 6, eps=0.1),
            (2, 4, 3, 6),
        ),
        (lambda: nn.LayerNorm(6), lambda torch: torch.nn.LayerNorm(6), (2, 4, 3, 6)),
        (
            lambda: nn.LayerNorm(6, eps=0.1),
            lambda torch: torch.nn.LayerNorm(6, eps=0.1),
            (5, 6),
        ),
        (
            lambda: nn.BatchNorm2d(6, eps=0.1),
            lambda torch: torch.nn.BatchNorm2d(6, eps=0.1),
            (2, 4, 3, 6),
        ),
    ],
)
def test_norms_are_pytorchs(ours: Any, theirs: Any, shape: tuple[int, ...]) -> None:
    torch = require("torch")
    layer, peer = ours().astype(np.float64), theirs(torch).double()
    for k, (mine, other) in enumerate(
        zip(layer.parameters(), peer.parameters(), strict=True)
    ):
        values = normal(6, seed=10 + k)
        with mine.mutate() as array, torch.no_grad():
            array[...] = values
            other.copy_(torch.tensor(values))
    assert_same_as_pytorch(layer, peer, 1 + 2 * normal(*shape))


# Batch norm.


@pytest.mark.torch
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_batch_norm_is_pytorchs_over_several_steps_and_in_evaluation(
    momentum: float,
) -> None:
    torch = require("torch")
    ours = nn.BatchNorm2d(3, momentum=momentum).astype(np.float64)
    theirs = torch.nn.BatchNorm2d(3, momentum=momentum).double()
    for seed in range(4):
        x = 2 * normal(5, 4, 3, 3, seed=seed) + seed
        assert_same_as_pytorch(ours, theirs, x)
    # Means and variances below 10, each step's off by as much as its sums.
    for name in ("running_mean", "running_var"):
        found, wanted = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), **CLOSE)
    ours.eval()
    theirs.eval()
    kept = ours.state_dict()
    assert_same_as_pytorch(ours, theirs, x + 1)
    for name, array in ours.state_dict().items():  # evaluation learns nothing
        np.testing.assert_array_equal(array, kept[name])


def test_a_batch_of_one_value_becomes_the_bias() -> None:
    layer = nn.BatchNorm2d(2)
    y = layer(Tensor(np.array([[[[3.0, -5.0]]]], np.float32)))
    np.testing.assert_array_equal(y.numpy(), np.zeros((1, 1, 1, 2)))
    # A tenth of the batch's mean, and of its variance of 0.
    np.testing.assert_allclose(layer.running_mean.numpy(), [0.3, -0.5], rtol=2**-23)
    np.testing.assert_allclose(layer.running_var.numpy(), [0.9, 0.9], rtol=2**-23)


def test_running_statistics_are_state_and_not_parameters() -> None:
    layer = nn.BatchNorm2d(3)
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    assert [path for path, _ in layer.named_parameters()] == ["weight", "bias"]
    layer(Tensor(normal(4, 3, 3, 3).astype(np.float32)))
    other = nn.BatchNorm2d(3)
    other.load_state_dict(layer.state_dict())
    x = Tensor(normal(2, 3, 3, 3, seed=1).astype(np.float32))
    np.testing.assert_array_equal(
        other.eval()(x).numpy(), layer.eval()(x).numpy(), strict=True
    )


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
    with nn.frozen_statistics(model):
        with nn.frozen_statistics(model):
            pass
        model(x)  # still frozen
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, kept[name])
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


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan")])
def test_a_norm_needs_an_eps(eps: float) -> None:
    for make in (
        lambda eps: nn.GroupNorm(2, 4, eps),
        lambda eps: nn.LayerNorm(4, eps),
        lambda eps: nn.BatchNorm2d(4, eps),
    ):
        with pytest.raises(ConfigError, match=f"a norm needs eps > 0, got {eps}"):
            make(eps)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_a_momentum_that_is_no_share_is_refused(momentum: float) -> None:
    message = rf"needs momentum in 0 \.\. 1, got {momentum}"
    with pytest.raises(ConfigError, match=message):
        nn.BatchNorm2d(4, momentum=momentum)


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


def test_layers_that_share_a_stream_drop_independently() -> None:
    x = Tensor(np.ones((40, 50), np.float32))
    rng = Stream(7)
    masks = [nn.Dropout(0.5, rng=rng)(x).numpy() > 0 for _ in range(3)]
    masks.append(nn.Dropout(0.5)(x).numpy() > 0)  # a stream of its own
    for i, one in enumerate(masks):
        for other in masks[:i]:
            # They agree half the time: of 2,000 draws, off by 22, six times at most.
            assert abs((one == other).sum() - 1000) < 6 * 23


def test_what_is_dropped_depends_on_the_calls_and_not_on_their_shapes() -> None:
    ones = [Tensor(np.ones(shape, np.float32)) for shape in ((3, 5), (7, 2), (4, 4))]
    one, other = (nn.Dropout(0.5, rng=Stream(3)) for _ in range(2))
    one(ones[0])
    other(ones[1])
    other.eval()(ones[0])  # does not count
    other.train()
    np.testing.assert_array_equal(one(ones[2]).numpy(), other(ones[2]).numpy())
    assert one.calls.item() == other.calls.item() == 2


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
