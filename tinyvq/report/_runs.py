"""The pictures of a run, on the way and at the end."""

from pathlib import Path

import numpy as np

from tinyvq.data import ImageData, pick
from tinyvq.files import write_atomically
from tinyvq.metrics import CodebookUsage
from tinyvq.models import VAE, VQVAE, Generator, Prior
from tinyvq.report.pictures import (
    Panel,
    codebook_picture,
    curve_picture,
    image_grid,
    reconstruction_picture,
    save_png,
)
from tinyvq.training.evaluation import BATCH, Images, reconstruct, reconstructions
from tinyvq.training.generation import (
    SamplingOptions,
    decode,
    draw_codes,
    from_noise,
    nearest_images,
)
from tinyvq.training.metrics_log import read
from tinyvq.training.run import Run

SHOWN = 20  # images in a sample
GRID = 100  # new images at the end, ten by ten
CODE_GRID = 3  # a code is shown as the decoder's picture of up to 3×3 positions of it
COUNTED = 1000  # images whose codes the picture of the codebook counts

_ERROR = Panel(
    "error: mse / pixel variance",
    (("nmse", "training batch"), ("val_nmse", "validation")),
    log=True,
)
_USE = Panel(
    "codebook use: perplexity",
    (("batch_perplexity", "training batch"), ("val_perplexity", "validation")),
)
_VERDICTS = Panel(
    "the discriminator's mean verdict",
    (("logits_real", "on originals"), ("logits_made", "on made images")),
)
# What the picture of each kind of run's curve shows.
PANELS: dict[str, tuple[Panel, ...]] = {
    "vqvae": (_ERROR, _USE),
    "vqgan": (
        _ERROR,
        _USE,
        Panel("weight of the adversary", (("adaptive_weight", ""),), log=True),
        _VERDICTS,
    ),
    "prior": (
        Panel(
            "nats per token",
            (
                ("nats_per_token", "training batch"),
                ("val_nats_per_token", "validation"),
            ),
        ),
    ),
    "vae": (
        _ERROR,
        Panel(
            "divergence: nats per image",
            (("kl", "training batch"), ("val_kl", "validation")),
            log=True,
        ),
    ),
    "gan": (_VERDICTS,),
    "noise-vqgan": (_VERDICTS, _USE),
}


def draw_reconstructions(model: VQVAE | VAE, images: Images, out: Path) -> None:
    """Draw images (N,H,W,C) uint8 above their reconstructions into a .png."""
    made = list(reconstructions(model, images))
    save_png(out, reconstruction_picture(images, np.concatenate(made)))


def draw_sample(run: Run, model: VQVAE, images: ImageData, step: int) -> None:
    """Draw validation images above their reconstructions at a step of training."""
    val = images.split("val").images
    draw_reconstructions(model, val[pick(len(val), SHOWN)], _sample_path(run, step))


def _sample_path(run: Run, step: int) -> Path:
    return run.samples / f"step-{step:08d}.png"


def draw_results(run: Run, model: VQVAE, images: ImageData) -> list[Path]:
    """Draw what a tokenizer has learned: reconstructions, curve, codebook in use."""
    reconstructed = _draw_validation(run, model, images)
    val = images.split("val").images
    counted = val[pick(len(val), COUNTED)]
    usage = CodebookUsage(model.quantizer.num_codes)
    for _, _, indices in reconstruct(model, counted):
        usage.add(indices)
    _, p, q = indices.shape
    each = np.arange(model.quantizer.num_codes)
    grid = (len(each), min(p, CODE_GRID), min(q, CODE_GRID))
    grids = np.broadcast_to(each[:, None, None], grid)  # (M,3,3)
    caption = (
        f"what each code that {len(counted):,} validation images use decodes to, in "
        "that order"
    )
    if p * q == 1:
        caption += f"\none code per image, so it can make {len(each):,} images in all"
    codebook = run.folder / "codebook.png"
    parts = range(0, len(grids), BATCH)  # of a large codebook, not all at once
    made = np.concatenate([model.decode(grids[i : i + BATCH]).numpy() for i in parts])
    write_atomically(codebook, codebook_picture(usage.counts, made, caption))
    return [reconstructed, draw_curve(run), codebook]


def _draw_validation(run: Run, model: VQVAE | VAE, images: ImageData) -> Path:
    """Draw validation images above their reconstructions."""
    val, path = images.split("val").images, run.folder / "reconstructions.png"
    draw_reconstructions(model, val[pick(len(val), SHOWN)], path)
    return path


def draw_curve(run: Run) -> Path:
    """Draw how a run's measures went."""
    path = run.folder / "curve.png"
    write_atomically(path, curve_picture(read(run.metrics), PANELS[run.kind]))
    return path


def draw_prior_sample(run: Run, prior: Prior, tokenizer: VQVAE, step: int) -> None:
    """Draw new images at a step of training: always from the same random numbers."""
    made = _new_images(prior, tokenizer, SHOWN)
    save_png(_sample_path(run, step), image_grid(made, 10))


def _new_images(prior: Prior, tokenizer: VQVAE, count: int) -> Images:
    """Draw new images, the classes in turn from column to column, if there are any."""
    labels = None
    if prior.num_classes:
        labels = np.arange(count) % prior.num_classes
    return decode(tokenizer, draw_codes(prior, labels, count, SamplingOptions()))


def draw_prior_results(
    run: Run, prior: Prior, tokenizer: VQVAE, images: ImageData
) -> list[Path]:
    """Draw what a prior has learned: new images, their nearest ones, the curve."""
    return _draw_new(run, _new_images(prior, tokenizer, GRID), images)


def _draw_new(run: Run, made: Images, images: ImageData) -> list[Path]:
    """Draw new images; some above the training images nearest to them; the curve."""
    samples, nearest = run.folder / "samples.png", run.folder / "nearest.png"
    save_png(samples, image_grid(made, 10))
    train, shown = images.split("train").images, made[:SHOWN]
    pairs = reconstruction_picture(shown, train[nearest_images(shown, train)])
    save_png(nearest, pairs)
    return [samples, nearest, draw_curve(run)]


def draw_noise_sample(run: Run, model: Generator, step: int) -> None:
    """Draw images made from noise at a step of training."""
    save_png(_sample_path(run, step), image_grid(from_noise(model, SHOWN, 0), 10))


def draw_noise_results(run: Run, model: Generator, images: ImageData) -> list[Path]:
    """Draw what a model of noise has learned: as `draw_prior_results`."""
    return _draw_new(run, from_noise(model, GRID, 0), images)


def draw_vae_results(run: Run, model: VAE, images: ImageData) -> list[Path]:
    """Draw what a VAE has learned: reconstructions, and as `draw_prior_results`."""
    reconstructed = _draw_validation(run, model, images)
    return [reconstructed, *draw_noise_results(run, model, images)]
