"""What an index costs at equal lengths; entropies are tested beside the metrics."""

import math

import numpy as np
import pytest

from tinyvq import quantizers
from tinyvq.entropy import entropy_bits, uniform_bits
from tinyvq.errors import ConfigError


@pytest.mark.parametrize("num_codes", [1, 2, 3, 512, 1000])
def test_uniform_bits_are_the_entropy_of_codes_used_alike(num_codes: int) -> None:
    # M terms that are each off by a few roundings of log2 M < 10.
    allowed = 4 * 10 * 2.0**-53
    found = uniform_bits(num_codes)
    assert found == pytest.approx(entropy_bits(np.ones(num_codes)), rel=0, abs=allowed)
    assert found == math.log2(num_codes)
    quantizer = quantizers.VectorQuantizer(num_codes, 2)
    assert quantizer.bits_per_index == found


@pytest.mark.parametrize("num_codes", [0, -1])
def test_no_codes_have_no_bits(num_codes: int) -> None:
    with pytest.raises(ConfigError, match=f"num_codes ≥ 1, got {num_codes}"):
        uniform_bits(num_codes)
