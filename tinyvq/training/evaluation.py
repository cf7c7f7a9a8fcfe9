"""Measure a VQ-VAE or a VAE on a split."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tinyvq import metrics
from tinyvq.backends import on_host
from tinyvq.data import pick, to_unit
from tinyvq.entropy import uniform_bits
from tinyvq.errors import NonFiniteError, TinyvqError
from tinyvq.models import VAE, VQVAE
from tinyvq.nn import Module, evaluating
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad
from tinyvq.training.batches import batch_on

Images = npt.NDArray[np.uint8]
Made = npt.NDArray[np.float32]
BATCH = 100
FITTED_ON = 1000  # training images that the likelihood of pixels is fitted on
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
    corrected_perplexity   what it would be of far more images: an estimate, for a small
                 split shows fewer codes than the model has in use
    codes_used   of codes_total, by so many positions that chose one
    bits_per_image   positions · log2(codes_total): what an image costs at equal
                 lengths, and the KL divergence of its codes from the uniform prior
    """

    mse: float
    nmse: float
    psnr_db: float
    ssim: float | None
    perplexity: float
    corrected_perplexity: float
    codes_used: int
    codes_total: int
    positions: int
    bits_per_image: float
    images: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the figures by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class VAEEvaluation:
    """How well a split is reconstructed from the means, and what the latents cost.

    mse, nmse, psnr_db, ssim   as of `Evaluation`
    kl   divergence of an image's latents from N(0, 1) in nats, the mean over images
    """

    mse: float
    nmse: float
    psnr_db: float
    ssim: float | None
    kl: float
    images: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the figures by name, for JSON."""
        return asdict(self)


class _Errors:
    """The running means of what tells reconstructions from images."""

    def __init__(self, images: Images) -> None:
        names = ["mse", "psnr_db"]
        if min(images.shape[1:3]) >= metrics.SSIM_WINDOW:
            names.append("ssim")
        self._means = {name: metrics.RunningMean() for name in names}

    def add(self, batch: Images, reconstruction: Made) -> None:
        """Count a batch (n,H,W,C)."""
        original = to_unit(batch)
        shown = np.clip(reconstruction, -0.5, 0.5) + 0.5  # as a picture has it
        found = {
            "mse": metrics.mse(original, reconstruction),
            "psnr_db": metrics.psnr_db(original + 0.5, shown),
        }
        if "ssim" in self._means:
            found["ssim"] = metrics.ssim(original + 0.5, shown)
        for name, value in found.items():
            self._means[name].add(value, len(batch))

    def mean(self, name: str) -> float:
        return self._means[name].mean

    @property
    def ssim(self) -> float | None:
        return self.mean("ssim") if "ssim" in self._means else None


def reconstruct(
    model: VQVAE, images: Images
) -> Iterator[tuple[Images, Made, npt.NDArray[np.int64]]]:
    """Yield images, reconstructions in [-0.5, 0.5] and indices, batch by batch."""
    for batch, output in _batches(model, images, model):
        yield batch, output.reconstruction.numpy(), on_host(output.indices)


def reconstructions(model: VQVAE | VAE, images: Images) -> Iterator[Made]:
    """Yield reconstructions (n,H,W,C) batch by batch; a VAE's are of the means."""
    if isinstance(model, VQVAE):
        for _, made, _ in reconstruct(model, images):
            yield made
    else:
        for _, output in _batches(model, images, model):
            yield output.reconstruction.numpy()


def encoded(model: VQVAE, images: Images) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the code indices (n,P,Q) of images, batch by batch."""
    for _, indices in _batches(model, images, model.encode):
        yield indices


def _batches(
    model: Module, images: Images, call: Callable[[Tensor], T]
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
    errors = _Errors(images)
    for batch, reconstruction, indices in reconstruct(model, images):
        usage.add(indices)
        errors.add(batch, reconstruction)
    mse = errors.mean("mse")
    return Evaluation(
        mse=mse,
        nmse=mse / model.pixel_variance,
        psnr_db=errors.mean("psnr_db"),
        ssim=errors.ssim,
        perplexity=usage.perplexity,
        corrected_perplexity=usage.corrected_perplexity,
        codes_used=usage.used,
        codes_total=model.quantizer.num_codes,
        positions=usage.total,
        bits_per_image=usage.total
        / len(images)
        * uniform_bits(model.quantizer.num_codes),
        images=len(images),
    )


def evaluate_vae(model: VAE, images: Images) -> VAEEvaluation:
    """Measure the model on images (N,H,W,C) uint8."""
    errors, kl = _Errors(images), metrics.RunningMean()
    for batch, output in _batches(model, images, model):
        errors.add(batch, output.reconstruction.numpy())
        kl.add(output.kl.item(), len(batch))
    mse = errors.mean("mse")
    return VAEEvaluation(
        mse=mse,
        nmse=mse / model.pixel_variance,
        psnr_db=errors.mean("psnr_db"),
        ssim=errors.ssim,
        kl=kl.mean,
        images=len(images),
    )


def vae_bits_per_dimension(model: VAE, images: Images, train: Images) -> float:
    """Bound the bits per pixel value that a VAE needs for images, as a prior's.

    An upper bound: the divergence of the latents, and what the bytes of an image cost
    given what is decoded from one draw of them. How far bytes lie from what is decoded
    is fitted on training images.
    """
    some = train[pick(len(train), FITTED_ON)]
    pixels = metrics.fit_scale(some, _drawn(model, some)[0])
    made, kl = _drawn(model, images)
    nats = float(pixels.nats_per_image(images, made).mean())
    return metrics.bits_per_dimension(kl, nats, images[0].size)


def _drawn(model: VAE, images: Images) -> tuple[Made, float]:
    """Decode latents drawn for images -> (N,H,W,C), and their mean divergence."""
    stream = Stream(0, "noise to measure")

    def call(x: Tensor) -> tuple[Made, float]:
        noise = model.noise(x.shape[0], stream).to(model.backend)
        output = model(x, noise)
        return output.reconstruction.numpy(), output.kl.item()

    kl, made = metrics.RunningMean(), []
    for batch, (decoded, nats) in _batches(model, images, call):
        made.append(decoded)
        kl.add(nats, len(batch))
    return np.concatenate(made), kl.mean
