"""Random numbers by CUDA kernels, emulated: bit for bit those that NumPy draws."""

import numpy as np
import pytest
from emulated import needs_compiler
from hypothesis import given
from hypothesis import strategies as st
from tinyvq_kernels import emulator
from tinyvq_kernels.random import bits, state_of, uniform

from tinyvq.rng import Stream

pytestmark = needs_compiler

HERE = np.empty(0)
words = st.integers(0, 2**64 - 1)


@given(
    key=st.tuples(words, words),
    counts=st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 511, 512, 513]), max_size=6),
)
def test_bits_are_those_of_numpy_however_they_are_shared_out(
    key: tuple[int, int], counts: list[int]
) -> None:
    state = state_of(key, HERE)
    drawn = [bits(state, count) for count in counts]
    philox = np.random.Philox(key=np.array(key, np.uint64), counter=0)
    expected = np.atleast_1d(philox.random_raw(sum(counts)))
    np.testing.assert_array_equal(
        np.concatenate([np.empty(0, np.uint64), *drawn]), expected
    )
    assert all(part.dtype == np.uint64 for part in drawn)
    assert state.tolist() == [*key, sum(counts)]


@pytest.mark.parametrize("drawn", [1, 4, 6, 2**33 + 3, 2**62])
def test_a_state_may_start_anywhere(drawn: int) -> None:
    philox = np.random.Philox(key=np.array([5, 6], np.uint64), counter=drawn // 4)
    expected = np.atleast_1d(philox.random_raw(12))[drawn % 4 :]
    got = bits(state_of((5, 6), HERE, drawn), 12 - drawn % 4)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 0.1), (1.0, 1.0 + 1e-7)])
def test_uniform_numbers_are_those_of_a_stream(
    dtype: str, low: float, high: float
) -> None:
    stream = Stream(7, "noise")
    key = tuple(int(word) for word in stream._philox.state["state"]["key"])
    state = state_of((key[0], key[1]), HERE)
    for shape in [(3, 5), (), (0, 4), (700,)]:
        got = uniform(state, shape, low, high, dtype)
        expected = stream.uniform(shape, low, high, dtype)
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        assert got.tobytes() == expected.tobytes()


def test_nothing_is_found() -> None:
    state = state_of((1, 2), HERE, drawn=2)
    with emulator.emulation("all") as report:
        bits(state, 5)
        uniform(state, (1025,))
    assert [str(found) for found in report.findings] == []


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        state_of((1, 2**64), HERE)
    state = state_of((1, 2), HERE)
    with pytest.raises(ValueError, match=r"\(3,\) uint64"):
        bits(state[:2], 4)
    with pytest.raises(ValueError, match="cannot draw -1"):
        bits(state, -1)
    with pytest.raises(TypeError, match="float32 or float64, not int64"):
        uniform(state, (3,), dtype=np.int64)
