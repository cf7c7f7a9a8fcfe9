"""New images: sample, augment."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import OmitArgPrefixes, arg

from tinyvq.backends import Backend
from tinyvq.cli._codes import write_npz
from tinyvq.cli._images import OtherImages, images_of_prior, open_images
from tinyvq.cli._parse import (
    MOST_IMAGES,
    RunFolder,
    check_counts,
    check_new,
    check_picture,
    make_room,
    parse,
)
from tinyvq.cli._pictures import picture_folder
from tinyvq.data import ImageData
from tinyvq.errors import ConfigError, RunError
from tinyvq.messages import counting, say, track
from tinyvq.report import image_grid, reconstruction_picture, save_png
from tinyvq.training import generation
from tinyvq.training.generation import Codes, Images, SamplingOptions
from tinyvq.training.progress import make_ready
from tinyvq.training.run import open_run
from tinyvq.training.trained import (
    GENERATORS,
    TrainedPrior,
    load_generator,
    load_prior,
)


@dataclass(frozen=True)
class Sample:
    """Make new images from a trained prior, or from noise by a VAE or a GAN."""

    run: RunFolder
    """The run folder, or the name of a run that comes with tinyvq."""
    out: Path = Path("samples.png")
    """The picture to write, a PNG."""
    grid: Annotated[str, arg(metavar="ROWSxCOLUMNS")] = "10x10"
    """Rows x columns."""
    class_: Annotated[str | None, arg(name="class", metavar="CLASS")] = None
    """Images of this class alone, by number or name; else the classes in turn, from
    column to column."""
    nearest: bool = False
    """Under each image, the training image that is nearest to it; with --data, the
    nearest of all those."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""
    which: Annotated[OmitArgPrefixes[OtherImages], arg(name="image")] = field(
        default_factory=OtherImages
    )
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)

    def __post_init__(self) -> None:
        check_picture(self.out)
        _parse_grid(self.grid)


def sample(args: Sequence[str]) -> int:
    """Make new images."""
    asked = parse(Sample, args, "sample")
    rows, columns = _parse_grid(asked.grid)
    if asked.which.data is not None and not asked.nearest:
        raise ConfigError("--data is where --nearest looks: give that, too")
    run = open_run(asked.run)
    if run.kind != "prior" and run.kind not in GENERATORS:
        raise RunError(
            f"{asked.run} holds a {run.kind} run, which turns images into codes; new "
            f"images need a prior: tinyvq train prior --tokenizer {asked.run} --out RUN"
        )
    make_room(asked.out)
    make = _from_prior if run.kind == "prior" else _from_noise
    made, among = make(asked, rows * columns)
    if among is None:
        picture = image_grid(made, columns)
    else:
        nearest = among[generation.nearest_images(made, among)]
        picture = reconstruction_picture(made, nearest, columns)
    save_png(asked.out, picture)
    say(f"wrote {asked.out}: {rows}×{columns} new images")
    return 0


def _from_noise(asked: Sample, count: int) -> tuple[Images, Images | None]:
    """Make images (N,H,W,C) by a VAE or a GAN; load what --nearest looks among."""
    plain = replace(asked.sampling, seed=SamplingOptions.seed)
    if asked.class_ is not None or plain != SamplingOptions():
        raise ConfigError(
            f"{asked.run} draws from noise alone: --class, --temperature, --top-k and "
            "--top-p are for priors"
        )
    model, options, run = load_generator(asked.run, asked.backend)
    make_ready(asked.backend)
    among = None
    if asked.nearest:
        among = _among(open_images(asked.which, asked.run, options, run), asked)
    return generation.from_noise(model, count, asked.sampling.seed), among


def _from_prior(asked: Sample, count: int) -> tuple[Images, Images | None]:
    """Make images (N,H,W,C) by a prior; load what --nearest looks among."""
    trained = load_prior(asked.run, asked.backend)
    make_ready(asked.backend)
    labels = labels_of_class(trained, asked.class_, count)
    among = None
    if asked.nearest:
        among = _among(images_of_prior(asked.which, asked.run, trained), asked)
    return _draw(trained, labels, count, asked.sampling), among


def _among(images: ImageData, asked: Sample) -> Images:
    """Choose the images (N,H,W,C) that --nearest looks among."""
    own = asked.which.data is None
    return (images.split("train") if own else images.everything()).images


def _parse_grid(text: str) -> tuple[int, int]:
    """Read "10x10"; ConfigError where it is no grid, or one too large."""
    match = re.fullmatch(r"([1-9][0-9]*)[x×]([1-9][0-9]*)", text)
    if match is None:
        raise ConfigError(f"--grid must be rows x columns, as 10x10, got {text!r}")
    rows, columns = int(match[1]), int(match[2])
    if rows * columns > MOST_IMAGES:
        raise ConfigError(
            f"--grid {text} asks for {rows * columns:,} images in one picture, at most "
            f"{MOST_IMAGES:,}; tinyvq augment writes any number into a folder"
        )
    return rows, columns


def labels_of_class(
    trained: TrainedPrior, asked: str | None, count: int
) -> Codes | None:
    """Give each of `count` images its class: the one asked for, or each in turn."""
    classes = trained.prior.num_classes
    if classes == 0:
        if asked is not None:
            raise ConfigError(
                f"the prior in {trained.run.folder} was trained without classes: drop "
                "--class"
            )
        return None
    if asked is None:
        return np.arange(count) % classes
    names = trained.class_names
    if asked in names:
        return np.full(count, names.index(asked))
    short = asked.isdecimal() and len(asked) < 10  # what int takes at once
    if not short or int(asked) >= classes:
        known = f", or one of {', '.join(names)}" if names else ""
        raise ConfigError(f"--class must be 0 .. {classes - 1}{known}, got {asked}")
    return np.full(count, int(asked))


def _draw(
    trained: TrainedPrior, labels: Codes | None, count: int, how: SamplingOptions
) -> Images:
    with counting("drawing codes") as progress:
        codes = generation.draw_codes(
            trained.prior, labels, count, how, on_progress=progress
        )
    return generation.decode(trained.tokenizer, codes)


@dataclass(frozen=True)
class Augment:
    """Write new images of every class: a folder per class, or one .npz with labels."""

    run: RunFolder
    """The run folder of a prior that knows classes, or the name of one that comes with
    tinyvq."""
    out: Path
    """A new folder for PNG pictures, or the name of an .npz."""
    per_class: int = 500
    """Images of each class."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)

    def __post_init__(self) -> None:
        check_counts(per_class=self.per_class)


def augment(args: Sequence[str]) -> int:
    """Write new images of every class."""
    asked = parse(Augment, args, "augment")
    trained = load_prior(asked.run, asked.backend)
    classes = trained.prior.num_classes
    if classes == 0:
        raise ConfigError(
            f"the prior in {asked.run} was trained without classes, so its images have "
            "no labels"
        )
    packed = asked.out.suffix.lower() == ".npz"
    check_new(asked.out)
    make_room(asked.out)
    make_ready(asked.backend)
    # Class by class in turn: the first so many of each are the same for any number.
    labels = np.arange(classes * asked.per_class) % classes
    made = _draw(trained, labels, len(labels), asked.sampling)
    if packed:
        write_npz(asked.out, {"images": made, "labels": labels})
    else:
        names = trained.folder_names
        with picture_folder(asked.out) as write:
            for i, image in enumerate(track(made, "writing", len(made))):
                write(f"{names[labels[i]]}/{i // classes:05d}.png", image)
    say(f"wrote {asked.out}: {asked.per_class} images of each of {classes} classes")
    return 0
