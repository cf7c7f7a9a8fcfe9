"""The pictures of a run, on the way and at the end."""

from pathlib import Path

import numpy as np

from tinyvq.data import ImageData
from tinyvq.files import write_atomically
from tinyvq.metrics import CodebookUsage
from tinyvq.models import VQVAE
from tinyvq.report.pictures import (
    codebook_picture,
    curve_picture,
    reconstruction_picture,
    save_png,
)
from tinyvq.rng import Stream
from tinyvq.training.evaluation import Images, reconstruct
from tinyvq.training.metrics_log import read
from tinyvq.training.run import Run

SHOWN = 20  # images in a sample
CODE_GRID = 3  # a code is shown as the decoder's picture of up to 3×3 positions of it
COUNTED = 1000  # images whose codes the picture of the codebook counts


def pick(images: Images, count: int) -> Images:
    """Pick `count` images spread over a split, always the same ones."""
    order = Stream(0, "images to show").permutation(len(images))
    return images[np.sort(order[:count])]


def draw_reconstructions(model: VQVAE, images: Images, out: Path) -> None:
    """Draw images (N,H,W,C) uint8 above their reconstructions into a .png."""
    made = [batch for _, batch, _ in reconstruct(model, images)]
    save_png(out, reconstruction_picture(images, np.concatenate(made)))


def draw_sample(run: Run, model: VQVAE, images: ImageData, step: int) -> None:
    """Draw validation images above their reconstructions at a step of training."""
    shown = pick(images.split("val").images, SHOWN)
    draw_reconstructions(model, shown, run.samples / f"step-{step:08d}.png")


def draw_results(run: Run, model: VQVAE, images: ImageData) -> list[Path]:
    """Draw what a run has learned: reconstructions, curve, codebook in use."""
    val = images.split("val").images
    reconstructions = run.folder / "reconstructions.png"
    draw_reconstructions(model, pick(val, SHOWN), reconstructions)

    curve = run.folder / "curve.png"
    write_atomically(curve, curve_picture(read(run.metrics)))

    usage = CodebookUsage(model.quantizer.num_codes)
    for _, _, indices in reconstruct(model, val[:COUNTED]):
        usage.add(indices)
    _, p, q = indices.shape
    each = np.arange(model.quantizer.num_codes)
    grid = (len(each), min(p, CODE_GRID), min(q, CODE_GRID))
    grids = np.broadcast_to(each[:, None, None], grid)  # (M, 3, 3)
    caption = "what each code in use decodes to, in that order"
    if p * q == 1:
        caption += ": one code an image, so these are all it can make"
    codebook = run.folder / "codebook.png"
    made = model.decode(grids).numpy()
    write_atomically(codebook, codebook_picture(usage.counts, made, caption))
    return [reconstructions, curve, codebook]
