"""Dead codes: which they are, where they go, and what is forgotten with them."""

import numpy as np
import pytest
from quantizers.quantizer_examples import HARD, make, normal, still

from tinyvq import Tensor, optim
from tinyvq.quantizers import VectorQuantizer

both = pytest.mark.parametrize("learn", HARD)

CODES = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [64.0, 64.0]])


def batch(*counts: int) -> Tensor:
    """Vectors that choose each of the four codes so often, no two alike."""
    z = np.repeat(CODES, counts, axis=0)
    return Tensor(z + np.arange(1, len(z) + 1)[:, None] / 16)


def only_restarting(learn: str, share: float, decay: float = 0.0) -> VectorQuantizer:
    return still(learn, CODES, restart_below=share, decay=decay)


@both
@pytest.mark.parametrize(
    ("share", "dead"), [(0.0, []), (0.1, [3]), (0.5, [3]), (0.51, [1, 3])]
)
def test_codes_below_a_share_of_the_average_are_dead(
    learn: str, share: float, dead: list[int]
) -> None:
    # With decay 0 the running means are those of the batch: 8 vectors, 2 a code, and
    # half of that, 1, is not below half.
    quantizer = only_restarting(learn, share)
    update = quantizer.update(quantizer(batch(4, 1, 3, 0)).stats)
    np.testing.assert_array_equal(update.restarted, dead)
    np.testing.assert_array_equal(update.moved, dead)
    assert not update.started


@both
def test_the_first_updates_are_not_taken_for_little_use(learn: str) -> None:
    """All averages start at 0; a code is held against an average that did, too."""
    quantizer = only_restarting(learn, 0.5, decay=0.99)
    for _ in range(5):
        update = quantizer.update(quantizer(batch(4, 2, 3, 2)).stats)
        assert update.restarted.size == 0


@both
def test_a_code_dies_of_its_running_mean_not_of_one_batch(learn: str) -> None:
    quantizer = only_restarting(learn, 0.2, decay=0.5)
    deaths = []
    for step in range(1, 6):
        # The last code: 2, then half of it each step; a fifth of the average is 0.4.
        z = batch(2, 2, 2, 2) if step == 1 else batch(3, 3, 2, 0)
        if quantizer.update(quantizer(z).stats).restarted.size:
            deaths.append(step)
    # 1 (of 2·(1 - 0.5)) at step 1, then 0.5, 0.25; average 1, 1.5, 1.75.
    assert deaths == [3]


@both
def test_a_larger_batch_does_not_kill_codes(learn: str) -> None:
    quantizer = only_restarting(learn, 0.5, decay=0.99)
    for _ in range(3):
        quantizer.update(quantizer(batch(2, 2, 2, 2)).stats)
    update = quantizer.update(quantizer(batch(40, 40, 40, 40)).stats)
    assert update.restarted.size == 0


@both
def test_dead_codes_go_to_different_vectors_of_the_batch(learn: str) -> None:
    quantizer = only_restarting(learn, 0.5)
    z = batch(8, 0, 0, 0)
    update = quantizer.update(quantizer(z).stats)
    np.testing.assert_array_equal(update.restarted, [1, 2, 3])
    codes, vectors = quantizer.codebook.numpy(), z.numpy().tolist()
    assert len(np.unique(codes[1:], axis=0)) == 3
    assert all(code in vectors for code in codes[1:].tolist())
    # As if chosen as often as the average code, 2 times.
    np.testing.assert_array_equal(quantizer.cluster_size.numpy()[1:], 2)
    np.testing.assert_array_equal(quantizer.embed_sum.numpy()[1:], 2 * codes[1:])


@both
def test_more_dead_codes_than_vectors_share_them(learn: str) -> None:
    quantizer = only_restarting(learn, 0.5)
    z = Tensor(np.array([[1.0, 1.0], [2.0, 2.0]]))
    update = quantizer.update(quantizer(z).stats)
    np.testing.assert_array_equal(update.restarted, [1, 2, 3])
    placed = quantizer.codebook.numpy()[1:].tolist()
    assert sorted(map(placed.count, z.numpy().tolist())) == [1, 2]


@both
def test_codes_alive_are_left_alone(learn: str) -> None:
    with_restart, without = (only_restarting(learn, share) for share in (0.5, 0.0))
    for quantizer in (with_restart, without):
        quantizer.update(quantizer(batch(4, 2, 2, 0)).stats)
    for name in ("codebook", "cluster_size", "embed_sum"):
        ours, plain = (getattr(q, name).numpy() for q in (with_restart, without))
        np.testing.assert_array_equal(ours[:3], plain[:3])
        assert (ours[3] != plain[3]).any()


@both
def test_a_restarted_code_that_is_chosen_averages_from_its_new_place(
    learn: str,
) -> None:
    quantizer = only_restarting(learn, 0.5, decay=0.5)
    quantizer.update(quantizer(batch(4, 2, 2, 0)).stats)
    place = quantizer.codebook.numpy()[3].copy()
    chosen = np.tile(place, (4, 1)) + np.array([0.0, 1 / 128])
    output = quantizer(Tensor(chosen))
    np.testing.assert_array_equal(output.indices, [3, 3, 3, 3])
    quantizer.update(output.stats)
    # It counts as 1 (the average of 8 vectors, 2 a code, with weight 1 - 0.5), halved;
    # the four new ones count as 2. Exact in float64.
    mean = (0.5 * place + 2 * chosen[0]) / 2.5
    expected = mean if learn == "ema" else place
    np.testing.assert_allclose(
        quantizer.codebook.numpy()[3], expected, rtol=2.0**-51, atol=0
    )
    assert quantizer.cluster_size.numpy()[3] == 2.5


@both
def test_restarts_are_a_function_of_the_seed_and_the_update(learn: str) -> None:
    def places(updates: int, **settings: object) -> list[list[float]]:
        quantizer = make(
            learn, 64, 2, kmeans_start=False, restart_below=0.9, decay=0.0, **settings
        )
        for _ in range(updates):
            quantizer.update(quantizer(Tensor(normal(7, 200, 2))).stats)
        return quantizer.codebook.numpy().tolist()

    assert places(1) == places(1)
    assert places(2) == places(2)
    # The same batch again: another update draws other places.
    assert places(1) != places(2)


def test_the_optimiser_forgets_the_moments_of_restarted_rows() -> None:
    quantizer = only_restarting("gradient", 0.5, decay=0.0)
    adam = optim.Adam(quantizer.parameters(), lr=0.125)

    def step(z: Tensor) -> None:
        adam.zero_grad()
        output = quantizer(z)
        output.loss.backward()
        adam.step()
        update = quantizer.update(output.stats)
        for codebook in quantizer.trained_codebook():
            adam.reset_rows(codebook, update.moved)

    step(batch(2, 2, 2, 2))  # the last code gathers momentum
    moments = {name: arrays[0].copy() for name, arrays in adam.slots.items()}
    assert all((m[3] != 0).all() for m in moments.values())
    step(batch(4, 2, 2, 0))  # and dies
    m, v = (adam.slots[name][0] for name in "mv")
    np.testing.assert_array_equal(m[3], 0)
    np.testing.assert_allclose(v[3], v[:3].mean(axis=0), rtol=1e-6)
    assert (m[:3] != 0).all()
    place = quantizer.codebook.numpy()[3].copy()
    assert place.tolist() in batch(4, 2, 2, 0).numpy().tolist()
    # Nobody chooses it; old momentum would push it on.
    output = quantizer(Tensor(CODES[:3] - 1.0))
    assert 3 not in output.indices
    adam.zero_grad()
    output.loss.backward()
    adam.step()
    np.testing.assert_array_equal(quantizer.codebook.numpy()[3], place)
