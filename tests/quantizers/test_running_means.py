"""The codebook's running means, held against sums over all batches in float64."""

import numpy as np
import pytest
from quantizers.quantizer_examples import HARD, Array, make, normal, still

from tinyvq import Tensor
from tinyvq.quantizers import QuantizerOutput, VectorQuantizer, kmeans
from tinyvq.rng import Stream

Batch = tuple[Array, Array]  # vectors (N, D) and the codes (N,) that they chose


def weighted_means(codes: Array, batches: list[Batch], decay: float) -> Array:
    """Mean of the vectors that chose each code, weighted by their batches' age.

    Not a recursion, and no start at zero to correct for: the vectors of the newest
    batch that chose the code weigh 1, those of the one before it `decay`, and so on.
    """
    means = codes.astype(np.float64)
    for m in range(len(codes)):
        total, mass, newest = np.zeros(codes.shape[1]), 0.0, -1
        for age, (vectors, indices) in enumerate(reversed(batches)):
            mine = vectors[indices == m].astype(np.float64)
            if len(mine) and newest < 0:
                newest = age
            for vector in mine:
                total += decay ** (age - newest) * vector
                mass += decay ** (age - newest)
        if mass > 0:
            means[m] = total / mass
    return means


def absorb(quantizer: VectorQuantizer, z: Array) -> QuantizerOutput:
    output = quantizer(Tensor(z))
    quantizer.update(output.stats)
    return output


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_codes_are_weighted_means_of_their_vectors(decay: float, dtype: str) -> None:
    codes = normal(0, 12, 3, dtype=dtype)
    codes[10:] += 100  # never chosen
    quantizer = still("ema", codes, decay=decay)
    batches: list[Batch] = []
    for step, n in enumerate([20, 1, 30, 7, 40, 20]):
        z = normal(1 + step, n, 3, dtype=dtype)
        output = absorb(quantizer, z)
        batches.append((z, output.indices))
        # A sum of n terms in the vectors' dtype, weighted, rounded to the codebook's:
        # each rounding weighs a share of a mean of values below `largest`.
        largest = max(np.abs(vectors).max() for vectors, _ in batches)
        tolerance = (40 + 4 * 6) * np.finfo(dtype).eps / 2 * largest
        found = quantizer.codebook.numpy()
        expected = weighted_means(codes, batches, decay)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(found[10:], codes[10:])
    sizes = quantizer.cluster_size.numpy()
    assert (sizes[10:] == 0).all()
    assert (sizes[:10] > 0).sum() > 5


def test_the_bias_of_the_first_updates_is_one_factor_of_all() -> None:
    """Sums of weights: (1 - d)(1 + d + d² + ...) = 1 - dᵗ, exact for d = 1/2."""
    codes = np.array([[0.0], [8.0]])
    quantizer = still("ema", codes, decay=0.5)
    for step in range(1, 6):
        absorb(quantizer, np.array([[1.0], [1.0], [1.0], [9.0]]))
        debias = 1 - 0.5**step
        np.testing.assert_array_equal(quantizer.cluster_size, [3 * debias, debias])
        np.testing.assert_array_equal(quantizer.embed_sum, [[3 * debias], [9 * debias]])
        assert quantizer.average_size.item() == 2 * debias
        np.testing.assert_array_equal(quantizer.codebook, [[1.0], [9.0]])


def test_a_code_that_nobody_chose_stays_and_forgets() -> None:
    codes = np.array([[0.0], [8.0]])
    quantizer = still("ema", codes, decay=2.0**-100)
    absorb(quantizer, np.array([[2.0], [7.0]]))
    # 2^-1100 is 0 in float64: nothing of the first code's past is left.
    for _ in range(11):
        absorb(quantizer, np.array([[7.0]]))
    np.testing.assert_array_equal(quantizer.codebook, [[2.0], [7.0]])
    assert quantizer.cluster_size.numpy()[0] == 0
    absorb(quantizer, np.array([[1.0], [3.0], [-3.0]]))
    np.testing.assert_allclose(quantizer.codebook.numpy()[0], 1 / 3, rtol=2.0**-51)


@pytest.mark.parametrize("learn", HARD)
def test_the_start_places_codes_by_kmeans_and_seeds_their_averages(
    learn: str,
) -> None:
    quantizer = make(learn, 6, 2, rng=Stream(5)).astype(np.float64)
    vectors = normal(0, 40, 2, dtype="float64")
    first = quantizer.codebook.numpy().copy()
    output = quantizer(Tensor(vectors))
    update = quantizer.update(output.stats)
    assert update.started
    assert update.restarted.size == 0
    assert update.moved == slice(None)
    # What was looked up, was looked up in the codebook as it was.
    np.testing.assert_array_equal(output.codes.numpy(), first[output.indices])

    codes, counts = kmeans(vectors, 6, Stream(5, "k-means"))
    np.testing.assert_array_equal(quantizer.codebook, codes)
    np.testing.assert_array_equal(quantizer.cluster_size, counts)
    np.testing.assert_array_equal(quantizer.embed_sum, codes * counts[:, None])
    assert quantizer.average_size.item() == 40 / 6
    assert counts.min() > 0


def test_after_the_start_the_first_batch_counts_as_one_of_them() -> None:
    quantizer = make("ema", 6, 2, decay=0.75, restart_below=0.0).astype(np.float64)
    first, second = normal(0, 40, 2, dtype="float64"), normal(1, 9, 2, dtype="float64")
    absorb(quantizer, first)
    codes, sizes = quantizer.codebook.numpy().copy(), quantizer.cluster_size.numpy()
    sums = codes * sizes[:, None]
    sizes = sizes.copy()
    chosen = absorb(quantizer, second).indices
    for m in range(6):
        mine = second[chosen == m]
        if len(mine) == 0:
            np.testing.assert_array_equal(quantizer.codebook.numpy()[m], codes[m])
            continue
        expected = 0.75 * sums[m] + 0.25 * mine.sum(axis=0)
        expected /= 0.75 * sizes[m] + 0.25 * len(mine)
        # A dozen roundings of sums of at most 49 values below 4.
        tolerance = 60 * 4 * 2.0**-53
        np.testing.assert_allclose(
            quantizer.codebook.numpy()[m], expected, rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("learn", HARD)
def test_the_start_happens_once(learn: str) -> None:
    quantizer = make(learn, 6, 2, restart_below=0.0)
    started = [
        quantizer.update(quantizer(Tensor(normal(s, 40, 2))).stats).started
        for s in range(3)
    ]
    assert started == [True, False, False]
    resumed = make(learn, 6, 2, restart_below=0.0)
    resumed.load_state_dict(quantizer.state_dict())
    assert not resumed.update(resumed(Tensor(normal(3, 40, 2))).stats).started


def test_updates_leave_a_gradient_codebook_to_its_optimiser() -> None:
    codes = normal(0, 6, 2)
    quantizer = still("gradient", codes, decay=0.5)
    chosen = absorb(quantizer, normal(1, 20, 2)).indices
    np.testing.assert_array_equal(quantizer.codebook, codes)
    counts = [(chosen == m).sum() / 2 for m in range(6)]
    np.testing.assert_array_equal(quantizer.cluster_size, counts)
