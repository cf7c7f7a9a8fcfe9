"""Measure a noise-driven VQ-GAN: which codes it makes its images of."""

from dataclasses import asdict, dataclass

from tinyvq import metrics
from tinyvq.backends import on_host
from tinyvq.models import NoiseVQGAN
from tinyvq.nn import evaluating
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad
from tinyvq.training.evaluation import BATCH

DRAWS = 1000  # images from noise whose codes are counted


@dataclass(frozen=True)
class CodeUse:
    """Which codes new images are made of.

    perplexity             exp of the entropy of the codes of all draws
    corrected_perplexity   an estimate of what it would be of far more
    codes_used             of codes_total, by so many positions that chose one
    draws                  images made of noise
    """

    perplexity: float
    corrected_perplexity: float
    codes_used: int
    codes_total: int
    positions: int
    draws: int

    def as_dict(self) -> dict[str, float | int]:
        """Return the figures by name, for JSON."""
        return asdict(self)


def evaluate_codes(model: NoiseVQGAN, draws: int = DRAWS) -> CodeUse:
    """Count the codes of images from noise, batch by batch; nothing is decoded."""
    usage = metrics.CodebookUsage(model.quantizer.num_codes)
    noise = model.noise(draws, Stream(0, "noise to measure")).array  # (draws,Z)
    with evaluating(model), no_grad():
        for first in range(0, draws, BATCH):
            part = Tensor.wrap(noise[first : first + BATCH]).to(model.backend)
            found = model.quantizer(model.dense(part))
            usage.add(on_host(found.indices))
    return CodeUse(
        perplexity=usage.perplexity,
        corrected_perplexity=usage.corrected_perplexity,
        codes_used=usage.used,
        codes_total=model.quantizer.num_codes,
        positions=usage.total,
        draws=draws,
    )
