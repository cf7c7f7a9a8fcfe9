"""Measure a prior on a split: what its codes cost, and what an image costs with it."""

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from tinyvq import metrics
from tinyvq.data import ImageData, Split, SplitName, pick
from tinyvq.models import VQVAE
from tinyvq.training.evaluation import FITTED_ON, Images, reconstruct
from tinyvq.training.prior import CodedSplit, encode, nats_per_token
from tinyvq.training.trained import TrainedPrior


@dataclass(frozen=True)
class PriorEvaluation:
    """How well a prior knows the codes of a split's images.

    nats_per_token            -log p(code | those before it), mean over all codes
    left_above_nats           the same, by counts of what stands left and above
    position_histogram_nats   the same, by counts at each position
    bits_per_dimension        at most what tokenizer, prior and a distribution of each
                              byte around its reconstruction need for a pixel value;
                              with what an image's class costs, to a prior that is told
                              it: log K for K classes
    """

    nats_per_token: float
    left_above_nats: float
    position_histogram_nats: float
    bits_per_dimension: float
    tokens_per_image: int
    images: int

    def as_dict(self) -> dict[str, float | int]:
        """Return the figures by name, for JSON."""
        return asdict(self)


def evaluate_prior(
    trained: TrainedPrior, images: ImageData, split: SplitName
) -> PriorEvaluation:
    """Measure a prior on a split of images; counts are taken of the training split."""
    tokenizer, prior = trained.tokenizer, trained.prior
    train, measured = images.split("train"), images.split(split)
    counted = encode(tokenizer, train, "train images").codes
    made, codes = _reconstructed(tokenizer, measured.images)
    coded = CodedSplit(codes, measured.labels)
    nats = nats_per_token(prior, coded)
    some = train.images[pick(len(train), FITTED_ON)]
    pixels = metrics.fit_scale(some, _reconstructed(tokenizer, some)[0])
    pixel_nats = pixels.nats_per_image(measured.images, made)
    tokens = coded.codes[0].size
    code_nats = nats * tokens
    if prior.num_classes and coded.labels is not None:
        code_nats += math.log(prior.num_classes)  # which class it is
    return PriorEvaluation(
        nats_per_token=nats,
        left_above_nats=metrics.left_above_nats(counted, coded.codes, prior.num_codes),
        position_histogram_nats=metrics.position_histogram_nats(
            counted, coded.codes, prior.num_codes
        ),
        bits_per_dimension=metrics.bits_per_dimension(
            code_nats, float(pixel_nats.mean()), measured.images[0].size
        ),
        tokens_per_image=tokens,
        images=len(measured),
    )


def evaluate_prior_on_others(
    trained: TrainedPrior, images: ImageData, split: Split
) -> dict[str, float | int]:
    """Measure a prior on a split of other images than those it was trained on.

    nats_per_token and tokens_per_image as of `PriorEvaluation`, and how many images;
    the other figures are made of the images that it was trained on. Of images without
    labels the class is left open: see `nats_per_token`. Raises DataError where they are
    of classes that the prior does not know.
    """
    known = replace(split, labels=trained.labels_of(images, split))
    coded = encode(trained.tokenizer, known, "images")
    return {
        "nats_per_token": nats_per_token(trained.prior, coded),
        "tokens_per_image": coded.codes[0].size,
        "images": len(split),
    }


def _reconstructed(
    tokenizer: VQVAE, images: Images
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the reconstructions (N,H,W,C) of images, and their codes (N,P,Q)."""
    _, made, codes = zip(*reconstruct(tokenizer, images), strict=True)
    return np.concatenate(made), np.concatenate(codes)
