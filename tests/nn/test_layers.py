"""Layers: shapes, first weights, and what each computes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyvq import nn, ops
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(Stream(seed, "layers").normal(shape, "float32"))


LAYERS: dict[str, tuple[Callable[[Stream], nn.Module], dict[str, Any], int]] = {
    # how it is made, the shapes of its parameters, and over how many inputs each sums
    "Conv2d": (
        lambda rng: nn.Conv2d(3, 8, 4, stride=2, padding=1, rng=rng),
        {"weight": (4, 4, 3, 8), "bias": (8,)},
        3 * 4 * 4,
    ),
    "ConvTranspose2d": (
        lambda rng: nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1, rng=rng),
        {"weight": (4, 4, 8, 3), "bias": (8,)},
        8 * 4 * 4,
    ),
    "Linear": (
        lambda rng: nn.Linear(20, 50, rng=rng),
        {"weight": (20, 50), "bias": (50,)},
        20,
    ),
}
weighted = pytest.mark.parametrize("name", LAYERS)


@weighted
def test_parameters_have_the_shapes_that_the_op_takes(name: str) -> None:
    make, shapes, _ = LAYERS[name]
    found = {path: p.shape for path, p in make(Stream(0)).named_parameters()}
    assert found == shapes
    assert {p.dtype for p in make(Stream(0)).parameters()} == {np.dtype("float32")}


@weighted
def test_first_weights_are_uniform_within_the_bound_of_the_fan_in(name: str) -> None:
    make, _, fan_in = LAYERS[name]
    drawn = [make(Stream(seed)) for seed in range(60)]
    bound = np.float32(1 / math.sqrt(fan_in))
    for which in ("weight", "bias"):
        values = np.concatenate([d.state_dict()[which].ravel() for d in drawn])
        assert np.abs(values).max() <= bound
        # Of n values uniform in ±1, the mean is off by 1/√(3n), the mean square (1/3)
        # by √(4/45 n): six times that happens once in a billion.
        unit, n = values.astype(np.float64) / bound, values.size
        assert abs(unit.mean()) < 6 / math.sqrt(3 * n)
        assert abs((unit**2).mean() - 1 / 3) < 6 * math.sqrt(4 / (45 * n))


def test_first_embeddings_are_standard_normal() -> None:
    table = nn.Embedding(1000, 64, rng=Stream(0)).weight
    assert (table.shape, table.dtype) == ((1000, 64), np.dtype("float32"))
    values, n = table.numpy().astype(np.float64), table.size
    # The mean is off by 1/√n, the mean square (1) by √(2/n).
    assert abs(values.mean()) < 6 / math.sqrt(n)
    assert abs((values**2).mean() - 1) < 6 * math.sqrt(2 / n)


@weighted
def test_weights_are_a_function_of_the_stream(name: str) -> None:
    make, _, _ = LAYERS[name]

    def bits(layer: nn.Module) -> list[bytes]:
        return [array.tobytes() for array in layer.state_dict().values()]

    assert bits(make(Stream(1))) == bits(make(Stream(1)))
    assert bits(make(Stream(1))) != bits(make(Stream(2)))
    weight, bias = make(Stream(1)).parameters()
    # The bias is drawn after the weight, not from the same numbers.
    n = min(weight.size, bias.size)
    assert not np.array_equal(weight.numpy().ravel()[:n], bias.numpy()[:n])


def test_without_a_stream_weights_differ_from_call_to_call() -> None:
    assert not np.array_equal(nn.Linear(9, 9).weight.numpy(), nn.Linear(9, 9).weight)
    assert not np.array_equal(
        nn.Embedding(9, 9).weight.numpy(), nn.Embedding(9, 9).weight
    )


def test_a_layer_without_bias_has_none() -> None:
    for layer in (
        nn.Conv2d(3, 8, 1, bias=False),
        nn.ConvTranspose2d(3, 8, 1, bias=False),
        nn.Linear(3, 8, bias=False),
    ):
        assert [path for path, _ in layer.named_parameters()] == ["weight"]
        assert layer.bias is None
    assert nn.Linear(3, 8, bias=False)(normal(2, 3)).shape == (2, 8)


@pytest.mark.parametrize(
    ("make", "came"),
    [
        (lambda: nn.Conv2d(0, 8, 3), r"\(3, 3, 0, 8\)"),
        (lambda: nn.Conv2d(3, 8, 0), r"\(0, 0, 3, 8\)"),
        (lambda: nn.ConvTranspose2d(3, 0, 3), r"\(3, 3, 0, 3\)"),
        (lambda: nn.Linear(0, 8), r"\(0, 8\)"),
        (lambda: nn.Linear(8, -1), r"\(8, -1\)"),
    ],
)
def test_a_layer_of_no_size_is_refused(
    make: Callable[[], nn.Module], came: str
) -> None:
    with pytest.raises(ConfigError, match=f"sizes of at least 1, got {came}"):
        make()


# What each computes: its op, with its own parameters and settings.


def assert_equal(a: Tensor, b: Tensor) -> None:
    np.testing.assert_array_equal(a.numpy(), b.numpy(), strict=True)


def test_conv2d_runs_with_its_settings() -> None:
    x = normal(2, 9, 8, 3)
    for settings in ({}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}):
        layer = nn.Conv2d(3, 5, 3, **settings, rng=Stream(0))
        assert_equal(layer(x), ops.conv2d(x, layer.weight, layer.bias, **settings))
    assert nn.Conv2d(3, 5, 4, stride=2, padding=1)(x).shape == (2, 4, 4, 5)


def test_conv_transpose2d_runs_with_its_settings() -> None:
    y = normal(2, 4, 5, 3)
    for settings in (
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"dilation": 2, "padding": 1},
    ):
        layer = nn.ConvTranspose2d(3, 5, 3, **settings, rng=Stream(0))
        wanted = ops.conv_transpose2d(y, layer.weight, layer.bias, **settings)
        assert_equal(layer(y), wanted)
    assert nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1)(y).shape == (2, 8, 10, 5)


def test_linear_and_embedding_run_their_ops() -> None:
    linear, table = nn.Linear(3, 5), nn.Embedding(4, 3)
    x, indices = normal(2, 6, 3), Tensor([[0, 3], [3, 1]])
    assert_equal(linear(x), ops.linear(x, linear.weight, linear.bias))
    assert_equal(table(indices), ops.embedding(table.weight, indices))
    assert table(indices).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("layer", "op"),
    [
        (nn.ReLU(), ops.relu),
        (nn.LeakyReLU(), ops.leaky_relu),
        (nn.LeakyReLU(0.2), lambda x: ops.leaky_relu(x, 0.2)),
        (nn.SiLU(), ops.silu),
        (nn.Sigmoid(), ops.sigmoid),
        (nn.Tanh(), ops.tanh),
        (nn.Reshape(3, 2, 1), lambda x: ops.reshape(x, 4, 3, 2, 1)),
        (nn.Reshape(-1), lambda x: ops.reshape(x, 4, 6)),
        (nn.Sequential(), lambda x: x),
        (nn.Sequential(ops.relu, nn.Tanh()), lambda x: ops.tanh(ops.relu(x))),
        (nn.Residual(), lambda x: x + x),
        (nn.Residual(nn.Tanh(), ops.relu), lambda x: x + ops.relu(ops.tanh(x))),
    ],
)
def test_layers_without_weights_run_their_ops(
    layer: Callable[[Tensor], Tensor], op: Callable[[Tensor], Tensor]
) -> None:
    x = normal(4, 6)
    assert_equal(layer(x), op(x))


def test_an_empty_batch_is_reshaped_as_its_items_would_be() -> None:
    assert nn.Reshape(-1)(normal(0, 3, 2)).shape == (0, 6)
    assert nn.Reshape(2, -1)(normal(0, 6)).shape == (0, 2, 3)
    with pytest.raises(ShapeError, match="cannot reshape array of size 6"):
        nn.Reshape(4, -1)(normal(0, 6))


def test_layers_within_layers_are_found_by_position() -> None:
    model = nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.Residual(nn.Tanh(), nn.Linear(4, 4, bias=False))
    )
    assert [path for path, _ in model.named_parameters()] == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.2.layers.1.weight",
    ]


def test_every_parameter_of_a_network_gets_its_gradient() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Residual(nn.ReLU(), nn.Conv2d(4, 4, 1)),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
        nn.Reshape(-1),
        nn.Linear(2 * 8 * 8, 5),
    )
    ops.mean(model(normal(2, 4, 4, 3))).backward()
    for path, p in model.named_parameters():
        assert p.grad is not None, path
        assert (p.grad.shape, p.grad.dtype) == (p.shape, p.dtype)
        assert np.abs(p.grad.numpy()).max() > 0, path


def test_an_input_that_does_not_fit_is_told() -> None:
    with pytest.raises(
        ShapeError, match=r"x \(2, 5, 5, 4\) has 4 channels, w .* takes 3"
    ):
        nn.Conv2d(3, 8, 3)(normal(2, 5, 5, 4))
    with pytest.raises(ShapeError, match=r"linear: needs x \(...,C\), w \(C,K\)"):
        nn.Linear(3, 8)(normal(2, 4))
