"""VectorQuantizer's forward: what it looks up, hands on, and measures."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizers.quantizer_examples import HARD, Array, bits, make, normal, still, whole

from tinyvq import Tensor, no_grad
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.nn import Buffer, Parameter
from tinyvq.quantizers import VectorQuantizer

pytestmark = pytest.mark.parametrize("learn", HARD)

leading = st.lists(st.integers(1, 5), max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def nearest(z: Array, codes: Array) -> Array:
    """Measure all distances; the first of the smallest."""
    distances = ((z[..., None, :] - codes) ** 2).sum(axis=-1)  # (..., M)
    return distances.argmin(axis=-1)


@given(shape=leading, m=st.integers(1, 40), d=st.integers(1, 6), seed=seeds)
def test_the_nearest_code_is_taken_and_ties_go_to_the_lowest(
    learn: str, shape: tuple[int, ...], m: int, d: int, seed: int
) -> None:
    # Small whole numbers: every sum is exact, so ties are ties in any order of adding.
    z, codes = whole(seed, *shape, d), whole(seed + 1, m, d, high=2)
    output = still(learn, codes)(Tensor(z))
    expected = nearest(z, codes)
    assert output.indices.dtype == np.int64
    np.testing.assert_array_equal(output.indices, expected, strict=True)
    np.testing.assert_array_equal(output.codes.numpy(), codes[expected], strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_decoder_gets_the_codes_bit_for_bit_and_z_their_gradient(
    learn: str, dtype: str
) -> None:
    codes, values = normal(0, 7, 3, dtype=dtype), normal(1, 50, 3, dtype=dtype)
    quantizer = still(learn, codes)
    z = Tensor(values, requires_grad=True)
    output = quantizer(z)
    chosen = codes[output.indices]
    # The sum that others hand on, z + (codes - z), would be rounded.
    assert (values + (chosen - values) != chosen).any()
    assert output.quantized.numpy().tobytes() == chosen.tobytes()
    assert output.codes.numpy().tobytes() == chosen.tobytes()

    upstream = normal(2, 50, 3, dtype=dtype)
    output.quantized.backward(upstream)
    assert z.grad is not None
    assert z.grad.numpy().tobytes() == upstream.tobytes()
    assert quantizer.codebook.grad is None


@pytest.mark.parametrize("training", [True, False])
def test_forward_and_backward_leave_the_whole_state_as_it_is(
    learn: str, training: bool
) -> None:
    quantizer = make(learn, 8, 3).train(training)
    quantizer.update(quantizer(Tensor(normal(0, 60, 3))).stats)
    before = bits(quantizer)
    outputs = []
    for _ in range(3):
        z = Tensor(normal(1, 60, 3), requires_grad=True)
        output = quantizer(z)
        (output.loss + output.quantized.sum()).backward()
        with no_grad():
            quantizer(z)
        outputs.append(output)
    assert bits(quantizer) == before
    for output in outputs:
        np.testing.assert_array_equal(output.indices, outputs[0].indices)
        assert output.loss.item() == outputs[0].loss.item()


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 2), (1, 2, 1, 2)])
def test_any_leading_axes(learn: str, shape: tuple[int, ...]) -> None:
    codes = normal(0, 5, 3)
    output = still(learn, codes)(Tensor(normal(1, *shape, 3)))
    assert output.indices.shape == shape
    assert output.quantized.shape == output.codes.shape == (*shape, 3)
    assert output.loss.shape == ()
    assert output.stats.vectors.shape == (math.prod(shape), 3)
    assert output.stats.indices.shape == (math.prod(shape),)
    np.testing.assert_array_equal(
        output.codes.numpy().reshape(-1, 3), codes[output.stats.indices]
    )


def test_stats_tell_what_the_batch_chose(learn: str) -> None:
    codes = np.array([[0, 0], [10, 0], [0, 10], [50, 50]], np.float32)
    # Codes 0, 1, 2, 3 are chosen 4, 2, 2 and 0 times.
    chosen = np.array([[0, 1, 0, 2], [2, 0, 1, 0]])
    z = codes[chosen] + np.float32(0.5)  # (2, 4, 2)
    stats = still(learn, codes)(Tensor(z)).stats
    np.testing.assert_array_equal(stats.counts, [4, 2, 2, 0])
    np.testing.assert_array_equal(stats.indices, chosen.reshape(-1))
    np.testing.assert_array_equal(stats.vectors, z.reshape(-1, 2))
    assert stats.codes_used == 3
    # The entropy of (1/2, 1/4, 1/4) is 1.5 bits. Three terms, each rounded thrice.
    assert stats.batch_perplexity == pytest.approx(2**1.5, rel=9 * 2.0**-53)


def test_a_codebook_of_one_code(learn: str) -> None:
    output = make(learn, 1, 2)(Tensor(normal(0, 5, 2)))
    np.testing.assert_array_equal(output.indices, np.zeros(5))
    assert output.stats.batch_perplexity == 1.0
    assert make(learn, 1, 2).bits_per_index == 0.0


def test_an_index_costs_the_logarithm_of_the_number_of_codes(learn: str) -> None:
    assert make(learn, 512, 2).bits_per_index == 9.0


def test_lookup_is_a_constant_copy_of_the_codes(learn: str) -> None:
    codes = normal(0, 5, 3)
    quantizer = still(learn, codes)
    indices = np.array([[4, 0], [1, 4]])
    found = quantizer.lookup(indices)
    assert not found.requires_grad
    np.testing.assert_array_equal(found.numpy(), codes[indices], strict=True)
    single = quantizer.lookup(np.array(2))
    with quantizer.codebook.mutate() as codebook:
        codebook[...] = 0
    np.testing.assert_array_equal(found.numpy(), codes[indices])
    np.testing.assert_array_equal(single.numpy(), codes[2])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_lookup_takes_any_integers(learn: str, dtype: str) -> None:
    codes = normal(0, 5, 3)
    found = still(learn, codes).lookup(np.array([4, 1], dtype))
    np.testing.assert_array_equal(found.numpy(), codes[[4, 1]])


def test_only_a_gradient_codebook_is_for_the_optimiser(learn: str) -> None:
    quantizer = make(learn, 4, 2)
    kind = {"gradient": Parameter, "ema": Buffer}[learn]
    assert type(quantizer.codebook) is kind
    trained = [quantizer.codebook] if learn == "gradient" else []
    assert list(quantizer.trained_codebook()) == trained
    assert quantizer.parameters() == trained


def test_all_that_moves_is_in_the_state(learn: str) -> None:
    def trained(steps: int) -> VectorQuantizer:
        quantizer = make(learn, 6, 2, decay=0.5, restart_below=0.5)
        for step in range(steps):
            quantizer.update(quantizer(Tensor(normal(step, 5, 2))).stats)
        return quantizer

    resumed = make(learn, 6, 2, decay=0.5, restart_below=0.5)
    resumed.load_state_dict(trained(3).state_dict())
    stats = resumed(Tensor(normal(3, 5, 2))).stats
    assert resumed.update(stats).restarted.size > 0
    assert bits(resumed) == bits(trained(4))


# What is refused.


@pytest.mark.parametrize("shape", [(), (3,), (5, 3), (5, 1), (2, 0), (0, 2), (3, 0, 2)])
def test_vectors_of_another_width_or_none_are_refused(
    learn: str, shape: tuple[int, ...]
) -> None:
    message = f"the width of its codes, with at least one vector, got {shape}"
    with pytest.raises(ShapeError, match=re.escape(message)):
        make(learn, 4, 2)(Tensor(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_its_row(
    learn: str, bad: float
) -> None:
    z = normal(0, 3, 4, 2)
    z[1, 2, 1] = bad
    with pytest.raises(ValueError, match="row 6 of z has NaN or inf"):
        make(learn, 4, 2)(Tensor(z))


def test_a_code_that_is_not_finite_is_refused_by_its_row(learn: str) -> None:
    codes = normal(0, 4, 2)
    codes[3, 0] = np.nan
    with pytest.raises(ValueError, match="row 3 of codes has NaN or inf"):
        still(learn, codes)(Tensor(normal(1, 3, 2)))


def test_a_vector_too_far_away_to_measure_is_refused(learn: str) -> None:
    z = np.full((2, 2), 1e38, np.float32)
    with pytest.raises(ValueError, match="row 0 of z is too large: its scores may ov"):
        still(learn, np.full((4, 2), 10, np.float32))(Tensor(z))


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_vectors_of_another_dtype_are_refused(learn: str, dtype: str) -> None:
    with pytest.raises(TypeError, match=f"nearest_code: .*{dtype}"):
        make(learn, 4, 2)(Tensor(np.zeros((3, 2), dtype)))


@pytest.mark.parametrize("indices", [[-1], [4], [0, 7]])
def test_indices_outside_the_codebook_are_refused(
    learn: str, indices: list[int]
) -> None:
    with pytest.raises(ShapeError, match=r"indices must be in 0 \.\. 3, got"):
        make(learn, 4, 2).lookup(np.array(indices))


def test_indices_that_are_not_integers_are_refused(learn: str) -> None:
    with pytest.raises(DTypeError, match="indices must be integers, got float64"):
        make(learn, 4, 2).lookup(np.array([1.0]))


def test_stats_of_another_codebook_are_refused_and_change_nothing(learn: str) -> None:
    quantizer = make(learn, 4, 2)
    before = bits(quantizer)
    for m, d in ((5, 2), (4, 3)):
        stats = make(learn, m, d)(Tensor(normal(0, 9, d))).stats
        message = f"needs the stats of a 4×2 codebook, got those of {m}×{d}"
        with pytest.raises(ShapeError, match=message):
            quantizer.update(stats)
    assert bits(quantizer) == before


@pytest.mark.parametrize(("m", "d"), [(0, 2), (2, 0), (-1, 2), (2, -1)])
def test_a_codebook_without_codes_or_width_is_refused(
    learn: str, m: int, d: int
) -> None:
    with pytest.raises(ConfigError, match=f"at least one code and width, got {m}×{d}"):
        make(learn, m, d)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("decay", -0.1),
        ("decay", 1.0),
        ("decay", math.nan),
        ("restart_below", -0.1),
        ("restart_below", 1.0),
        ("restart_below", math.nan),
        ("commitment", -0.1),
        ("commitment", math.nan),
        ("commitment", math.inf),
    ],
)
def test_settings_out_of_range_are_refused(
    learn: str, setting: str, value: float
) -> None:
    message = rf"decay and restart_below in \[0, 1\) and commitment >= 0, got .*{value}"
    with pytest.raises(ConfigError, match=message):
        make(learn, 4, 2, **{setting: value})


def test_another_way_to_learn_is_refused(learn: str) -> None:
    with pytest.raises(ConfigError, match=f'"ema" or "gradient", got \'{learn}s\''):
        VectorQuantizer(4, 2, learn=f"{learn}s")  # type: ignore[arg-type]
