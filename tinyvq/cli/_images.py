"""The images that a command works on: a run's own, or others that suit its model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

from tyro.conf import arg

from tinyvq import data
from tinyvq.backends import Backend
from tinyvq.data import ImageData, Split, SplitName
from tinyvq.errors import ConfigError, DataError, RunError
from tinyvq.models import VAE, VQVAE
from tinyvq.training.options import ImageOptions
from tinyvq.training.progress import make_ready
from tinyvq.training.run import Run, open_run
from tinyvq.training.tokenizer import TokenizerOptions
from tinyvq.training.trained import (
    TrainedPrior,
    images_of,
    load_autoencoder,
    load_prior,
    was_trained_on,
)

Model = TypeVar("Model", bound=VQVAE | VAE)


@dataclass(frozen=True)
class OtherImages:
    """The images to work on."""

    data: Annotated[str | None, arg(metavar="IMAGES")] = None
    """Other images than those it was trained on."""
    fit: bool = False
    """Resize, crop and recolour other images to what the model takes."""


@dataclass(frozen=True)
class PartOfImages(OtherImages):
    """The images to work on."""

    split: SplitName | None = None
    """Which part of the data. By default test; of other images without such parts,
    all."""


def open_model(
    load: Callable[[Path, Backend], tuple[Model, ImageOptions, Run]],
    folder: Path,
    which: OtherImages,
    backend: Backend,
) -> tuple[Model, ImageOptions, ImageData]:
    """Load a run's model, its options and its images, or other ones that suit it."""
    model, options, run = load(folder, backend)
    make_ready(backend)
    return model, options, open_images(which, folder, options, run)


def open_autoencoder(
    folder: Path, which: OtherImages, backend: Backend
) -> tuple[VQVAE | VAE, ImageData]:
    """Load what turns images into others: of a prior's run, its tokenizer.

    ->  the model, and the run's images or other ones that suit it
    """
    if open_run(folder).kind == "prior":
        trained = load_prior(folder, backend)
        make_ready(backend)
        return trained.tokenizer, images_of_prior(which, folder, trained)
    model, _, images = open_model(load_autoencoder, folder, which, backend)
    return model, images


def images_of_prior(
    which: OtherImages, folder: Path, trained: TrainedPrior
) -> ImageData:
    """Load the images that a prior was trained on, or other ones that suit it."""
    own = trained.data
    return open_images(which, folder, trained.tokenizer_options, trained.run, own)


def open_images(
    which: OtherImages,
    folder: Path,
    options: ImageOptions,
    run: Run,
    own: str | None = None,
) -> ImageData:
    """Load the images of a run, or other ones that suit it.

    The run's own, given as other ones, do not count as undivided: their test images
    stay apart.

    folder    of the run, as its user names it
    options   of the model of images: a prior's tokenizer
    own       the images of the run, where they are not those of its options

    Raises ConfigError where other images do not suit, DataError where images cannot be
    had, RunError where the run's are no longer those that it was trained on.
    """
    place = own or options.data
    if which.data is None:
        try:
            images = images_of(options, run, own)
        except DataError as problem:
            other = "--data takes other images, by name or folder"
            raise DataError(f"{problem}; {other}") from problem
        if not was_trained_on(run, images):
            raise RunError(
                f"{place} now holds other images than those that {folder} was trained "
                f"on; --data {place} takes those that are there now"
            )
        return images
    images = _other_images(which.data, which.fit, folder, options, run)
    if images.undivided:
        same = Path(which.data).resolve() == Path(place).resolve()
        return replace(images, undivided=not (same or was_trained_on(run, images)))
    return images


def _other_images(
    source: str, fit: bool, folder: Path, options: ImageOptions, run: Run
) -> ImageData:
    """Load images that suit a run, fitted to it if asked for; see `open_images`."""
    height, width, channels = run.facts["image_shape"]
    if fit:
        if height != width:
            raise ConfigError(
                f"--fit makes squares, but the model in {folder} takes images of "
                f"{height}×{width} pixels"
            )
        return data.load(source, image_size=height, channels=channels)
    images = data.load(source)
    found = images.image_shape
    if found[2] != channels or not (
        found[:2] == (height, width)
        or (_takes_any(options, run) and found[0] % 4 == 0 and found[1] % 4 == 0)
    ):
        raise ConfigError(
            f"{source} has images {_shape(*found)}, the model in {folder} was "
            f"trained on images {_shape(height, width, channels)}; --fit resizes, "
            "crops and recolours"
        )
    return images


def _takes_any(options: ImageOptions, run: Run) -> bool:
    """Whether a model takes any size that divides by 4: one without linear layers.

    A prior draws grids of one size.
    """
    conv = isinstance(options, TokenizerOptions) and options.model == "conv"
    return conv and run.kind != "prior"


def _shape(height: int, width: int, channels: int) -> str:
    return f"of {height}×{width} pixels, {'grey' if channels == 1 else 'colour'}"


def part_of(images: ImageData, which: PartOfImages) -> Split:
    """Take the part that is asked for of a run's images, or of other ones."""
    other = which.data is not None
    if which.split is None and other and images.undivided:
        return images.everything()
    return images.split(which.split or "test")
