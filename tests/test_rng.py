"""Random numbers: Philox4x64-10, and distributions that are functions of a key."""

import hashlib
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.rng import Stream

WORD = 2**64

keys = st.tuples(st.integers(-(2**70), 2**70), st.text(max_size=5), st.integers(0, 9))


def philox(counter: int, key: int, rounds: int = 10) -> list[int]:
    """Encrypt a 256-bit counter by Philox4x64: -> four words, the lowest first.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3:
    each round multiplies two words, swaps and mixes; each adds Weyl constants to the
    key.
    """
    x = [(counter >> 64 * i) % WORD for i in range(4)]
    k0, k1 = key % WORD, key >> 64
    for _ in range(rounds):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * x[0], WORD)
        high1, low1 = divmod(0xCA5A826395121157 * x[2], WORD)
        x = [high1 ^ x[1] ^ k0, low1, high0 ^ x[3] ^ k1, low0]
        k0 = (k0 + 0x9E3779B97F4A7C15) % WORD
        k1 = (k1 + 0xBB67AE8584CAA73B) % WORD
    return x


def from_words(*words: int) -> int:
    return sum(word << 64 * i for i, word in enumerate(words))


# The answers for ten rounds that the authors publish with their library Random123.
KNOWN = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (
            0x16554D9ECA36314C,
            0xDB20FE9D672D0FDC,
            0xD7E772CEE186176B,
            0x7E68B68AEC7BA23B,
        ),
    ),
    (
        (WORD - 1,) * 4,
        (WORD - 1,) * 2,
        (
            0x87B092C3013FE90B,
            0x438C3C67BE8D0224,
            0x9CC7D7C69CD777B6,
            0xA09CAEBF594F0BA0,
        ),
    ),
    (
        (
            0x243F6A8885A308D3,
            0x13198A2E03707344,
            0xA4093822299F31D0,
            0x082EFA98EC4E6C89,
        ),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (
            0xA528F45403E61D95,
            0x38C72DBD566E9788,
            0xA5A1610E72FD18B5,
            0x57BD43B5E52B7FE6,
        ),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_philox_of_these_tests_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    assert philox(from_words(*counter), from_words(*key)) == list(answer)


@given(key=keys, n=st.integers(0, 50))
def test_bits_are_philox_of_a_counter_keyed_by_a_hash_of_the_name(
    key: tuple[int, str, int], n: int
) -> None:
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    words: list[int] = []
    counter = 0
    while len(words) < n:
        counter += 1  # NumPy counts, then encrypts
        words += philox(counter, int.from_bytes(digest, "little"))
    bits = Stream(*key).bits(n)
    assert bits.dtype == np.uint64
    assert bits.tolist() == words[:n]


def test_numbers_are_frozen() -> None:
    """A change here changes every run that anybody has saved."""
    stream = Stream(7, "frozen", 3)
    assert stream.bits(2).tolist() == FROZEN_BITS
    assert stream.integers(1000, 4).tolist() == FROZEN_INTEGERS
    assert stream.permutation(8).tolist() == FROZEN_PERMUTATION
    assert [x.hex() for x in stream.uniform(2, -1.0, 1.0).tolist()] == FROZEN_UNIFORM
    # cos and log may differ in the last digit from one libm to another.
    assert stream.normal(3).tolist() == pytest.approx(
        FROZEN_NORMAL, rel=2.0**-50, abs=0
    )


FROZEN_BITS: list[int] = [11055865924790282071, 11359931085042460412]
FROZEN_INTEGERS: list[int] = [887, 560, 87, 165]
FROZEN_PERMUTATION: list[int] = [0, 5, 1, 6, 7, 3, 2, 4]
FROZEN_UNIFORM: list[str] = ["0x1.1dc1912655342p-1", "-0x1.92f90a0e658a6p-1"]
FROZEN_NORMAL: list[float] = [
    -1.3486349377754494,
    -0.2885956639976286,
    -0.20833012926239985,
]


def draws(stream: Stream) -> list[Any]:
    """Draw something of each kind."""
    return [
        stream.bits(3).tolist(),
        stream.uniform((2, 3)).tolist(),
        stream.normal(5).tolist(),
        stream.integers(100, 4).tolist(),
        stream.permutation(6).tolist(),
    ]


@given(key=keys)
def test_the_same_key_gives_the_same_numbers(key: tuple[int, str, int]) -> None:
    assert draws(Stream(*key)) == draws(Stream(*key))


def test_other_keys_give_other_numbers() -> None:
    names: list[tuple[Any, ...]] = [
        *[(0,), (1,), (-1,), (2**64,), (0, 0), (0, "0"), (0, ""), (0, "a", "b")],
        *[(0, "b", "a"), (0, "ab"), (0, "a, 'b'"), (0, 1, 2), (0, 12), (0, 2, 1)],
    ]
    first = Counter(int(Stream(*name).bits(1)[0]) for name in names)
    assert max(first.values()) == 1


def test_a_name_is_the_same_however_it_was_counted() -> None:
    plain = draws(Stream(3, 5, "epoch"))
    assert draws(Stream(np.int64(3), np.uint8(5), np.str_("epoch"))) == plain
    with pytest.raises(TypeError, match="float"):
        Stream(0, 1.0)  # type: ignore[arg-type]


@given(key=keys, drawn=st.integers(0, 20))
def test_a_child_does_not_depend_on_what_was_drawn(
    key: tuple[int, str, int], drawn: int
) -> None:
    parent = Stream(*key)
    parent.bits(drawn)
    child = parent.child("x", 1)
    assert draws(child) == draws(Stream(*key, "x", 1))
    # Nor does the parent depend on what its child drew.
    twin = Stream(*key)
    twin.bits(drawn)
    assert draws(parent) == draws(twin)


def test_draws_go_on_where_the_last_one_ended() -> None:
    whole, parts = Stream(0).bits(10).tolist(), Stream(0)
    assert [parts.bits(n).tolist() for n in (3, 0, 1, 6)] == [
        whole[:3],
        [],
        whole[3:4],
        whole[4:],
    ]


def test_a_fresh_stream_differs_from_the_last() -> None:
    assert Stream.fresh().seed != Stream.fresh().seed


# Distributions.

shapes = st.integers(0, 7) | st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(shape=shapes)
def test_shapes_and_dtypes_are_as_asked(shape: Any) -> None:
    stream = Stream(0)
    wanted = (shape,) if isinstance(shape, int) else shape
    for dtype in ("float32", "float64"):
        for draw in (stream.uniform, stream.normal):
            values = draw(shape, dtype=dtype)
            assert (values.shape, values.dtype) == (wanted, np.dtype(dtype))
    values = stream.integers(5, shape)
    assert (values.shape, values.dtype) == (wanted, np.int64)


def test_numpy_s_integers_are_sizes_too() -> None:
    assert Stream(0).uniform(np.int64(3)).tolist() == Stream(0).uniform(3).tolist()
    assert Stream(0).normal((np.int64(2), 2)).shape == (2, 2)


def test_uniform_is_the_top_53_bits_of_each_word() -> None:
    words = Stream(1).bits(1000).tolist()
    unit = [(word >> 11) / 2**53 for word in words]
    assert Stream(1).uniform(1000).tolist() == unit
    assert Stream(1).uniform(1000, -2.0, 6.0).tolist() == [-2.0 + 8.0 * u for u in unit]


class Largest(Stream):
    """A stream whose every bit is set."""

    def bits(self, n: int) -> Any:
        return np.full(n, WORD - 1, np.uint64)


class Ties(Stream):
    """A stream of three words, again and again."""

    def bits(self, n: int) -> Any:
        return np.arange(n, dtype=np.uint64) % 3


class Smallest(Stream):
    def bits(self, n: int) -> Any:
        return np.zeros(n, np.uint64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-0.25, 0.25), (1.0, 1.0 + 2.0**-20), (-5.0, 0.0)]
)
def test_uniform_stays_below_its_upper_end(low: float, high: float, dtype: str) -> None:
    largest = Largest(0).uniform(3, low, high, dtype)
    assert (largest < high).all()
    assert (largest > high - (high - low) / 4).all()
    assert (Smallest(0).uniform(3, low, high, dtype) == low).all()


def test_uniform_values_fill_their_range_evenly() -> None:
    n, bins = 100_000, 20
    counts = np.histogram(Stream(2).uniform(n), bins, (0, 1))[0]
    chi = float(((counts - n / bins) ** 2 / (n / bins)).sum())
    # Chi square of 19 degrees of freedom: two in a billion lie beyond 80.
    assert chi < 80


def test_normal_values_are_those_of_box_and_muller() -> None:
    n = 7
    words = Stream(3).bits(8).tolist()
    u, v = ([(w >> 11) / 2**53 for w in part] for part in (words[:4], words[4:]))
    radius = [math.sqrt(-2 * math.log1p(-x)) for x in u]
    wanted = [r * math.cos(2 * math.pi * y) for r, y in zip(radius, v, strict=True)]
    wanted += [r * math.sin(2 * math.pi * y) for r, y in zip(radius, v, strict=True)]
    # Five functions, each within a unit in the last place.
    assert Stream(3).normal(n).tolist() == pytest.approx(
        wanted[:n], rel=10 * 2.0**-52, abs=0
    )


def test_normal_values_have_the_moments_of_the_distribution() -> None:
    n = 100_000
    x = Stream(4).normal(n)
    # Deviations of the means of x, x², x³ and x⁴ are √1, √2, √15 and √96 over √n.
    for power, (mean, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], 1):
        assert abs((x**power).mean() - mean) < 6 * math.sqrt(variance / n)
    # Neighbours, and the two halves that share their bits, are not correlated.
    for a, b in ((x[1:], x[:-1]), (x[: n // 2], x[n // 2 :])):
        assert abs((a * b).mean()) < 6 / math.sqrt(len(a))


def test_normal_values_are_finite_at_both_ends_of_the_bits() -> None:
    for stream in (Largest(0), Smallest(0)):
        assert np.isfinite(stream.normal(4)).all()
        assert np.isfinite(stream.normal(4, "float32")).all()


@given(high=st.integers(1, 2**32))
def test_integers_scale_the_top_32_bits_of_each_word(high: int) -> None:
    words = Stream(high).bits(50).tolist()
    wanted = [(word >> 32) * high >> 32 for word in words]
    assert Stream(high).integers(high, 50).tolist() == wanted
    assert Largest(0).integers(high, 1).tolist() == [high - 1]
    assert Smallest(0).integers(high, 1).tolist() == [0]


@pytest.mark.parametrize("high", [0, -1, 2**32 + 1])
def test_integers_out_of_range_are_refused(high: int) -> None:
    with pytest.raises(ValueError, match=rf"must be in 1 \.\. 2\*\*32, got {high}"):
        Stream(0).integers(high, 3)


@given(n=st.integers(0, 200), seed=st.integers(0, 99))
def test_a_permutation_holds_each_number_once(n: int, seed: int) -> None:
    order = Stream(seed).permutation(n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_a_permutation_orders_random_keys_and_ties_keep_their_places() -> None:
    words = Stream(5).bits(100).tolist()
    assert Stream(5).permutation(100).tolist() == sorted(
        range(100), key=words.__getitem__
    )
    ties = Ties(0).permutation(100).tolist()
    assert ties == sorted(range(100), key=lambda i: i % 3)


def test_all_permutations_are_as_likely() -> None:
    n = 24_000
    counts = Counter(tuple(Stream(6, i).permutation(4).tolist()) for i in range(n))
    assert len(counts) == 24
    chi = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    # 23 degrees of freedom; beyond 90 lies one in a billion.
    assert chi < 90
