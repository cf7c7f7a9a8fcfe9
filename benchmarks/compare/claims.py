"""What the textbooks claim, and what the figures say of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from benchmarks.compare.pieces import SEEDS, WORDS
from benchmarks.compare.records import Results, spread, values
from benchmarks.markdown import NOT_YET, table


@dataclass(frozen=True)
class Claim:
    """A claim: one model's figure is above or below another's, perhaps by a factor.

    first, second  models
    relation       of the first one's figure to the second one's
    figure         the path of what is compared
    factor         on the second one's figure
    """

    text: str
    first: str
    relation: Literal["<", ">"]
    second: str
    figure: str
    factor: float = 1.0


CLAIMS = (
    Claim(
        "A VAE's reconstructions are softer than a VQ-VAE's.",
        "vae",
        "<",
        "vqvae",
        "reconstruction.sharpness_kept",
    ),
    Claim(
        "A VQ-VAE is soft: a VQ-GAN keeps more of the sharpness.",
        "vqvae",
        "<",
        "vqgan",
        "reconstruction.sharpness_kept",
    ),
    Claim(
        "To a judge, a VQ-GAN's reconstructions are nearer to the originals.",
        "vqgan",
        "<",
        "vqvae",
        "reconstruction.perceptual_distance",
    ),
    Claim(
        "They are nearer as a set, too, by the Fréchet distance.",
        "vqgan",
        "<",
        "vqvae",
        "reconstruction.frechet",
    ),
    Claim(
        "A VQ-GAN's squared error is no more than 1.3 times a VQ-VAE's.",
        "vqgan",
        "<",
        "vqvae",
        "reconstruction.mse",
        factor=1.3,
    ),
    Claim(
        "A VQ-GAN with a prior draws better images than a VQ-VAE with one.",
        "vqgan-prior",
        "<",
        "vqvae-prior",
        "samples.frechet",
    ),
    Claim(
        "A VQ-GAN with a prior draws better images than a GAN.",
        "vqgan-prior",
        "<",
        "gan",
        "samples.frechet",
    ),
    Claim(
        "A VQ-GAN with a prior draws more various images than a GAN.",
        "vqgan-prior",
        ">",
        "gan",
        "samples.coverage",
    ),
    Claim(
        "A VQ-GAN with a prior draws more various images than a VQ-VAE with one.",
        "vqgan-prior",
        ">",
        "vqvae-prior",
        "samples.coverage",
    ),
    Claim(
        "A VQ-VAE learns steadily: an adversary brings unrest.",
        "vqvae",
        "<",
        "vqgan",
        "steadiness.unrest",
    ),
    Claim(
        "A VAE's new images are worse than a VQ-VAE's with a prior.",
        "vqvae-prior",
        "<",
        "vae",
        "samples.frechet",
    ),
    Claim(
        "A VAE's new images are worse than a GAN's.",
        "gan",
        "<",
        "vae",
        "samples.frechet",
    ),
    Claim(
        "A VAE's new images are softer than a GAN's.",
        "vae",
        "<",
        "gan",
        "samples.sharpness",
    ),
    Claim(
        "A codebook between noise and image costs a GAN less than 5 % of its variety.",
        "noise-vqgan",
        ">",
        "gan",
        "samples.coverage",
        factor=0.95,
    ),
)


# These begin from the same weights and see the same images in the same order: they are
# held against each other seed by seed. Of others, any seed is held against any.
TWINS = {"vqvae", "vqgan"}


def came_out(pairs: Sequence[tuple[float, float]], seeds: int) -> str:
    """Say what came out of a claim that the first of each pair is less."""
    if seeds < len(SEEDS):
        return f"not yet: {seeds} of {len(SEEDS)} seeds"
    if all(a < b for a, b in pairs):
        return "supported"
    return "not supported" if all(a > b for a, b in pairs) else "undecided"


def verdict(claim: Claim, found: Results, data: str) -> tuple[str, str] | None:
    """Judge a claim by all seeds -> what came out, and the figures; None if none."""
    first = values(found.get((data, claim.first), []), claim.figure)
    second = values(found.get((data, claim.second), []), claim.figure)
    if not first or not second:
        return None
    against = [claim.factor * value for value in second]
    low, high = (first, against) if claim.relation == "<" else (against, first)
    twins = {claim.first, claim.second} == TWINS
    pairs = list(zip(low, high, strict=False) if twins else product(low, high))
    seeds = min(len(first), len(second))
    said = came_out(pairs, seeds)
    sides = f"{spread(first)} against {spread(second)}"
    return said, sides + (f", times {claim.factor}" if claim.factor != 1 else "")


def claims_table(found: Results) -> str:
    """Say of each claim, on each data set, what came out."""
    rows = []
    for claim in CLAIMS:
        for data in WORDS:
            judged = verdict(claim, found, data)
            if judged:
                what = claim.figure.split(".")[-1].replace("_", " ")
                rows.append((claim.text, data, judged[0], f"{what}: {judged[1]}"))
    head = ("claim", "images", "came out", "figures, mean over seeds")
    return table(head, rows) if rows else NOT_YET
