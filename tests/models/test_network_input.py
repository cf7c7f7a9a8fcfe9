"""Images on their way into a pretrained network: colour and size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import require
from pretrained_examples import draw

from tinyvq.models._network_input import enlarged, from_bytes, interpolation, prepared
from tinyvq.tensor import Tensor
from tinyvq.testing import check_grads, check_linear

sides = st.integers(1, 12)


@given(places=sides, pixels=sides)
def test_interpolation_weighs_at_most_two_neighbours_and_sums_to_one(
    places: int, pixels: int
) -> None:
    weights = interpolation(places, pixels, np.float64)
    assert weights.shape == (places, pixels)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=4 * 2.0**-53 * pixels)
    for row in weights:
        (used,) = np.nonzero(row)
        assert len(used) <= 2
        assert np.ptp(used) <= 1


def test_interpolation_turned_around_is_itself() -> None:
    weights = interpolation(64, 28, np.float64)
    # A place is computed with a rounding of 2⁻⁵² at 28, from one end or the other.
    np.testing.assert_allclose(weights[::-1, ::-1], weights, atol=64 * 2.0**-52)


@pytest.mark.torch
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (9, 21), (21, 9), (1, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_enlarging_is_pytorchs_bilinear_interpolation(
    size: tuple[int, int], channels: int
) -> None:
    torch = require("torch")
    x = draw("image", 2, *size, channels)
    ours = enlarged(Tensor(x), 32).numpy()
    assert min(ours.shape[1:3]) == 32
    theirs = torch.nn.functional.interpolate(
        torch.tensor(x).permute(0, 3, 1, 2),
        size=ours.shape[1:3],
        mode="bilinear",
        align_corners=False,
    )
    # The place of a pixel in a row of up to 96 is rounded by 96 u, twice.
    np.testing.assert_allclose(
        ours,
        theirs.permute(0, 2, 3, 1).numpy(),
        rtol=0,
        atol=4 * 96 * 2.0**-53 * np.abs(x).max(),
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_enlarging_is_linear_and_its_gradient_the_adjoint(channels: int) -> None:
    x = draw("image", 2, 3, 4, channels)
    check_linear(lambda x: prepared(x, 7), x)
    check_grads(lambda x: prepared(x, 7), x)


def test_images_that_are_large_enough_stay_as_they_are() -> None:
    x = Tensor(draw("image", 1, 33, 32, 3))
    assert prepared(x, 32) is x


def test_the_shorter_side_decides_and_the_shape_is_kept() -> None:
    x = Tensor(np.ones((1, 10, 40, 1)))
    y = prepared(x, 32).numpy()
    assert y.shape == (1, 32, 128, 3)
    np.testing.assert_allclose(y, 1, rtol=8 * 2.0**-53)  # two weights, twice


def test_bytes_become_floats_from_minus_a_half_to_a_half() -> None:
    found = from_bytes(np.array([0, 51, 255], np.uint8))
    np.testing.assert_allclose(found, [-0.5, -0.3, 0.5], rtol=4 * 2.0**-24)
    assert found.dtype == np.float32
