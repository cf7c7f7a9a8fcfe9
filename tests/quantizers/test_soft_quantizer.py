"""SoftQuantizer: a mixture in training, the nearest code in evaluation."""

import math
import re

import numpy as np
import pytest
from quantizers.quantizer_examples import Array, bits, make, normal, still

from tinyvq import Tensor
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.quantizers import SoftQuantizer, kmeans
from tinyvq.rng import Stream

U32, U64 = 2.0**-24, 2.0**-53


def weights(z: Array, codes: Array, temperature: float) -> Array:
    """exp(-|z - e|² / T), made to add up to 1: from the distances themselves."""
    distances = ((z[:, None, :] - codes) ** 2).sum(axis=-1)  # (N, M)
    near = np.exp(-(distances - distances.min(axis=1, keepdims=True)) / temperature)
    return near / near.sum(axis=1, keepdims=True)


def divergence(p: Array) -> float:
    """Mean over rows of KL(p ‖ uniform), with 0 · log 0 = 0."""
    total = 0.0
    for row in p:
        total += sum(float(w) * math.log(float(w) * len(row)) for w in row if w > 0)
    return total / len(p)


def quantizer_of(codes: Array, **settings: float) -> SoftQuantizer:
    quantizer = still("soft", codes, **settings)
    assert isinstance(quantizer, SoftQuantizer)
    return quantizer


# Distances of values below 4 in 3 dimensions lie below 200, over the temperature; an
# error of u·200/T in an exponent is one of a weight, relative to it.
def tolerance(temperature: float, m: int = 6) -> float:
    return 8 * m * U64 * (1 + 200 / temperature)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_in_training_the_decoder_gets_the_weighted_codes(temperature: float) -> None:
    codes, z = normal(0, 6, 3, dtype="float64"), normal(1, 10, 3, dtype="float64")
    output = quantizer_of(codes, temperature=temperature)(Tensor(z.reshape(2, 5, 3)))
    p = weights(z, codes, temperature)
    np.testing.assert_allclose(
        output.quantized.numpy(),
        (p @ codes).reshape(2, 5, 3),
        rtol=0,
        atol=tolerance(temperature) * np.abs(codes).max(),
    )
    np.testing.assert_array_equal(output.indices.ravel(), p.argmax(axis=1))
    np.testing.assert_array_equal(output.codes.numpy(), codes[output.indices])
    assert output.stats.counts.sum() == 10


def test_in_evaluation_it_gets_the_nearest_code_bit_for_bit() -> None:
    codes, z = normal(0, 6, 3), normal(1, 2, 5, 3)
    quantizer = quantizer_of(codes)
    mixture = quantizer(Tensor(z)).quantized.numpy()
    output = quantizer.eval()(Tensor(z, requires_grad=True))
    distances = ((z[..., None, :] - codes) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(output.indices, distances.argmin(axis=-1))
    assert output.quantized.numpy().tobytes() == codes[output.indices].tobytes()
    assert not output.quantized.requires_grad
    assert (mixture != output.quantized.numpy()).any()


def test_the_colder_the_harder() -> None:
    codes, z = normal(0, 6, 3, dtype="float64"), normal(1, 10, 3, dtype="float64")
    quantizer = quantizer_of(codes, kl_weight=1.0)
    distances = ((z[:, None, :] - codes) ** 2).sum(axis=-1)
    first, second = np.sort(distances, axis=1)[:, :2].T
    spread = max(np.linalg.norm(a - b) for a in codes for b in codes)
    gaps, kls = [], []
    for temperature in (100.0, 10.0, 1.0, 0.1, 0.01, 0.001):
        quantizer.temperature = temperature
        output = quantizer(Tensor(z))
        gap = np.linalg.norm((output.quantized - output.codes).numpy(), axis=1)
        # Each other code weighs at most exp(-(second - first) / T).
        others = 5 * np.exp(-(second - first) / temperature)
        assert (gap <= spread * (others + tolerance(temperature))).all()
        gaps.append(gap.max())
        kls.append(output.loss.item())
    assert gaps == sorted(gaps, reverse=True)
    assert kls == sorted(kls)
    # From even weights to one certain code.
    assert kls[0] < 0.01
    assert kls[-1] == pytest.approx(math.log(6), rel=tolerance(0.001))


@pytest.mark.parametrize("temperature", [1e-30, 1e-37, 1e-45, 1e-300])
def test_however_cold_the_weights_are_those_of_the_nearest(temperature: float) -> None:
    codes, values = normal(0, 6, 3), 1e3 * normal(1, 10, 3)
    quantizer = quantizer_of(codes, temperature=temperature, kl_weight=1.0)
    z = Tensor(values, requires_grad=True)
    output = quantizer(z)
    np.testing.assert_array_equal(output.quantized.numpy(), output.codes.numpy())
    assert output.loss.item() == pytest.approx(math.log(6), rel=8 * U32)
    (output.loss + output.quantized.sum()).backward()
    assert z.grad is not None
    np.testing.assert_array_equal(z.grad.numpy(), 0)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_the_loss_is_the_weighted_divergence_from_uniform(temperature: float) -> None:
    codes, z = normal(0, 6, 3, dtype="float64"), normal(1, 10, 3, dtype="float64")
    p = weights(z, codes, temperature)
    for kl_weight in (0.0, 0.5, 2.0):
        quantizer = quantizer_of(codes, temperature=temperature, kl_weight=kl_weight)
        found = quantizer(Tensor(z)).loss.item()
        expected = kl_weight * divergence(p)
        # Each w·log(w·M) moves by its weight's error times at most 1 + log M.
        allowed = kl_weight * 3 * tolerance(temperature)
        assert found == pytest.approx(expected, rel=0, abs=allowed)


def test_codes_weigh_as_they_do_wherever_the_origin_is() -> None:
    """In float32, where products of values around 1024 lose their first decimal."""
    grid = 2.0**10  # so that nothing is rounded where it is moved to 1024
    codes, z = (np.round(normal(i, 9, 3) * grid) / grid for i in (0, 1))
    near, far = (
        quantizer_of(codes + moved, kl_weight=1.0)(Tensor(z + moved))
        for moved in (np.float32(0), np.float32(1024))
    )
    np.testing.assert_array_equal(near.indices, far.indices)
    allowed = 3 * tolerance(1.0, m=9) * U32 / U64
    assert near.loss.item() == pytest.approx(far.loss.item(), rel=0, abs=allowed)
    # The mixture itself is of codes around 1024.
    atol = allowed + 2 * 9 * 1024 * U32
    found = far.quantized.numpy() - 1024
    np.testing.assert_allclose(found, near.quantized.numpy(), rtol=0, atol=atol)


def test_codes_alike_weigh_alike_and_cost_nothing() -> None:
    quantizer = quantizer_of(np.ones((5, 2)), kl_weight=1.0)
    output = quantizer(Tensor(normal(0, 4, 2, dtype="float64")))
    # Five times 1/5 is 1 to a rounding or two.
    np.testing.assert_allclose(output.quantized.numpy(), 1.0, rtol=0, atol=8 * U64)
    assert output.loss.item() == pytest.approx(0.0, abs=8 * U64)
    np.testing.assert_array_equal(output.indices, 0)


def test_gradients_of_the_loss_and_of_the_mixture() -> None:
    """Written out: ds[j]/dL = p[j] (a[j] - Σ p a) / T, where a is dL/dp.

    s are the scores 2 z·e - |e|², so ds/dz = 2 e and ds/de = 2 (z - e).
    """
    codes, values = normal(0, 6, 3, dtype="float64"), normal(1, 4, 3, dtype="float64")
    upstream = normal(2, 4, 3, dtype="float64")
    temperature, kl_weight = 0.7, 0.3
    quantizer = quantizer_of(codes, temperature=temperature, kl_weight=kl_weight)
    z = Tensor(values, requires_grad=True)
    output = quantizer(z)
    ((output.quantized * upstream).sum() + output.loss).backward()

    p = weights(values, codes, temperature)
    gz, ge = np.zeros_like(values), np.zeros_like(codes)
    for n in range(4):
        a = codes @ upstream[n] + kl_weight / 4 * (np.log(p[n]) + 1)
        gs = p[n] * (a - p[n] @ a) / temperature
        gz[n] = sum(2 * gs[m] * codes[m] for m in range(6))
        for m in range(6):
            ge[m] += 2 * gs[m] * (values[n] - codes[m]) + p[n, m] * upstream[n]
    # Sums of at most 4 · 6 products, each of four factors below 4.
    allowed = 24 * 4**4 * tolerance(temperature)
    assert z.grad is not None
    assert quantizer.codebook.grad is not None
    np.testing.assert_allclose(z.grad.numpy(), gz, rtol=0, atol=allowed)
    np.testing.assert_allclose(
        quantizer.codebook.grad.numpy(), ge, rtol=0, atol=allowed
    )
    assert np.abs(gz).max() > 1e3 * allowed
    assert np.abs(ge).max() > 1e3 * allowed


def test_a_certain_code_has_no_gradient_and_no_nan() -> None:
    """The weights of the others underflow to 0: p · log p must not be 0 · inf."""
    codes = np.array([[0.0, 0.0], [100.0, 0.0]], np.float32)
    quantizer = quantizer_of(codes, temperature=0.01, kl_weight=1.0)
    z = Tensor(codes[[0, 1, 1]], requires_grad=True)
    output = quantizer(z)
    (output.loss + output.quantized.sum()).backward()
    np.testing.assert_array_equal(output.quantized.numpy(), codes[[0, 1, 1]])
    assert output.loss.item() == pytest.approx(math.log(2), rel=2.0**-22)
    assert z.grad is not None
    np.testing.assert_array_equal(z.grad.numpy(), 0)


def test_the_start_places_codes_by_kmeans_once() -> None:
    quantizer = make("soft", 6, 2, rng=Stream(5))
    vectors = normal(0, 40, 2)
    first = quantizer.codebook.numpy().copy()
    stats = quantizer(Tensor(vectors)).stats
    np.testing.assert_array_equal(quantizer.codebook, first)
    update = quantizer.update(stats)
    assert update.started
    assert update.moved == slice(None)
    codes, _ = kmeans(vectors, 6, Stream(5, "k-means"))
    np.testing.assert_array_equal(quantizer.codebook, codes)

    again = quantizer.update(quantizer(Tensor(normal(1, 40, 2))).stats)
    assert not again.started
    assert again.restarted.size == 0
    np.testing.assert_array_equal(quantizer.codebook, codes)


def test_forward_and_backward_leave_the_whole_state_as_it_is() -> None:
    quantizer = make("soft", 8, 3)
    before = bits(quantizer)
    for mode in (True, False):
        quantizer.train(mode)
        output = quantizer(Tensor(normal(1, 60, 3), requires_grad=True))
        (output.loss + output.quantized.sum()).backward()
    assert bits(quantizer) == before


def test_the_optimiser_moves_the_codes() -> None:
    quantizer = make("soft", 8, 3)
    assert list(quantizer.trained_codebook()) == quantizer.parameters()
    assert quantizer.parameters() == [quantizer.codebook]


# What is refused.


@pytest.mark.parametrize("shape", [(), (3,), (5, 3), (2, 0), (0, 2)])
def test_vectors_of_another_width_or_none_are_refused(shape: tuple[int, ...]) -> None:
    message = "SoftQuantizer: needs z (..., 2), the width of its codes, with at least "
    with pytest.raises(
        ShapeError, match=f"{re.escape(message)}.*{re.escape(f'{shape}')}"
    ):
        make("soft", 4, 2)(Tensor(np.zeros(shape, np.float32)))


def test_a_vector_that_is_not_finite_is_refused_by_its_row() -> None:
    z = normal(0, 4, 2)
    z[2, 0] = np.inf
    with pytest.raises(ValueError, match="row 2 of z has NaN or inf"):
        make("soft", 4, 2)(Tensor(z))


def test_vectors_of_another_dtype_are_refused() -> None:
    with pytest.raises(TypeError, match="z is float64 and codes is float32; convert"):
        make("soft", 4, 2)(Tensor(np.zeros((3, 2))))


def test_indices_outside_the_codebook_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"indices must be in 0 \.\. 3, got -1 \.\. 2"):
        make("soft", 4, 2).lookup(np.array([2, -1]))
    with pytest.raises(DTypeError, match="indices must be integers, got float64"):
        make("soft", 4, 2).lookup(np.array([1.0]))


def test_stats_of_another_codebook_are_refused_and_change_nothing() -> None:
    quantizer = make("soft", 4, 2)
    before = bits(quantizer)
    stats = make("soft", 5, 2)(Tensor(normal(0, 9, 2))).stats
    with pytest.raises(ShapeError, match="of a 4×2 codebook, got those of 5×2"):
        quantizer.update(stats)
    assert bits(quantizer) == before


@pytest.mark.parametrize(("m", "d"), [(0, 2), (2, 0)])
def test_a_codebook_without_codes_or_width_is_refused(m: int, d: int) -> None:
    with pytest.raises(ConfigError, match=f"at least one code and width, got {m}×{d}"):
        make("soft", m, d)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_must_be_above_0_also_when_it_is_changed_later(
    temperature: float,
) -> None:
    message = f"needs temperature > 0 and kl_weight >= 0, got {temperature} and 0"
    with pytest.raises(ConfigError, match=message):
        make("soft", 4, 2, temperature=temperature)
    quantizer = make("soft", 4, 2)
    quantizer.temperature = temperature
    with pytest.raises(ConfigError, match=message):
        quantizer(Tensor(normal(0, 9, 2)))


@pytest.mark.parametrize("kl_weight", [-0.5, math.nan, math.inf])
def test_a_weight_of_the_divergence_must_not_be_negative(kl_weight: float) -> None:
    with pytest.raises(ConfigError, match=f"kl_weight >= 0, got 1.0 and {kl_weight}"):
        make("soft", 4, 2, kl_weight=kl_weight)
