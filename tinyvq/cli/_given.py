"""New images from given ones: complete, interpolate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import OmitArgPrefixes, arg

from tinyvq.backends import Backend
from tinyvq.cli._images import (
    PartOfImages,
    images_of_prior,
    open_autoencoder,
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
from tinyvq.cli._sample import labels_of_class
from tinyvq.data import ImageData, Split, pick
from tinyvq.errors import ConfigError, DataError
from tinyvq.messages import counting, say
from tinyvq.report import image_grid, save_png
from tinyvq.training import generation
from tinyvq.training.generation import Codes, Images, SamplingOptions
from tinyvq.training.progress import make_ready
from tinyvq.training.trained import TrainedPrior, load_prior


@dataclass(frozen=True)
class Complete:
    """Keep the upper part of images and draw the rest from a prior."""

    run: RunFolder
    """The run folder of a prior, or the name of one that comes with tinyvq."""
    out: Path = Path("completed.png")
    """The picture to write, a PNG: a row per image, the original first, then what was
    kept, then completions of it."""
    keep: float = 0.5
    """The share of an image's rows that is given, in whole rows of codes."""
    images: int = 6
    """How many images."""
    count: int = 8
    """Completions of each."""
    class_: Annotated[str | None, arg(name="class", metavar="CLASS")] = None
    """Complete all as this class, by number or name; else each as its own. Where an
    image has none that the prior knows, each completion draws one, by how likely the
    class makes what is given."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""
    which: Annotated[OmitArgPrefixes[PartOfImages], arg(name="image")] = field(
        default_factory=PartOfImages
    )
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)

    def __post_init__(self) -> None:
        check_picture(self.out)
        check_counts(images=self.images, count=self.count)
        check_size(self.images * (self.count + 2))
        if not 0 <= self.keep <= 1:
            raise ConfigError(f"--keep must be in 0 .. 1, got {self.keep}")


def complete(args: Sequence[str]) -> int:
    """Complete images whose upper part is given."""
    asked = parse(Complete, args, "complete")
    trained = load_prior(asked.run, asked.backend)
    make_ready(asked.backend)
    images = images_of_prior(asked.which, asked.run, trained)
    found = part_of(images, asked.which)
    chosen = found.take(pick(len(found), asked.images))
    labels = _labels(trained, images, chosen, asked.class_)
    make_room(asked.out)
    with counting("drawing codes") as progress:
        made = generation.complete(
            trained.prior,
            trained.tokenizer,
            # All once, then all again: a larger count begins with the same ones.
            np.concatenate([chosen.images] * asked.count),
            None if labels is None else np.tile(labels, asked.count),
            asked.keep,
            asked.sampling,
            on_progress=progress,
        )  # (count · images,H,W,C)
    made = made.reshape(asked.count, len(chosen), *made.shape[1:]).swapaxes(0, 1)
    kept = generation.upper_part(chosen.images, asked.keep, trained.prior.grid[0])
    rows = [
        np.concatenate([original[None], upper[None], completions])
        for original, upper, completions in zip(chosen.images, kept, made, strict=True)
    ]
    save_png(asked.out, image_grid(np.concatenate(rows), asked.count + 2))
    say(f"wrote {asked.out}: {len(chosen)} images, {asked.count} completions each")
    return 0


def _labels(
    trained: TrainedPrior, images: ImageData, chosen: Split, asked: str | None
) -> Codes | None:
    """Give each image its class: the one asked for, or its own; None leaves it open."""
    if asked is not None:
        return labels_of_class(trained, asked, len(chosen))
    try:
        return trained.labels_of(images, chosen)
    except DataError:  # classes of another kind
        return None


@dataclass(frozen=True)
class Interpolate:
    """Go from one image to another through the codes, or latents, between them."""

    run: RunFolder
    """The run folder of a VQ-VAE, a VQ-GAN, a VAE or a prior, or the name of one that
    comes with tinyvq."""
    out: Path = Path("between.png")
    """The picture to write, a PNG: a row per pair of images."""
    pairs: int = 6
    """How many pairs; of other images from the first to the second, from that to the
    third, and so on."""
    steps: int = 10
    """Images from one to the other, both included."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU."""
    which: Annotated[OmitArgPrefixes[PartOfImages], arg(name="image")] = field(
        default_factory=PartOfImages
    )

    def __post_init__(self) -> None:
        check_picture(self.out)
        check_counts(pairs=self.pairs)
        check_size(self.pairs * self.steps)
        if self.steps < 2:
            raise ConfigError(f"--steps must be at least 2, got {self.steps}")


def interpolate(args: Sequence[str]) -> int:
    """Go from one image to another."""
    asked = parse(Interpolate, args, "interpolate")
    model, images = open_autoencoder(asked.run, asked.which, asked.backend)
    found = part_of(images, asked.which).images
    if len(found) < 2:
        raise DataError(
            f"an interpolation goes from one image to another: {images.source} gives "
            "only one"
        )
    make_room(asked.out)
    rows = [
        generation.interpolate(model, pair, asked.steps)
        for pair in _pairs(found, asked.pairs, asked.which.data is not None)
    ]
    save_png(asked.out, image_grid(np.concatenate(rows), asked.steps))
    say(f"wrote {asked.out}: {len(rows)} pairs, {asked.steps} images each")
    return 0


def _pairs(images: Images, count: int, other: bool) -> Images:
    """Choose at most so many pairs (n,2,H,W,C) of images (N,H,W,C).

    other   whether they are the user's: then in their order, each with the next
    """
    if other:
        some = images[: count + 1]
        return np.stack([some[:-1], some[1:]], axis=1)
    ends = pick(len(images), min(2 * count, len(images) // 2 * 2))
    return images[ends.reshape(-1, 2)]
