"""Which codes a noise-driven VQ-GAN makes its images of."""

from typing import Any

import numpy as np
import pytest

from tinyvq.metrics import CodebookUsage
from tinyvq.models import NoiseVQGAN
from tinyvq.rng import Stream
from tinyvq.training.evaluation import BATCH
from tinyvq.training.noise_evaluation import evaluate_codes


def small_model(**settings: Any) -> NoiseVQGAN:
    sizes = {"image_size": (8, 12), "noise_dim": 5, "hidden": 4, "code_dim": 2}
    return NoiseVQGAN(**sizes, num_codes=6, **settings)


@pytest.mark.parametrize("draws", [1, BATCH + 3])
def test_each_figure_by_another_way(draws: int) -> None:
    model = small_model().eval()
    found = evaluate_codes(model, draws)
    usage = CodebookUsage(6)
    noise = model.noise(draws, Stream(0, "noise to measure"))
    usage.add(model(noise).stats.indices)
    assert usage.total == draws * 6
    assert found.as_dict() == {
        "perplexity": usage.perplexity,
        "corrected_perplexity": usage.corrected_perplexity,
        "codes_used": usage.used,
        "codes_total": 6,
        "positions": draws * 6,
        "draws": draws,
    }


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_measured_in_evaluation_and_left_as_it_was(training: bool) -> None:
    """Batch norm's running means would move in training."""
    model = small_model().train(training)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    found = evaluate_codes(model, 7)
    assert found == evaluate_codes(model.eval(), 7)
    model.train(training)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_a_collapse_is_seen() -> None:
    """Where no noise gets through, all draws are of the same few codes."""
    model = small_model()
    before = evaluate_codes(model, 20)
    with model.dense.layers[-1].weight.mutate() as weight:
        weight[...] = 0
    found = evaluate_codes(model, 20)
    assert (found.codes_used, found.perplexity) == (1, 1.0)
    assert before.codes_used > 1
