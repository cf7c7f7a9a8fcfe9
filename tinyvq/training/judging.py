"""Judge what a model makes by a network that it was not trained to please."""

from collections.abc import Iterable

import numpy as np

from tinyvq.data import Split, from_unit
from tinyvq.metrics import FeatureStatistics, frechet_distance
from tinyvq.models import (
    VAE,
    VQVAE,
    Generator,
    SqueezeNet,
    check_judge,
    features,
)
from tinyvq.training.evaluation import BATCH, Images, reconstructions
from tinyvq.training.generation import (
    SamplingOptions,
    decode,
    draw_codes,
    from_noise,
)
from tinyvq.training.options import RunOptions
from tinyvq.training.trained import TrainedPrior
from tinyvq.training.vqgan import VQGANOptions


def trained_on(options: RunOptions) -> list[str]:
    """Name the networks that a model's loss was made of."""
    perceptual = isinstance(options, VQGANOptions) and options.perceptual_weight > 0
    return [SqueezeNet.name] if perceptual else []


def judge_reconstructions(
    judge: str, model: VQVAE | VAE, options: RunOptions, images: Images
) -> float:
    """Measure the Fréchet distance of reconstructions from images (N,H,W,C)."""
    check_judge(judge, trained_on(options))
    made = (from_unit(batch) for batch in reconstructions(model, images))
    return _distance(judge, made, images)


def judge_samples(judge: str, trained: TrainedPrior, split: Split) -> float:
    """Measure the Fréchet distance of new images from a split's, as many of each.

    Where the prior knows classes, there are as many of each class as in the split, or
    of all classes alike if the split has no labels.
    """
    check_judge(judge, trained_on(trained.tokenizer_options))
    labels, classes = None, trained.prior.num_classes
    if classes:
        each = np.arange(len(split)) % classes
        labels = each if split.labels is None else split.labels
    codes = draw_codes(trained.prior, labels, len(split), SamplingOptions())
    return _distance(judge, [decode(trained.tokenizer, codes)], split.images)


def judge_noise(
    judge: str, model: Generator, options: RunOptions, images: Images
) -> float:
    """Measure the Fréchet distance of new images, made of noise, from images (N,H,W,C).

    There are as many of each.
    """
    check_judge(judge, trained_on(options))
    return _distance(judge, [from_noise(model, len(images), seed=0)], images)


def _distance(judge: str, made: Iterable[Images], images: Images) -> float:
    return frechet_distance(
        _statistics(judge, made),
        _statistics(judge, np.array_split(images, -(-len(images) // BATCH))),
    )


def _statistics(judge: str, batches: Iterable[Images]) -> FeatureStatistics:
    found: FeatureStatistics | None = None
    for batch in batches:
        vectors = features(judge, batch)  # (n,F)
        found = found or FeatureStatistics(judge, vectors.shape[1])
        found.add(vectors)
    assert found is not None  # a split is never empty
    return found
