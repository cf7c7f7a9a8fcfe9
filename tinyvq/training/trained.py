"""Open what a run has learned."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from tinyvq import data
from tinyvq.backends import Backend
from tinyvq.data import ImageData, Split, is_class_folder
from tinyvq.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ModuleError,
    RunError,
)
from tinyvq.messages import either, say
from tinyvq.models import VAE, VQVAE, Generator, Prior
from tinyvq.training import checkpoint
from tinyvq.training.checkpoint import Checkpoint
from tinyvq.training.gan import GANOptions, NoiseOptions, build_generator
from tinyvq.training.options import ImageOptions, RunOptions
from tinyvq.training.prior import Codes, PriorOptions, build_prior
from tinyvq.training.run import CONFIG, Run, create, open_run, typed
from tinyvq.training.state import Stateful, gather, under
from tinyvq.training.tokenizer import TokenizerOptions, build
from tinyvq.training.vae import VAEOptions, build_vae
from tinyvq.training.vqgan import VQGANOptions
from tinyvq.training.vqvae import VQVAEOptions

T = TypeVar("T", bound=RunOptions)

TOKENIZERS: dict[str, type[TokenizerOptions]] = {
    "vqvae": VQVAEOptions,
    "vqgan": VQGANOptions,
}
AUTOENCODERS: dict[str, type[ImageOptions]] = {**TOKENIZERS, "vae": VAEOptions}
GENERATORS: dict[str, type[ImageOptions]] = {
    "vae": VAEOptions,
    "gan": GANOptions,
    "noise-vqgan": NoiseOptions,
}
ALL_KINDS: dict[str, type[RunOptions]] = {
    **AUTOENCODERS,
    **GENERATORS,
    "prior": PriorOptions,
}


def open_kind(folder: Path, kinds: Mapping[str, type[T]]) -> tuple[T, Run]:
    """Open a run folder of one of some kinds.

    Raises RunError where it is another, or where its config.json is damaged.
    """
    run = open_run(folder)
    if run.kind not in kinds:
        raise RunError(
            f"{folder} holds a {run.kind} run, a {either(kinds)} run is needed"
        )
    if not _has_its_facts(run):
        raise RunError(f"{folder}/{CONFIG} has damaged facts: {run.facts}")
    try:
        return typed(run.options, kinds[run.kind]), run
    except (TypeError, ConfigError) as problem:
        raise RunError(f"{folder}/{CONFIG} does not fit: {problem}") from problem


def _has_its_facts(run: Run) -> bool:
    """Tell whether a run has the facts that its kind needs."""
    match run.facts:
        case {
            "data_digest": str(),
            "image_shape": [int(), int(), int()],
            "tokenizer": str(),
            "num_codes": int(),
            "grid": [int(), int()],
            "num_classes": int(),
            "class_names": list(),
        }:
            return run.kind == "prior"
        case {
            "data_digest": str(),
            "image_shape": [int(), int(), int()],
            "pixel_variance": float(variance),
        }:
            return run.kind != "prior" and 0 < variance < math.inf
    return False


def open_tokenizer(folder: Path) -> tuple[TokenizerOptions, Run]:
    """Open the run folder of a VQ-VAE or VQ-GAN; RunError where it is another."""
    return open_kind(folder, TOKENIZERS)


def load_tokenizer(
    folder: Path, backend: Backend = "cpu"
) -> tuple[VQVAE, TokenizerOptions, Run]:
    """Load the newest model of a run folder, in evaluation mode."""
    options, run = open_tokenizer(folder)
    model = build(options, run.facts)
    load_newest(run, model, "model")
    return model.eval().to(backend), options, run


def load_tokenizer_of(
    folder: Path, backend: Backend = "cpu"
) -> tuple[VQVAE, TokenizerOptions, Run]:
    """Load the tokenizer that a run folder holds: a prior's run has a copy of its own.

    ->  the tokenizer, in evaluation mode, its options, and its own run
    """
    if open_run(folder).kind != "prior":
        return load_tokenizer(folder, backend)
    tokenizer, its_options, its_run = tokenizer_of_prior(
        *open_kind(folder, {"prior": PriorOptions})
    )
    return tokenizer.to(backend), its_options, its_run


def load_newest(run: Run, into: Stateful, name: str) -> Checkpoint:
    """Restore one part of a run's newest checkpoint that verifies, and return that."""
    saved = checkpoint.load_latest(run.checkpoints)
    for older, reason in saved.rejected:
        say(f"passing over checkpoint {older}: {reason}")
    state = under(saved.arrays, name)
    if run.exported:  # with --half, its float32 weights are stored as float16
        state = {
            key: array.astype(np.float32) if array.dtype == np.float16 else array
            for key, array in state.items()
        }
    try:
        into.load_state_dict(state)
    except ModuleError as problem:
        raise CheckpointError(f"{saved.path} does not fit: {problem}") from problem
    return saved


def images_of(options: ImageOptions, run: Run, other: str | None) -> ImageData:
    """Load the images of a run on images, or others in the same format."""
    _, _, channels = run.facts["image_shape"]
    return data.load(
        other or options.data, image_size=options.image_size, channels=channels
    )


def was_trained_on(run: Run, images: ImageData) -> bool:
    """Tell whether images are those that a run was trained on, by their digest."""
    labels = run.kind == "prior" and run.options.get("labels") != "ignore"
    try:
        return bool(images.digest(labels) == run.facts["data_digest"])
    except DataError:  # of images without a train or val split
        return False


def load_autoencoder(
    folder: Path, backend: Backend = "cpu"
) -> tuple[VQVAE | VAE, ImageOptions, Run]:
    """Load the newest VQ-VAE, VQ-GAN or VAE of a run folder, in evaluation mode."""
    options, run = open_kind(folder, AUTOENCODERS)
    if not isinstance(options, VAEOptions):
        return load_tokenizer(folder, backend)
    model = build_vae(options, run.facts)
    load_newest(run, model, "model")
    return model.eval().to(backend), options, run


def load_generator(
    folder: Path, backend: Backend = "cpu"
) -> tuple[Generator, ImageOptions, Run]:
    """Load the newest model of a run folder that makes images of noise alone."""
    options, run = open_kind(folder, GENERATORS)
    if isinstance(options, VAEOptions):
        model: Generator = build_vae(options, run.facts)
    else:
        assert isinstance(options, GANOptions)
        model = build_generator(options, run.facts)
    load_newest(run, model, "model")
    return model.eval().to(backend), options, run


@dataclass(frozen=True)
class TrainedPrior:
    """A prior, and the tokenizer whose codes it draws.

    class_names   what each label means, where that is known
    """

    prior: Prior
    tokenizer: VQVAE
    options: PriorOptions
    tokenizer_options: TokenizerOptions
    run: Run

    @property
    def data(self) -> str:
        """The images that it was trained on, by name or place."""
        return self.options.data or self.tokenizer_options.data

    def images(self) -> ImageData:
        """Load the images that it was trained on."""
        return images_of(self.tokenizer_options, self.run, self.data)

    @property
    def class_names(self) -> list[str]:
        """What each label means, where that is known."""
        return [str(name) for name in self.run.facts["class_names"]]

    @property
    def folder_names(self) -> list[str]:
        """Name a folder for each class: as the class, where that can be one's name."""
        classes = self.prior.num_classes
        names = [*self.class_names, *([""] * classes)][:classes]
        return [
            name if is_class_folder(name) else _numbered(label, name)
            for label, name in enumerate(names)
        ]

    def labels_of(self, images: ImageData, split: Split) -> Codes | None:
        """Number the classes (N,) of a split of images as the prior does.

        By their names, where both have some, or by those of the folders that `augment`
        writes. None where the prior knows no classes, or the images have none;
        DataError where they have others than it knows.
        """
        if self.prior.num_classes == 0 or split.labels is None:
            return None
        ours, theirs = self.class_names, images.class_names
        knows = f"the prior in {self.run.folder} knows"
        known = {name: label for label, name in enumerate(self.folder_names)}
        known |= {name: label for label, name in enumerate(ours)}
        others = [name for name in theirs if name not in known]
        if theirs and (ours or not others):
            if others:
                raise DataError(
                    f"{images.source} has the class {others[0]}, {knows} "
                    f"{', '.join(ours)}"
                )
            return np.array([known[name] for name in theirs])[split.labels]
        most = int(split.labels.max())
        if most >= self.prior.num_classes:
            raise DataError(
                f"{images.source} has labels up to {most}, {knows} "
                f"0 .. {self.prior.num_classes - 1}"
            )
        return split.labels


def _numbered(label: int, name: str) -> str:
    """Name a folder by a label, and what may stay of its name."""
    word = re.sub(r"[^\w-]+", "-", name).strip("-")
    return f"{label:02d}-{word}".rstrip("-")


def load_prior(folder: Path, backend: Backend = "cpu") -> TrainedPrior:
    """Load the newest prior of a run folder and its tokenizer, in evaluation mode."""
    options, run = open_kind(folder, {"prior": PriorOptions})
    tokenizer, tokenizer_options, _ = tokenizer_of_prior(options, run)
    prior = build_prior(options, run.facts)
    load_newest(run, prior, "prior")
    return TrainedPrior(
        prior.eval().to(backend), tokenizer.to(backend), options, tokenizer_options, run
    )


def tokenizer_folder(run: Run) -> Path:
    """Where a prior's run keeps its own copy of the tokenizer: a run folder, too."""
    return run.folder / "tokenizer"


def tokenizer_of_prior(
    options: PriorOptions, run: Run | None
) -> tuple[VQVAE, TokenizerOptions, Run]:
    """Load the tokenizer that a prior is to be trained on, or was, if it has a run.

    A run has its own copy, and needs the original only if that was never finished; an
    exported run has its copy alone.
    """
    if run is None:
        if not options.tokenizer:
            raise ConfigError(
                "a prior learns the codes of a tokenizer: give the run folder of a "
                "VQ-VAE or VQ-GAN, --tokenizer RUN"
            )
        return load_tokenizer(Path(options.tokenizer))
    try:
        found = load_tokenizer(tokenizer_folder(run))
    except (RunError, CheckpointError):
        if run.exported:  # which names no other
            raise
        found = load_tokenizer(Path(options.tokenizer))
    if found[0].fingerprint() != run.facts["tokenizer"]:
        raise RunError(
            f"the prior in {run.folder} was trained on the codes of another tokenizer "
            f"than the one in {found[2].folder}"
        )
    return found


def keep_tokenizer(run: Run, tokenizer: VQVAE, original: Run) -> None:
    """Copy a tokenizer into a prior's run.

    What it is can then be loaded and sampled from, whatever becomes of the original.
    """
    folder = tokenizer_folder(run)
    if original.folder == folder:
        return
    try:
        copy = open_run(folder)
    except RunError:
        copy = create(folder, original.kind, original.options, original.facts)
    checkpoint.save(
        copy.checkpoints, 0, gather({"model": tokenizer}), {"kind": original.kind}
    )
