"""Codes of length 1, and gradients that are turned from the code's place to z's."""

from typing import Any

import numpy as np
import pytest
from peers import require
from quantizers.quantizer_examples import HARD, Array, make, normal, still, told_apart

from tinyvq import Tensor
from tinyvq.errors import ConfigError
from tinyvq.ops import rotation_trick
from tinyvq.quantizers import VectorQuantizer

both = pytest.mark.parametrize("learn", HARD)

U32, U64 = 2.0**-24, 2.0**-53


def unit(x: Array) -> Array:
    x = x.astype(np.float64)
    return np.asarray(x / np.sqrt((x**2).sum(axis=-1, keepdims=True)))


def assert_of_length_1(vectors: Any) -> None:
    """Each value is a float32 times a float32 scale: two roundings; ε adds 5e-13."""
    lengths = np.sqrt((np.asarray(vectors).astype(np.float64) ** 2).sum(axis=-1))
    np.testing.assert_allclose(lengths, 1.0, rtol=0, atol=2.01 * U32)


# normalize


@both
def test_normalized_codes_are_of_length_1_wherever_they_are_seen(learn: str) -> None:
    quantizer = make(learn, 12, 4, normalize=True, restart_below=0.5, decay=0.5)
    z = 5 + 3 * normal(0, 60, 4)
    for step in range(4):  # first codes, k-means, running means, restarts
        output = quantizer(Tensor(z))
        for vectors in (output.codes, output.quantized, output.stats.vectors):
            assert_of_length_1(vectors)
        assert_of_length_1(quantizer.lookup(np.arange(12)))
        update = quantizer.update(output.stats)
        assert update.started == (step == 0)
        z = 5 + 3 * normal(step + 1, 60, 4)
    assert update.restarted.size > 0


@both
def test_the_first_codes_of_a_large_codebook_are_of_length_1(learn: str) -> None:
    """Drawn from ±1/M, they would be too short to be made longer."""
    quantizer = make(learn, 20_000, 4, normalize=True)
    codes = quantizer.lookup(np.arange(20_000)).numpy()
    assert_of_length_1(codes)
    # Of random signs: the mean of n values of root mean square 1/2.
    assert np.abs(codes.astype(np.float64).mean(axis=0)).max() < 6 * 0.5 / 20_000**0.5


@both
def test_the_nearest_normalized_code_has_the_largest_cosine(learn: str) -> None:
    codes = normal(0, 40, 5) * (0.1 + np.abs(normal(1, 40, 1)))
    z = normal(2, 500, 5)
    output = still(learn, codes, normalize=True)(Tensor(z))
    cosines = unit(z) @ unit(codes).T  # (N, M)
    chosen = np.take_along_axis(cosines, output.indices[:, None], axis=1)[:, 0]
    # Scores of vectors of length 1 are off by 2 γ_6, and two are held against each
    # other; and the vectors by 2 roundings each.
    assert (chosen >= cosines.max(axis=1) - 2 * (2 * 6 + 4) * 1.01 * U32).all()
    assert (output.indices == cosines.argmax(axis=1)).mean() > 0.99
    plain = still(learn, codes)(Tensor(z)).indices
    assert (plain != output.indices).mean() > 0.1


@both
def test_the_length_of_a_vector_does_not_matter(learn: str) -> None:
    codes, z = normal(0, 9, 3), normal(1, 50, 3)
    lengths = np.exp(3 * normal(2, 50, 1))
    quantizer = still(learn, codes, normalize=True)
    one, other = (quantizer(Tensor(x)) for x in (z, z * lengths))
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.codes.numpy(), other.codes.numpy())


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_indices_and_normalized_codes_round_trip(learn: str, dtype: str) -> None:
    codes = 3 * normal(0, 64, 6, dtype=dtype)
    quantizer = still(learn, codes, normalize=True)
    placed = quantizer.lookup(np.arange(64))
    assert told_apart(placed.numpy())
    for training in (True, False):
        output = quantizer.train(training)(placed)
        np.testing.assert_array_equal(output.indices, np.arange(64))
        np.testing.assert_array_equal(output.codes.numpy(), placed.numpy())


@both
def test_k_means_starts_on_directions(learn: str) -> None:
    quantizer = make(learn, 8, 3, normalize=True)
    z = 7 * normal(0, 8, 3)
    quantizer.update(quantizer(Tensor(z)).stats)
    output = quantizer(Tensor(z))
    # As many vectors as codes: each is its own cluster.
    assert sorted(output.indices) == list(range(8))
    np.testing.assert_allclose(output.codes.numpy(), unit(z), rtol=0, atol=4 * U32)


@both
def test_a_dead_normalized_code_goes_to_a_direction_of_the_batch(learn: str) -> None:
    codes = np.eye(3, dtype=np.float32)
    quantizer = still(learn, codes, normalize=True, restart_below=0.5, decay=0.0)
    z = np.array([[9, 1, 0], [8, -1, 0], [-1, 4, 0], [1, 5, 0]], np.float32)
    update = quantizer.update(quantizer(Tensor(z)).stats)
    np.testing.assert_array_equal(update.restarted, [2])
    placed = quantizer.lookup(np.array(2)).numpy()
    assert np.abs(unit(z) - placed).max(axis=1).min() <= 4 * U32


def test_a_normalized_code_is_the_direction_of_its_vectors_mean_direction() -> None:
    codes = np.eye(2)
    quantizer = still("ema", codes, normalize=True, decay=0.0)
    z = np.array([[3.0, 4.0], [30.0, 0.0], [0.0, 0.1]])  # lengths 5, 30 and 0.1
    quantizer.update(quantizer(Tensor(z)).stats)
    # The first is nearer to (0,1): with the third, (0.6, 1.8) / 2.
    wanted = unit(np.array([[1.0, 0.0], [0.6, 1.8]]))
    found = quantizer.lookup(np.arange(2)).numpy()
    # ε makes a vector of length 0.1 shorter by 5e-11 of it; the code's own ε adds less.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


@both
def test_what_only_stretches_z_has_no_gradient(learn: str) -> None:
    quantizer = still(learn, normal(0, 7, 4, dtype="float64"), normalize=True)
    z = Tensor(normal(1, 30, 4, dtype="float64"), requires_grad=True)
    output = quantizer(z)
    (
        (output.quantized * normal(2, 30, 4, dtype="float64")).sum() + output.loss
    ).backward()
    assert z.grad is not None
    along = (z.grad.numpy() * z.numpy()).sum(axis=-1)
    # It is |z| ε / |z|³ of the upstream gradient, and |z| is above 1/4 here.
    assert (np.abs(z.numpy()) ** 2).sum(axis=-1).min() > 1 / 16
    assert np.abs(along).max() < 16 * 1e-12 * 10
    assert np.abs(z.grad.numpy()).max() > 0.1


# estimator


def rotated_gradient(z: Array, codes: Array, upstream: Array) -> Array:
    tensor = Tensor(z, requires_grad=True)
    rotation_trick(tensor, codes).backward(upstream)
    assert tensor.grad is not None
    return tensor.grad.numpy()


@both
@pytest.mark.parametrize("normalize", [False, True])
def test_the_estimator_changes_the_gradient_of_z_alone(
    learn: str, normalize: bool
) -> None:
    z, upstream = normal(1, 30, 3), normal(2, 30, 3)
    found = {}
    for estimator in ("straight_through", "rotation"):
        quantizer = still(
            learn, normal(0, 8, 3), normalize=normalize, estimator=estimator
        )
        tensor = Tensor(z, requires_grad=True)
        output = quantizer(tensor)
        output.quantized.backward(upstream)
        assert quantizer.codebook.grad is None
        assert output.quantized.numpy().tobytes() == output.codes.numpy().tobytes()
        assert tensor.grad is not None
        found[estimator] = (
            output.quantized.numpy().tobytes(),
            output.indices.tobytes(),
            output.loss.item(),
            tensor.grad.numpy(),
        )
    one, other = found.values()
    assert one[:3] == other[:3]
    assert np.abs(one[3] - other[3]).max() > 0.1


def test_the_gradient_is_turned_back_by_the_angle_and_stretched() -> None:
    """In the plane, vectors are complex numbers, and a rotation a factor."""
    z, codes, upstream = (normal(s, 200, 2, dtype="float64") for s in range(3))
    a, b, g = (x[:, 0] + 1j * x[:, 1] for x in (z, codes, upstream))
    turn = (b / abs(b)) / (a / abs(a))  # takes the direction of z to the code's
    wanted = abs(b) / abs(a) * g / turn
    found = rotated_gradient(z, codes, upstream)
    assert abs(turn + 1).min() > 0.01
    # Directions are off by 4 U, their sum by 4 U / 0.01 of itself, which counts twice.
    tolerance = 20 * 400 * U64 * np.abs(wanted)
    assert (abs(found[:, 0] + 1j * found[:, 1] - wanted) <= tolerance).all()


@pytest.mark.parametrize("d", [2, 3, 8])
def test_the_gradient_stands_to_z_as_upstream_stands_to_the_code(d: int) -> None:
    z, codes, upstream = (normal(s, 100, d, dtype="float64") for s in (3, 4, 5))
    found = rotated_gradient(z, codes, upstream)
    ratio = np.sqrt((codes**2).sum(axis=1) / (z**2).sum(axis=1))
    lengths = np.sqrt((found**2).sum(axis=1) / (upstream**2).sum(axis=1))
    cosines = [
        (unit(x) * unit(y)).sum(axis=1) for x, y in ((found, z), (upstream, codes))
    ]
    closeness = np.sqrt(((unit(z) + unit(codes)) ** 2).sum(axis=1)).min()
    tolerance = 20 * 4 * (d + 4) * U64 / closeness
    np.testing.assert_allclose(lengths, ratio, rtol=tolerance, atol=0)
    np.testing.assert_allclose(*cosines, rtol=0, atol=tolerance)


@pytest.mark.torch
@pytest.mark.parametrize("d", [1, 2, 3, 16])
def test_the_gradient_is_that_of_the_detach_form(d: int) -> None:
    torch = require("torch")
    z, codes, upstream = (normal(s, 100, d, dtype="float64") for s in (6, 7, 8))
    if d == 1:
        codes = np.abs(codes) * np.sign(z)  # opposite numbers have no plane
    t, e = torch.tensor(z, requires_grad=True), torch.tensor(codes)
    with torch.no_grad():
        length, other = (x.norm(dim=-1, keepdim=True) for x in (t, e))
        u, q = t / length, e / other
        w = torch.nn.functional.normalize(u + q, dim=-1)
    turned = t - 2 * (t * w).sum(-1, keepdim=True) * w
    turned = turned + 2 * (t * u).sum(-1, keepdim=True) * q
    (other / length * turned).backward(torch.tensor(upstream))
    found = rotated_gradient(z, codes, upstream)
    closeness = float((u + q).norm(dim=-1).min())
    tolerance = 20 * 4 * (d + 4) * U64 / closeness * float(t.grad.abs().max())
    np.testing.assert_allclose(found, t.grad.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("z", "code"),
    [
        ([0.0, 0, 0], [1.0, 2, 3]),
        ([1.0, 2, 3], [0.0, 0, 0]),
        ([0.0, 0, 0], [0.0, 0, 0]),
        ([1.0, 2, 3], [-1.0, -2, -3]),
        ([1.0, 2, 3], [-4.0, -8, -12]),
        ([1e-30, 0, 0], [-1e-30, 0, 0]),
    ],
)
def test_where_there_is_no_rotation_the_gradient_goes_straight_through(
    z: list[float], code: list[float], dtype: str
) -> None:
    upstream = normal(0, 3, dtype=dtype)
    with np.errstate(all="raise", under="ignore"):
        found = rotated_gradient(np.array(z, dtype), np.array(code, dtype), upstream)
    np.testing.assert_array_equal(found, upstream, strict=True)


def test_a_code_in_the_same_direction_only_stretches() -> None:
    z = np.array([[3.0, 4.0], [-1.0, 0.0]])
    upstream = np.array([[1.0, -2.0], [0.5, 8.0]])
    found = rotated_gradient(z, 2 * z, upstream)
    # Directions are off by 2 U, and what is made of them by a few more.
    np.testing.assert_allclose(found, 2 * upstream, rtol=0, atol=16 * 2 * 8 * U64)


# What is refused.


@both
@pytest.mark.parametrize("name", ["straight-through", "", "Rotation", None])
def test_another_estimator_is_refused(learn: str, name: Any) -> None:
    message = f"one of straight_through, rotation, got {name!r}"
    with pytest.raises(ConfigError, match=message):
        VectorQuantizer(4, 2, learn=learn, estimator=name)  # type: ignore[arg-type]
