"""k-means, held against Lloyd's algorithm written as loops."""

import numpy as np
import pytest
from quantizers.quantizer_examples import Array, normal, whole

from tinyvq.errors import ConfigError, ShapeError
from tinyvq.quantizers import kmeans
from tinyvq.rng import Stream


def lloyd(vectors: Array, codes: Array, iterations: int) -> tuple[Array, list[int]]:
    """Move each code to the mean of the vectors nearest to it; lowest code if tied."""
    codes = codes.astype(np.float64)
    counts: list[int] = []
    for _ in range(iterations):
        clusters: list[list[Array]] = [[] for _ in codes]
        for vector in vectors.astype(np.float64):
            distances = [float(((vector - code) ** 2).sum()) for code in codes]
            clusters[distances.index(min(distances))].append(vector)
        for m, members in enumerate(clusters):
            if members:
                codes[m] = np.mean(members, axis=0)
        counts = [len(members) for members in clusters]
    return codes, counts


def distortion(vectors: Array, codes: Array) -> float:
    squares = (vectors[:, None, :] - codes) ** 2  # (N, M, D)
    return float(squares.sum(axis=-1).min(axis=1).mean())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_lloyds_algorithm(dtype: str) -> None:
    vectors = normal(0, 90, 3, dtype=dtype)
    codes, counts = kmeans(vectors, 7, Stream(1), iterations=5)
    # The start: seven of the vectors, as the stream draws them.
    start = vectors[Stream(1).permutation(90)[:7]]
    expected, sizes = lloyd(vectors, start, 5)
    assert codes.dtype == dtype
    np.testing.assert_array_equal(counts, sizes)
    # Means of at most 90 values below 4, five times over; no vector stands so near the
    # border of two clusters that this would decide, for the counts are equal.
    tolerance = 5 * 92 * 4 * np.finfo(dtype).eps / 2
    np.testing.assert_allclose(codes, expected, rtol=0, atol=tolerance)


def test_each_iteration_brings_the_codes_nearer() -> None:
    vectors = normal(0, 500, 2, dtype="float64")
    found = [
        distortion(vectors, kmeans(vectors, 16, Stream(2), iterations=i)[0])
        for i in (1, 2, 4, 8, 16)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.8 * found[0]


def test_the_vectors_are_left_as_they_are() -> None:
    vectors = normal(0, 30, 2)
    before = vectors.copy()
    codes, counts = kmeans(vectors, 4, Stream(0))
    np.testing.assert_array_equal(vectors, before)
    assert not np.shares_memory(codes, vectors)
    assert counts.sum() == 30


def test_fewer_vectors_than_codes_are_repeated() -> None:
    vectors = np.array([[1.0], [5.0], [9.0]])
    codes, counts = kmeans(vectors, 8, Stream(0))
    assert set(codes.ravel()) == set(vectors.ravel())
    # Of equal codes the lowest takes the vector; the others keep their place, unused.
    assert counts.sum() == 3
    assert (counts <= 1).all()


def test_a_cluster_without_vectors_keeps_its_place_and_is_finite() -> None:
    vectors = whole(0, 40, 2, high=1, dtype="float64")  # nine different ones at most
    start = vectors[Stream(0).permutation(40)[:12]]
    with np.errstate(all="raise"):
        codes, counts = kmeans(vectors, 12, Stream(0))
    empty = counts == 0
    assert empty.sum() >= 12 - 9
    assert np.isfinite(codes).all()
    # Of equal codes all but the lowest were empty from the first.
    twins = [m for m in range(12) if start[m].tolist() in start[:m].tolist()]
    assert twins
    np.testing.assert_array_equal(codes[twins], start[twins])


@pytest.mark.parametrize("shape", [(0, 2), (4, 0), (4,), (4, 2, 2)])
def test_no_vectors_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"kmeans: needs vectors \(N,D\), got "):
        kmeans(np.zeros(shape), 3, Stream(0))


@pytest.mark.parametrize(("m", "iterations"), [(0, 10), (3, 0), (-1, -1)])
def test_no_codes_or_iterations_are_refused(m: int, iterations: int) -> None:
    message = f"at least one code and one iteration, got {m} and {iterations}"
    with pytest.raises(ConfigError, match=message):
        kmeans(np.zeros((4, 2)), m, Stream(0), iterations)


def test_a_vector_that_is_not_finite_is_refused_by_its_row() -> None:
    vectors = normal(0, 9, 2)
    vectors[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"row \d+ of .* has NaN or inf"):
        kmeans(vectors, 3, Stream(0))
