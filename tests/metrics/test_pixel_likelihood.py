"""A distribution over bytes, and what an image costs under it."""

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvq.data import from_unit, to_unit
from tinyvq.errors import (
    ConfigError,
    DataError,
    DTypeError,
    NonFiniteError,
    ShapeError,
)
from tinyvq.metrics import PixelLikelihood, bits_per_dimension, fit_scale
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
U64 = 2.0**-53
BYTES = np.arange(256, dtype=np.uint8)
scales = st.floats(-6, 6).map(lambda k: min(max(10.0**k, 1e-6), 1e6))


def rounding(scale: float, centre: float) -> float:
    """How far off a log-probability may be, in nats.

    A distance from the centre is rounded three times, in units of the scale, and its
    log-sigmoid has no slope above 1; there are two of them, and half a dozen roundings
    of logarithms, of the size of the result at most. The third logarithm is of 1 - e^-δ
    with δ = 1/(255·scale), whose relative error is a few roundings.
    """
    distance = (abs(centre) + 1) / scale
    return (16 * distance + 8 * abs(math.log(255 * scale)) + 16) * U64


# All bytes together.


@given(scale=scales, centre=st.floats(-3, 3), floor=st.sampled_from([0.0, 1e-6, 0.3]))
def test_the_256_probabilities_add_up_to_1(
    scale: float, centre: float, floor: float
) -> None:
    log_p = PixelLikelihood(scale, floor).log_probability(BYTES, np.array(centre))
    assert log_p.shape == (256,)
    assert (log_p <= 0).all()
    # Each term's logarithm is off by as much, and relatively so the sum.
    allowed = math.expm1(rounding(scale, centre)) + 256 * U64
    assert math.fsum(np.exp(log_p)) == pytest.approx(1, rel=0, abs=allowed)


@pytest.mark.parametrize("centre", [-1e4, -50.0, 50.0, 1e4])
@pytest.mark.parametrize("scale", [1e-3, 0.1, 10.0])
def test_it_does_so_for_centres_far_outside(scale: float, centre: float) -> None:
    log_p = PixelLikelihood(scale).log_probability(BYTES, np.array(centre))
    assert np.isfinite(log_p).all()
    allowed = math.expm1(rounding(scale, centre)) + 256 * U64
    assert math.fsum(np.exp(log_p)) == pytest.approx(1, rel=0, abs=allowed)


def in_decimal(byte: int, centre: float, scale: float) -> float:
    """Log of a difference of logistic functions, with digits enough to subtract."""
    with localcontext() as context:
        context.prec = 1200
        context.Emax, context.Emin = 10**8, -(10**8)

        def below(edge: Decimal) -> Decimal:
            return 1 / (1 + (-(edge - Decimal(centre)) / Decimal(scale)).exp())

        place = Decimal(byte) / 255 - Decimal("0.5")
        half = 1 / Decimal(510)
        low = Decimal(0) if byte == 0 else below(place - half)
        high = Decimal(1) if byte == 255 else below(place + half)
        return float((high - low).ln())


@pytest.mark.parametrize("byte", [0, 1, 100, 254, 255])
@pytest.mark.parametrize("centre", [-0.5, -0.1, 0.0, 0.49, 0.7])
@pytest.mark.parametrize("scale", [1 / 1000, 1 / 255, 0.05, 3.0, 1e5])
def test_each_is_the_difference_of_two_logistic_functions(
    byte: int, centre: float, scale: float
) -> None:
    image = np.array(byte, np.uint8)
    found = PixelLikelihood(scale).log_probability(image, np.array(centre))
    allowed = rounding(scale, centre)
    assert found == pytest.approx(in_decimal(byte, centre, scale), rel=0, abs=allowed)
    assert allowed < 1e-10


def test_far_out_where_a_difference_of_sigmoids_is_0() -> None:
    far = PixelLikelihood(1 / 1000)
    found = float(far.log_probability(np.array(250, np.uint8), np.array(-0.5)))
    # 980 scales away; each of the two sigmoids is 1 to all digits.
    assert found == pytest.approx(in_decimal(250, -0.5, 1 / 1000), rel=1e-13)
    assert -980 < found < -970


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_it_is_finite_for_whatever_a_decoder_gives(scale: float) -> None:
    largest = float(np.finfo(np.float32).max)
    wild = np.array([-largest, -1e10, 0, 1e10, largest], np.float32)[:, None]
    for floor in (0.0, 1e-3, 1.0):
        log_p = PixelLikelihood(scale, floor).log_probability(BYTES, wild)
        assert log_p.shape == (5, 256)
        assert np.isfinite(log_p).all()


# Bytes and reconstructions are of one scale.


def test_the_likeliest_byte_is_the_one_that_is_shown() -> None:
    # Edges of bytes apart, where two are alike; a narrow scale, since under a wide one
    # the bytes at the ends, which have the tails, are likelier than their neighbours.
    centres = (np.arange(-3000, 258_000, 70) / 1000 + 1e-4) / 255 - 0.5
    narrow = PixelLikelihood(0.1 / 255)
    log_p = narrow.log_probability(BYTES, centres[:, None])
    np.testing.assert_array_equal(log_p.argmax(1), from_unit(centres))


def test_a_perfect_reconstruction_is_the_centre_of_its_byte() -> None:
    narrow = PixelLikelihood(0.1 / 255)
    log_p = narrow.log_probability(BYTES, to_unit(BYTES)).tolist()
    # P = σ(5) - σ(-5) = tanh(5/2) inside. A float32 is off by 2^-25 of 0.1/255: 8e-5
    # units of the scale, where log P has its summit: of second order.
    assert log_p[1:-1] == pytest.approx([math.log(math.tanh(2.5))] * 254, abs=1e-8)
    ends = [-math.log1p(math.exp(-5))] * 2  # σ(5), of slope 1 - σ(5)
    assert [log_p[0], log_p[-1]] == pytest.approx(ends, abs=0.0067 * 8e-5 * 2)


@given(byte=st.integers(0, 255), centre=st.floats(-1, 1), scale=scales)
def test_black_and_white_are_treated_alike(
    byte: int, centre: float, scale: float
) -> None:
    model = PixelLikelihood(scale)
    this = model.log_probability(np.array(byte, np.uint8), np.array(centre))
    mirror = model.log_probability(np.array(255 - byte, np.uint8), np.array(-centre))
    assert this == pytest.approx(mirror, rel=0, abs=2 * rounding(scale, centre))


# The floor.


def test_an_outlier_costs_no_more_than_the_floor_allows() -> None:
    white, black = np.array(255, np.uint8), np.array(-0.5)
    without = PixelLikelihood(1 / 255).log_probability(white, black)
    assert without < -200
    for floor in (1e-6, 1e-3, 0.5):
        log_p = PixelLikelihood(1 / 255, floor).log_probability(white, black)
        assert log_p == pytest.approx(math.log(floor / 256), rel=8 * U64)


def test_with_a_floor_of_1_every_pixel_costs_8_bits() -> None:
    images = Stream(0).integers(256, (3, 4, 5, 1)).astype(np.uint8)
    nats = PixelLikelihood(0.1, 1.0).nats_per_image(images, np.zeros(images.shape))
    assert nats.tolist() == pytest.approx([20 * 8 * math.log(2)] * 3, rel=40 * U64)
    assert bits_per_dimension(0, nats.mean(), 20) == pytest.approx(8, rel=60 * U64)


def test_the_mixture_is_that_of_probabilities() -> None:
    plain, mixed = PixelLikelihood(0.02), PixelLikelihood(0.02, 0.25)
    centre = np.array(0.1)
    p = np.exp(plain.log_probability(BYTES, centre))
    expected = np.log(0.75 * p + 0.25 / 256)
    found = mixed.log_probability(BYTES, centre)
    # An exponential of something below 40, with as many roundings.
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * 2 * U64)


# Whole images.


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_costs_what_its_values_cost_together(channels: int) -> None:
    shape = (3, 4, 5, channels)
    images = Stream(0).integers(256, shape).astype(np.uint8)
    centres = Stream(1).uniform(shape, -0.6, 0.6, np.float32)
    model = PixelLikelihood(0.1, 0.01)
    log_p = model.log_probability(images, centres)
    nats = model.nats_per_image(images, centres)
    assert nats.shape == (3,)
    for n in range(3):
        # At most 60 terms below log(25,600) < 11.
        expected = -math.fsum(log_p[n].flat)
        assert nats[n] == pytest.approx(expected, rel=0, abs=60 * 60 * 11 * U64)


# Choosing the scale.


def drawn(scale: float, floor: float, n: int) -> tuple[Array, Array]:
    """Bytes that the model itself draws around centres."""
    centres = Stream(0, "centres").uniform((n,), -0.6, 0.6)
    u = Stream(0, "logistic").uniform((n,), 1e-12, 1)
    images = from_unit(centres + scale * np.log(u / (1 - u)))
    uniform = Stream(0, "which").uniform((n,)) < floor
    anything = Stream(0, "anything").integers(256, (n,)).astype(np.uint8)
    return np.where(uniform, anything, images), centres


@pytest.mark.parametrize("scale", [0.004, 0.05, 0.2])
@pytest.mark.parametrize("floor", [0.01, 0.2])
def test_the_scale_and_floor_that_drew_the_images_are_found(
    scale: float, floor: float
) -> None:
    n = 20_000
    found = fit_scale(*drawn(scale, floor, n))
    # A logistic sample of n tells log scale to a deviation of 1/√(1.43·n), by its
    # Fisher information (3 + π²)/9, and a share f to one of √(f/n) if each member could
    # be told by its look. Ends of the range and overlaps hide some of both: five
    # deviations instead of three.
    assert abs(math.log(found.scale / scale)) < 5 / (1.43 * n) ** 0.5
    assert abs(found.floor - floor) < 5 * (floor / n) ** 0.5


@pytest.mark.parametrize(("scale", "floor"), [(0.004, 0.01), (0.05, 0.2), (0.2, 0.01)])
def test_no_other_scale_or_floor_costs_less(scale: float, floor: float) -> None:
    images, centres = drawn(scale, floor, 4000)

    def cost(model: PixelLikelihood) -> float:
        return -float(model.log_probability(images, centres).mean())

    lowest = cost(fit_scale(images, centres))
    grid = [
        cost(PixelLikelihood(s, f))
        for s in np.geomspace(0.0625 / 255, 128 / 255, 40)
        for f in np.geomspace(1e-6, 0.5, 20)
    ]
    # The search stops within 1/2000 of an interval of 1.4 and one of 13 in the
    # logarithms, at a flat minimum: 0.5·1.43·0.0007² and 0.5·0.2·0.0065² nats.
    assert lowest < min(grid) + 1e-5


def test_one_outlier_among_perfect_pixels_costs_little() -> None:
    images = Stream(0).integers(256, (1000,)).astype(np.uint8)
    centres = to_unit(images).astype(np.float64)
    perfect = fit_scale(images, centres)
    nats = -perfect.log_probability(images, centres)
    assert nats.max() < 1e-3
    centres[7] = 0.5 if images[7] < 128 else -0.5
    found = fit_scale(images, centres)
    nats = -found.log_probability(images, centres)
    # A share of 1/1000 for the outlier: log(256·1000), and 1/1000 for each other.
    assert nats[7] < math.log(256_000) + 0.1
    assert np.delete(nats, 7).mean() < 2e-3


# Bits per dimension.


def test_bits_per_dimension_of_a_known_cost() -> None:
    log2 = math.log(2)
    found = bits_per_dimension(12 * log2, 36 * log2, 16)
    assert found == pytest.approx(3.0, rel=8 * U64)
    assert bits_per_dimension(0, 0, 1) == 0.0


def test_bits_per_dimension_bound_the_cost_of_the_whole_model_from_above() -> None:
    """Two codes, images of one pixel: the sum over codes can be written out."""
    prior = np.array([0.7, 0.3])
    centres = np.array([[-0.2], [0.3]])
    pixels = PixelLikelihood(0.05, 0.01)
    log_p = pixels.log_probability(BYTES, centres)  # (2, 256)
    true = prior @ np.exp(log_p)  # (256,)
    assert true.sum() == pytest.approx(1, abs=rounding(0.05, 0.3) + 600 * U64)
    unit = to_unit(BYTES)
    codes = np.abs(unit - centres).argmin(0)  # the encoder: the nearer centre
    for k in range(256):
        image = BYTES[k].reshape(1, 1, 1, 1)
        shown = centres[codes[k]].reshape(1, 1, 1, 1)
        nats = pixels.nats_per_image(image, shown).mean()
        bound = bits_per_dimension(-math.log(prior[codes[k]]), nats, 1)
        assert bound > -math.log2(true[k])
    # Where one code explains nearly all, the bound is nearly tight.
    assert bits_per_dimension(-math.log(0.7), -log_p[0, 0], 1) == pytest.approx(
        -math.log2(true[0]), abs=0.01
    )


# What is refused.


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-7, 1e7, math.nan, math.inf])
def test_scales_out_of_range_are_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"a scale in 1e-6 \.\. 1e6, got"):
        PixelLikelihood(scale)


@pytest.mark.parametrize("floor", [-0.1, 1.1, math.nan])
def test_floors_that_are_no_share_are_refused(floor: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"expected a floor in 0 \.\. 1, got {floor}"
    ):
        PixelLikelihood(0.1, floor)


def test_pixels_of_other_types_are_refused() -> None:
    model = PixelLikelihood(0.1)
    image, centre = np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 2, 2, 1))
    for measure in (model.log_probability, model.nats_per_image, fit_scale):
        with pytest.raises(DTypeError, match=r"bytes \(uint8\), got float64"):
            measure(centre, centre)  # type: ignore[operator]
        with pytest.raises(DTypeError, match=r"reconstructions .*, got uint8"):
            measure(image, image)  # type: ignore[operator]
        spoilt = centre.copy()
        spoilt[0, 1, 0, 0], spoilt[0, 1, 1, 0] = np.nan, np.inf
        with pytest.raises(NonFiniteError, match="got 2 values of NaN or infinity"):
            measure(image, spoilt)  # type: ignore[operator]


def test_images_and_reconstructions_of_two_shapes_are_refused() -> None:
    image, centre = np.zeros((2, 3, 3, 1), np.uint8), np.zeros((2, 3, 3, 3))
    message = r"one shape .*, got \(2, 3, 3, 1\) and \(2, 3, 3, 3\)"
    for measure in (PixelLikelihood(0.1).nats_per_image, fit_scale):
        with pytest.raises(ShapeError, match=message):
            measure(image, centre)  # type: ignore[operator]
    with pytest.raises(ShapeError, match=r"one shape \(N, H, W, C\)"):
        PixelLikelihood(0.1).nats_per_image(image[0], centre[0, :, :, :1])
    with pytest.raises(ShapeError, match="at least one pixel"):
        fit_scale(image[:0], np.zeros((0, 3, 3, 1)))


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_nats_that_are_no_cost_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match=f"finite code_nats_per_image ≥ 0, got {bad}"):
        bits_per_dimension(bad, 1.0, 3)
    with pytest.raises(DataError, match=f"finite pixel_nats_per_image ≥ 0, got {bad}"):
        bits_per_dimension(1.0, bad, 3)


def test_images_of_no_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="values_per_image ≥ 1, got 0"):
        bits_per_dimension(1.0, 1.0, 0)
