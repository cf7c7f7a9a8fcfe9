"""Train a VQ-VAE: its options, and one step of it."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tinyvq import data
from tinyvq.data import ImageData, batch_indices, to_unit
from tinyvq.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ModuleError,
    RunError,
)
from tinyvq.messages import say
from tinyvq.models import TUNED, VQVAE, QuantizerName
from tinyvq.optim import Adam, warmup_cosine
from tinyvq.tensor import Tensor
from tinyvq.training import checkpoint
from tinyvq.training.evaluation import evaluate
from tinyvq.training.guard import guarded_backward
from tinyvq.training.loop import Schedule
from tinyvq.training.run import CONFIG, Run, open_run, typed

VALIDATION_IMAGES = 1000  # of the split, at most: a glance, not the verdict
COLLAPSED = 0.1  # a share of codes in use below this is told to the user

_SIZES = ("hidden", "num_codes", "code_dim")  # a preset has its own by default
_HARD = ("commitment", "decay", "restart_below")
_SETTINGS = {
    "ema": _HARD,
    "gradient": _HARD,
    "soft": ("temperature", "kl_weight"),
}


@dataclass(frozen=True)
class VQVAEOptions:
    """What the user chooses; the command line and config.json are made of it."""

    data: str = "fashion-mnist-5k"
    """A built-in name, an idx file or folder, an .npz, or a folder of images."""
    image_size: int | None = None
    """Resize and crop images to this many pixels a side; must divide by 4."""
    channels: Literal[1, 3] | None = None
    """Grey (1) or colour (3); by default what the images have."""
    model: Literal["conv", "dense"] = "conv"
    """The network: convolutional, or the textbooks' smallest, one code an image."""
    hidden: int | None = None
    """Channels of the hidden layers; by default the model's (conv 128, dense 32)."""
    num_codes: int | None = None
    """Codes in the codebook; by default the model's (conv 512, dense 10)."""
    code_dim: int | None = None
    """Width of a code; by default the model's (conv 64, dense 20)."""
    quantizer: QuantizerName = "ema"
    """ema: codes are running means of their vectors. gradient: codes follow the
    codebook loss. soft: in training a softmax-weighted mixture of codes."""
    commitment: float = TUNED["commitment"]
    """Weight of the commitment loss (ema, gradient)."""
    decay: float = TUNED["decay"]
    """Of the running means of the codes (ema, gradient)."""
    restart_below: float = TUNED["restart_below"]
    """Codes chosen less often than this share of the average are placed anew (ema,
    gradient)."""
    temperature: float = 1.0
    """Of the softmax over codes (soft)."""
    kl_weight: float = 0.0
    """Weight of the divergence of the assignment from uniform (soft)."""
    steps: int = 2000
    """Training steps."""
    batch_size: int = 32
    """Images a step."""
    lr: float = 3e-4
    """Learning rate of Adam."""
    warmup: int = 0
    """Steps over which the learning rate grows to its value."""
    cosine: bool = False
    """Let the learning rate fall to 0 along half a cosine."""
    seed: int = 0
    """Fixes weights, data order and restarts."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    validate_every: int = 250
    """Steps between looks at the validation split."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    picture_every: int = 250
    """Steps between sample pictures."""

    def __post_init__(self) -> None:
        for name in [
            "image_size",
            "hidden",
            "num_codes",
            "code_dim",
            "steps",
            "batch_size",
            "log_every",
            "validate_every",
            "checkpoint_every",
            "picture_every",
        ]:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{option(name)} must be at least 1, got {value}")
        if self.warmup < 0:
            raise ConfigError(f"--warmup must be at least 0, got {self.warmup}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{option(field.name)} must be finite, got {value}")
        if self.lr <= 0:
            raise ConfigError(f"--lr must be above 0, got {self.lr}")

    def schedule(self) -> Schedule:
        """When the loop does what."""
        return Schedule(
            self.steps,
            self.log_every,
            self.validate_every,
            self.checkpoint_every,
            self.picture_every,
        )


def option(field: str) -> str:
    """Write the name of a field as it is typed: code_dim -> --code-dim."""
    return "--" + field.replace("_", "-")


def load_images(options: VQVAEOptions) -> ImageData:
    """Load the data of a run and check that the network can take it."""
    images = data.load(
        options.data, image_size=options.image_size, channels=options.channels
    )
    images.split("val")  # raises where it is empty
    available = len(images.split("train"))
    if options.batch_size > available:
        raise ConfigError(
            f"--batch-size {options.batch_size} is more than the {available} training "
            f"images of {options.data}"
        )
    return images


def facts_of(images: ImageData) -> dict[str, Any]:
    """Find out what the run needs to know of its data, for config.json."""
    train = images.split("train").images
    if train.min() == train.max():
        raise DataError(f"{images.source}: all training pixels are alike")
    digest = hashlib.blake2b(digest_size=16)
    for name in ("train", "val"):  # a run reads no others
        pixels = images.split(name).images
        digest.update(f"{name} {pixels.shape} ".encode())
        digest.update(pixels.tobytes())
    return {
        "data_source": images.source,
        "data_digest": digest.hexdigest(),
        "image_shape": list(images.image_shape),
        "images": {name: len(split.images) for name, split in images.splits.items()},
        "pixel_variance": float(np.var(train / 255.0)),
    }


def build(options: VQVAEOptions, facts: Mapping[str, Any]) -> VQVAE:
    """Build the model that a run's options and facts describe."""
    height, width, channels = facts["image_shape"]
    sizes = {name: getattr(options, name) for name in _SIZES}
    return VQVAE.preset(
        options.model,
        channels=channels,
        image_size=(height, width),
        quantizer=options.quantizer,
        pixel_variance=facts["pixel_variance"],
        seed=options.seed,
        **{name: size for name, size in sizes.items() if size is not None},
        **{name: getattr(options, name) for name in _SETTINGS[options.quantizer]},
    )


class VQVAETask:
    """One step after another of a VQ-VAE; see `loop.Task`."""

    def __init__(
        self, options: VQVAEOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        self.options = options
        self.batch_size = options.batch_size
        self.images = images
        self.model = build(options, facts)
        self.optimizer = Adam(self.model.parameters(), options.lr)

    def step(self, step: int) -> dict[str, float]:
        """Do one step: look up, differentiate, move weights, then the codebook."""
        options, model = self.options, self.model
        train = self.images.split("train").images
        chosen = batch_indices(len(train), options.batch_size, step, options.seed)
        x = Tensor.wrap(to_unit(train[chosen]))
        lr = self.optimizer.lr = warmup_cosine(
            step,
            options.lr,
            warmup=options.warmup,
            total=options.steps if options.cosine else None,
        )

        def forward() -> Tensor:
            self.output = model(x)
            return self.output.loss

        norm = guarded_backward(forward, model)
        self.optimizer.step()
        output = self.output
        update = model.quantizer.update(output.stats)
        for codebook in model.quantizer.trained_codebook():
            self.optimizer.reset_rows(codebook, update.moved)
        return {
            "loss": output.loss.item(),
            "nmse": output.reconstruction_mse / model.pixel_variance,
            "batch_perplexity": output.stats.batch_perplexity,
            "batch_codes_used": output.stats.codes_used,
            "codes_restarted": len(update.restarted),
            "gradient_norm": norm,
            "lr": lr,
        }

    def validate(self) -> dict[str, float]:
        """Measure the model on the validation split, or on a glance of it."""
        images = self.images.split("val").images[:VALIDATION_IMAGES]
        found = evaluate(self.model, images)
        if found.codes_used < COLLAPSED * found.codes_total:
            say(
                f"only {found.codes_used} of {found.codes_total} codes are in use: the "
                f"codebook collapses. {self._remedy()}"
            )
        return {
            "val_nmse": found.nmse,
            "val_perplexity": found.perplexity,
            "val_codes_used": found.codes_used,
        }

    def _remedy(self) -> str:
        """Say what helps against a codebook that collapses."""
        if self.options.quantizer == "soft":
            return "A --kl-weight above 0 draws the assignment towards even use"
        if self.options.restart_below == 0:
            share = TUNED["restart_below"]
            return f"--restart-below {share} places codes anew that are hardly chosen"
        return "A higher --restart-below or a lower --lr may help"

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the model's and the optimiser's state."""
        return {
            **{f"model.{name}": a for name, a in self.model.state_dict().items()},
            **{f"adam.{name}": a for name, a in self.optimizer.state_dict().items()},
        }

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore what `state` gave."""
        self.model.load_state_dict(part(state, "model."))
        self.optimizer.load_state_dict(part(state, "adam."))


def part(
    state: Mapping[str, npt.NDArray[Any]], prefix: str
) -> dict[str, npt.NDArray[Any]]:
    """Select the entries under a prefix, and cut it off."""
    return {
        name.removeprefix(prefix): array
        for name, array in state.items()
        if name.startswith(prefix)
    }


def open_vqvae(folder: Path) -> tuple[VQVAEOptions, Run]:
    """Open the run folder of a VQ-VAE; RunError where it is something else."""
    run = open_run(folder)
    if run.kind != "vqvae":
        raise RunError(f"{folder} holds a {run.kind} run, a vqvae run is needed")
    match run.facts:
        case {
            "data_digest": str(),
            "image_shape": [int(), int(), int()],
            "pixel_variance": float(variance),
        } if 0 < variance < math.inf:
            pass
        case _:
            raise RunError(f"{folder}/{CONFIG} has damaged facts: {run.facts}")
    try:
        return typed(run.options, VQVAEOptions), run
    except (TypeError, ConfigError) as problem:
        raise RunError(f"{folder}/{CONFIG} does not fit: {problem}") from problem


def load_model(folder: Path) -> tuple[VQVAE, VQVAEOptions, Run]:
    """Load the newest model of a run folder, in evaluation mode."""
    options, run = open_vqvae(folder)
    model = build(options, run.facts)
    saved = checkpoint.load_latest(run.checkpoints)
    for name, reason in saved.rejected:
        say(f"passing over checkpoint {name}: {reason}")
    try:
        model.load_state_dict(part(saved.arrays, "model."))
    except ModuleError as problem:
        raise CheckpointError(f"{saved.path} does not fit: {problem}") from problem
    return model.eval(), options, run
