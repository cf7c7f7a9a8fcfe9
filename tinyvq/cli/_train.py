"""`tinyvq train ...`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from tinyvq.cli._parse import parse
from tinyvq.errors import ConfigError, RunError
from tinyvq.messages import say
from tinyvq.models import VQVAE
from tinyvq.report import draw_results, draw_sample
from tinyvq.training.loop import train
from tinyvq.training.progress import compile_kernels
from tinyvq.training.run import Run, create
from tinyvq.training.vqvae import (
    VQVAEOptions,
    VQVAETask,
    facts_of,
    load_images,
    open_vqvae,
    option,
)


@dataclasses.dataclass(frozen=True)
class TrainVQVAE:
    """Train a VQ-VAE on images."""

    out: Path
    """The run folder to make, or with --resume to go on with."""
    options: OmitArgPrefixes[VQVAEOptions] = dataclasses.field(
        default_factory=VQVAEOptions
    )
    resume: bool = False
    """Go on with the run in --out: its saved options win, only --steps may change."""


def train_vqvae(args: Sequence[str]) -> int:
    """Train a VQ-VAE on images."""
    asked = parse(TrainVQVAE, args, "train vqvae")
    options = _saved_options(asked.out, args) if asked.resume else asked.options
    compile_kernels()
    run, _ = run_vqvae(asked.out, options, resume=asked.resume)
    say(f"done: {run.folder} (reconstructions.png, curve.png, codebook.png)")
    return 0


def run_vqvae(out: Path, options: VQVAEOptions, *, resume: bool) -> tuple[Run, VQVAE]:
    """Train in a run folder, new or resumed, and draw what was learned."""
    images = load_images(options)
    facts = facts_of(images)
    task = VQVAETask(options, images, facts)  # before the folder: it checks the options
    if resume:
        _, run = open_vqvae(out)
        if run.facts["data_digest"] != facts["data_digest"]:
            raise RunError(
                f"{options.data} now holds other images than those that {out} was "
                "trained on; a resumed run would not be the same run"
            )
    else:
        run = create(out, "vqvae", dataclasses.asdict(options), facts)
    train(
        task,
        run,
        options.schedule(),
        draw=lambda step: draw_sample(run, task.model, images, step),
    )
    draw_results(run, task.model, images)
    return run, task.model


def _saved_options(out: Path, args: Sequence[str]) -> VQVAEOptions:
    """Parse again over the saved options, so that only what was typed differs."""
    saved, _ = open_vqvae(out)
    default = TrainVQVAE(out, saved)
    asked = parse(TrainVQVAE, args, "train vqvae", default).options
    for field in dataclasses.fields(saved):
        before, now = getattr(saved, field.name), getattr(asked, field.name)
        if before != now and field.name != "steps":
            raise ConfigError(
                f"{option(field.name)} {now} conflicts with the run in {out}, which "
                f"has {before}; with --resume only --steps may change"
            )
    return asked
