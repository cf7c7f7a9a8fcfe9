"""Adversarial losses: signs, values worked out by hand, certainty, what is refused."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import Tensor, grad
from tinyvq.errors import ConfigError, DTypeError, ShapeError
from tinyvq.losses import AdversarialLoss, AdversarialName, adversarial_loss
from tinyvq.rng import Stream

NAMES: tuple[AdversarialName, ...] = get_args(AdversarialName)
U64 = 2.0**-53

every_loss = pytest.mark.parametrize("name", NAMES)


def logits(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def falls(loss: Callable[[float], Tensor], values: npt.NDArray[np.float64]) -> bool:
    """Tell whether a loss is smaller at each value than at the one before."""
    found = [loss(value).item() for value in values]
    return all(after < before for before, after in pairwise(found))


# A GAN loss with its arguments or its signs swapped trains both sides towards the wrong
# verdict: the loss would rise as the verdict gets better. Real logits here stay below 1
# and made ones above 0 for the discriminator, where no loss is satisfied yet.
RISING = np.linspace(-0.9, 0.9, 10)
STILL_TOO_HIGH = np.linspace(0.9, 0.1, 9)


@every_loss
def test_the_discriminators_loss_falls_as_real_logits_rise(
    name: AdversarialName,
) -> None:
    loss = adversarial_loss(name)
    assert falls(lambda r: loss.discriminator(logits(r, 0.3), logits(0.2)), RISING)


@every_loss
def test_the_discriminators_loss_falls_as_made_logits_fall(
    name: AdversarialName,
) -> None:
    loss = adversarial_loss(name)
    assert falls(
        lambda f: loss.discriminator(logits(0.2), logits(f, 0.3)), STILL_TOO_HIGH
    )


@every_loss
def test_the_generators_loss_falls_as_made_logits_rise(name: AdversarialName) -> None:
    loss = adversarial_loss(name)
    assert falls(lambda f: loss.generator(logits(f, 0.3)), RISING)


@every_loss
def test_the_discriminators_loss_is_lower_for_the_right_verdict_than_the_swapped_one(
    name: AdversarialName,
) -> None:
    loss = adversarial_loss(name)
    for sure in (0.01, 0.5, 1.0, 3.0, 20.0):
        high, low = logits(sure), logits(-sure)
        assert (
            loss.discriminator(high, low).item() < loss.discriminator(low, high).item()
        )


@every_loss
def test_the_two_sides_pull_made_logits_in_opposite_directions(
    name: AdversarialName,
) -> None:
    loss = adversarial_loss(name)
    real, fake = logits(*RISING), logits(*STILL_TOO_HIGH)
    of_real, of_fake = grad(loss.discriminator(real, fake), [real, fake])
    (of_generator,) = grad(loss.generator(fake), [fake])
    assert (of_real.numpy() < 0).all()
    assert (of_fake.numpy() > 0).all()
    assert (of_generator.numpy() < 0).all()


LN3 = math.log(3)  # the logit of 3/4
BY_HAND: dict[AdversarialName, tuple[float, float]] = {
    # of r = (2, 0), f = (-2, 1)
    "hinge": (((0 + 1) / 2 + (0 + 2) / 2) / 2, -(-2 + 1) / 2),
    "least_squares": (((1 + 1) / 2 + (4 + 1) / 2) / 2, (9 + 0) / 2 / 2),
    # of r = (ln 3, 0), f = (-ln 3, 0): probabilities 3/4, 1/2 and 1/4, 1/2
    "bce": (
        -(math.log(3 / 4) + math.log(1 / 2)) / 2
        - (math.log(1 - 1 / 4) + math.log(1 - 1 / 2)) / 2,
        -(math.log(1 / 4) + math.log(1 / 2)) / 2,
    ),
    "non_saturating": (
        -(math.log(3 / 4) + math.log(1 / 2)) / 2,
        -(math.log(1 / 4) + math.log(1 / 2)) / 2,
    ),
}


@every_loss
def test_values_are_those_worked_out_by_hand(name: AdversarialName) -> None:
    loss = adversarial_loss(name)
    if name in ("hinge", "least_squares"):
        real, fake = logits(2, 0), logits(-2, 1)  # no operation rounds
        tolerance = 0.0
    else:
        real, fake = logits(LN3, 0), logits(-LN3, 0)
        tolerance = 16 * U64  # a dozen roundings of values up to 1.4
    of_discriminator, of_generator = BY_HAND[name]
    found = loss.discriminator(real, fake).item()
    assert found == pytest.approx(of_discriminator, rel=tolerance, abs=0)
    found = loss.generator(fake).item()
    assert found == pytest.approx(of_generator, rel=tolerance, abs=0)


def test_bce_is_the_textbooks_form() -> None:
    """-E log D(x) - E log(1 - D(G(z))) and -E log D(G(z)), with D the logits' sigmoid.

    Logits stay within ±4, so 1 - D keeps at least 0.018 of what is rounded to U64, and
    its logarithm is off by at most 1 / 0.018 = 56 roundings; each is at least 0.018.
    """
    r = Stream(0, "real").uniform((7, 2), -4, 4)
    f = Stream(0, "made").uniform((5, 2), -4, 4)
    d_real, d_made = 1 / (1 + np.exp(-r)), 1 / (1 + np.exp(-f))
    loss = adversarial_loss("bce")
    of_discriminator = -np.log(d_real).mean() - np.log(1 - d_made).mean()
    found = loss.discriminator(Tensor(r), Tensor(f)).item()
    assert found == pytest.approx(of_discriminator, rel=0, abs=100 * U64)
    found = loss.generator(Tensor(f)).item()
    assert found == pytest.approx(-np.log(d_made).mean(), rel=0, abs=100 * U64)


@pytest.mark.parametrize("name", ["bce", "non_saturating"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_discriminator_gives_no_infinite_loss(
    name: AdversarialName, dtype: npt.DTypeLike
) -> None:
    """At ±1000, σ is 0 or 1 in any float: the log of a finished σ would be -inf."""
    loss = adversarial_loss(name)
    high, low = (Tensor(np.array([x], dtype), True) for x in (1000.0, -1000.0))
    assert loss.discriminator(high, low).item() == 0.0
    assert loss.discriminator(low, high).item() == (2000 if name == "bce" else 1000)
    seen_through = loss.generator(low)
    assert seen_through.item() == 1000.0
    assert grad(seen_through, [low])[0].numpy() == [-1.0]  # pushed as hard as can be


@every_loss
def test_each_side_is_a_mean_whatever_the_shape_and_number_of_logits(
    name: AdversarialName,
) -> None:
    loss = adversarial_loss(name)
    for dtype in (np.float32, np.float64):
        one = Tensor(np.full((1, 1), 0.5, dtype))
        patches = Tensor(np.full((2, 4, 4, 1), 0.5, dtype))  # 32: sums are exact
        of_one, of_many = (loss.discriminator(x, one) for x in (one, patches))
        unit = float(np.finfo(dtype).eps)  # bce and softplus sum 32 rounded values
        assert of_many.item() == pytest.approx(of_one.item(), rel=32 * unit, abs=0)
        assert of_many.shape == loss.generator(patches).shape == ()
        assert of_many.dtype == loss.generator(patches).dtype == dtype


@every_loss
def test_a_loss_changes_no_logits(name: AdversarialName) -> None:
    loss = adversarial_loss(name)
    real, fake = logits(0.5, -2, 3), logits(1, -0.25)
    before = real.numpy().copy(), fake.numpy().copy()
    (loss.discriminator(real, fake) + loss.generator(fake)).backward()
    np.testing.assert_array_equal(real.numpy(), before[0])
    np.testing.assert_array_equal(fake.numpy(), before[1])


def calls(loss: AdversarialLoss, bad: Tensor) -> list[Callable[[], Tensor]]:
    good = logits(0.5)
    return [
        lambda: loss.discriminator(bad, good),
        lambda: loss.discriminator(good, bad),
        lambda: loss.generator(bad),
    ]


@every_loss
def test_empty_logits_are_refused(name: AdversarialName) -> None:
    for call in calls(adversarial_loss(name), Tensor(np.zeros((0, 1)))):
        with pytest.raises(ShapeError, match=rf"{name}: .* not empty, got .*\(0, 1\)"):
            call()


@every_loss
def test_logits_that_are_no_floats_are_refused(name: AdversarialName) -> None:
    for call in calls(adversarial_loss(name), Tensor(np.array([1, 0]))):
        with pytest.raises(
            DTypeError, match=f"{name}: needs logits of one float dtype"
        ):
            call()


@every_loss
def test_logits_of_two_dtypes_are_refused(name: AdversarialName) -> None:
    loss = adversarial_loss(name)
    with pytest.raises(DTypeError, match="got float32 and float64"):
        loss.discriminator(logits(0.5), Tensor(np.zeros(1, np.float32)))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    known = "hinge, non_saturating, bce, least_squares"
    with pytest.raises(ConfigError, match=f"no adversarial loss 'wgan'.*{known}"):
        adversarial_loss("wgan")  # type: ignore[arg-type]
