"""LeCAM: its formula, its running means, its state."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import Tensor, grad
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.losses import LeCAM
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
U64 = 2.0**-53


def batch(seed: int, dtype: npt.DTypeLike = np.float64) -> tuple[Tensor, Tensor]:
    """Logits of 6 real images and of 4 made ones, a map of 2×2 each."""
    stream = Stream(seed, "logits")
    real, fake = stream.normal((6, 2, 2, 1)), stream.normal((4, 2, 2, 1))
    return Tensor((real + 0.5).astype(dtype), True), Tensor(
        (fake - 1).astype(dtype), True
    )


def regulariser(real: Array, fake: Array, mean_real: float, mean_fake: float) -> float:
    above = np.maximum(0, real - mean_fake)
    below = np.maximum(0, mean_real - fake)
    return float((above**2).mean() + (below**2).mean())


def state(lecam: LeCAM) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in lecam.state_dict().items()}


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_the_value_follows_from_weighted_means_of_all_batches_so_far(
    decay: float,
) -> None:
    """Batch i of n weighs decayⁿ⁻ⁱ.

    Each running sum is rounded 16 times, and a mean of 24 logits 24 times: both means
    are off by 40 U64, of at most 1, and R, which is above 1 here, by 2·40 for each.
    """
    lecam = LeCAM(decay)
    seen = []
    for n in range(8):
        real, fake = batch(n)
        lecam.update(real, fake)
        seen.append((real.numpy().mean(), fake.numpy().mean()))
        weights = decay ** np.arange(n, -1, -1.0)
        mean_real, mean_fake = np.average(seen, axis=0, weights=weights)
        real, fake = batch(100 + n)
        wanted = regulariser(real.numpy(), fake.numpy(), mean_real, mean_fake)
        assert wanted > 1
        assert lecam(real, fake).item() == pytest.approx(wanted, rel=160 * U64, abs=0)


def test_a_value_is_that_worked_out_by_hand() -> None:
    lecam = LeCAM(decay=0.5)
    lecam.update(Tensor(np.array([1.0, 3.0])), Tensor(np.array([-1.0, 0.0])))
    lecam.update(Tensor(np.array([5.0])), Tensor(np.array([1.0])))
    # Means: (2 + 2·5) / 3 = 4 and (-0.5 + 2·1) / 3 = 0.5.
    real, fake = Tensor(np.array([0.0, 2.5])), Tensor(np.array([6.0, 3.0, 1.0]))
    # Above 0.5: 0 and 2; below 4: 0, 1 and 3.
    assert lecam(real, fake).item() == (0 + 4) / 2 + (0 + 1 + 9) / 3


def test_the_first_batch_is_its_own_mean() -> None:
    """Means that start from 0 would be a thousandth of it (decay 0.999)."""
    lecam = LeCAM()
    lecam.update(Tensor(np.full(4, 8.0)), Tensor(np.full(4, -8.0)))
    # Twice 16² where each side lies at its own mean, nothing where at the other's.
    # Powers of 2, so nothing is rounded.
    at_own = lecam(Tensor(np.full(2, 8.0)), Tensor(np.full(2, -8.0))).item()
    at_other = lecam(Tensor(np.full(2, -8.0)), Tensor(np.full(2, 8.0))).item()
    assert at_own == 2 * 16**2
    assert at_other == 0


def test_before_the_first_update_there_is_nothing_to_keep_to() -> None:
    real, fake = batch(0)
    value = LeCAM()(real, fake)
    gradients = grad(value, [real, fake])
    assert value.item() == 0
    assert [g.numpy().any() for g in gradients] == [False, False]


def test_it_holds_a_discriminator_back() -> None:
    """Real logits above the made ones' mean are pulled down, made ones below up."""
    lecam = LeCAM()
    lecam.update(Tensor(np.array([1.0])), Tensor(np.array([-1.0])))
    real = Tensor(np.array([2.0, 0.0, -1.5]), True)
    fake = Tensor(np.array([-2.0, 0.0, 1.5]), True)
    of_real, of_fake = grad(lecam(real, fake), [real, fake])
    np.testing.assert_array_equal(np.sign(of_real.numpy()), [1, 1, 0])
    np.testing.assert_array_equal(np.sign(of_fake.numpy()), [-1, -1, 0])


def test_only_update_moves_the_means() -> None:
    lecam = LeCAM()
    lecam.update(*batch(0))
    before = state(lecam)
    real, fake = batch(1)
    lecam(real, fake).backward()
    assert state(lecam) == before
    lecam.update(real, fake)
    assert state(lecam).keys() == before.keys()
    assert all(state(lecam)[name] != before[name] for name in before)


def test_its_means_are_state_and_no_parameters() -> None:
    lecam = LeCAM()
    assert lecam.parameters() == []
    assert {k: v.shape for k, v in lecam.state_dict().items()} == {
        "sums": (2,),
        "weight": (),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lecam_state_is_in_the_checkpoint_and_resumes_bit_for_bit(
    dtype: npt.DTypeLike,
) -> None:
    whole = LeCAM(0.9)
    for step in range(10):
        whole.update(*batch(step, dtype))
        if step == 4:
            saved = whole.state_dict()
    resumed = LeCAM(0.9)
    resumed.load_state_dict(saved)
    for step in range(5, 10):
        resumed.update(*batch(step, dtype))
    assert state(resumed) == state(whole)
    judged = batch(99, dtype)
    assert resumed(*judged).numpy().tobytes() == whole(*judged).numpy().tobytes()
    assert resumed(*judged).dtype == dtype


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"LeCAM: needs decay in \[0, 1\), got"):
        LeCAM(decay)


def test_logits_that_it_cannot_use_are_refused_and_change_nothing() -> None:
    lecam = LeCAM()
    lecam.update(*batch(0))
    before = state(lecam)
    good, empty = Tensor(np.zeros(3)), Tensor(np.zeros((0, 1)))
    for call in (lecam, lecam.update):
        with pytest.raises(ShapeError, match="not empty"):
            call(good, empty)
        with pytest.raises(DTypeError, match="got float32 and float64"):
            call(good, Tensor(np.zeros(3, np.float32)))
    assert state(lecam) == before
