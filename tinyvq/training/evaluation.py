"""Measure a VQ-VAE on a split."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tinyvq import metrics
from tinyvq.backends import on_host
from tinyvq.data import to_unit
from tinyvq.entropy import uniform_bits
from tinyvq.errors import NonFiniteError, TinyvqError
from tinyvq.models import VQVAE
from tinyvq.nn import evaluating
from tinyvq.tensor import Tensor, no_grad
from tinyvq.training.batches import batch_on

Images = npt.NDArray[np.uint8]
BATCH = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """How well a split is reconstructed, and which codes it used.

    mse          of pixels in a range of 1, mean over all values
    nmse         mse over the variance of the training pixels
    psnr_db      mean over images
    ssim         mean over images, data range 1; None for images below 11 pixels, which
                 its window does not fit into
    perplexity   exp of the entropy of the codes of the whole split
    codes_used   of codes_total
    bits_per_image   positions · log2(codes_total): what an image costs at equal
                 lengths, and the KL divergence of its codes from the uniform prior
    """

    mse: float
    nmse: float
    psnr_db: float
    ssim: float | None
    perplexity: float
    codes_used: int
    codes_total: int
    bits_per_image: float
    images: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the figures by name, for JSON."""
        return asdict(self)


def reconstruct(
    model: VQVAE, images: Images
) -> Iterator[tuple[Images, npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """Yield images, reconstructions in [-0.5, 0.5] and indices, batch by batch."""
    for batch, output in _batches(model, images, model):
        yield batch, output.reconstruction.numpy(), on_host(output.indices)


def encoded(model: VQVAE, images: Images) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the code indices (n,P,Q) of images, batch by batch."""
    for _, indices in _batches(model, images, model.encode):
        yield indices


def _batches(
    model: VQVAE, images: Images, call: Callable[[Tensor], T]
) -> Iterator[tuple[Images, T]]:
    """Call a model, or a part of it, on images batch by batch, in evaluation."""
    with evaluating(model):
        for first in range(0, len(images), BATCH):
            batch = images[first : first + BATCH]
            try:
                with no_grad(), np.errstate(all="ignore"):
                    result = call(batch_on(model.backend, batch))
            except TinyvqError:
                raise
            except ValueError as problem:  # the codebook search refuses NaN and inf
                raise NonFiniteError(f"the model is spoilt: {problem}") from problem
            yield batch, result


def evaluate(model: VQVAE, images: Images) -> Evaluation:
    """Measure the model on images (N,H,W,C) uint8."""
    usage = metrics.CodebookUsage(model.quantizer.num_codes)
    means = {name: metrics.RunningMean() for name in ("mse", "psnr_db", "ssim")}
    large = min(images.shape[1:3]) >= metrics.SSIM_WINDOW
    positions = 0
    for batch, reconstruction, indices in reconstruct(model, images):
        positions += indices.size
        usage.add(indices)
        original = to_unit(batch)
        shown = np.clip(reconstruction, -0.5, 0.5) + 0.5  # as a picture has it
        n = len(batch)
        means["mse"].add(metrics.mse(original, reconstruction), n)
        means["psnr_db"].add(metrics.psnr_db(original + 0.5, shown), n)
        if large:
            means["ssim"].add(metrics.ssim(original + 0.5, shown), n)
    mse = means["mse"].mean
    return Evaluation(
        mse=mse,
        nmse=mse / model.pixel_variance,
        psnr_db=means["psnr_db"].mean,
        ssim=means["ssim"].mean if large else None,
        perplexity=usage.perplexity,
        codes_used=usage.used,
        codes_total=model.quantizer.num_codes,
        bits_per_image=positions
        / len(images)
        * uniform_bits(model.quantizer.num_codes),
        images=len(images),
    )
