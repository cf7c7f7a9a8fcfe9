"""`tinyvq train ...`: one command a kind of run, all alike."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from tyro.conf import OmitArgPrefixes, arg

from tinyvq import report
from tinyvq.cli._parse import parse, peek
from tinyvq.data import ImageData
from tinyvq.errors import ConfigError, RunError
from tinyvq.messages import say
from tinyvq.training import prior as priors
from tinyvq.training import shipped
from tinyvq.training.gan import GANOptions, GANTask, NoiseOptions, NoiseTask
from tinyvq.training.loop import Task, train
from tinyvq.training.options import ImageOptions, RunOptions, option
from tinyvq.training.prior import PriorOptions, PriorTask
from tinyvq.training.progress import make_ready
from tinyvq.training.run import Run, check_new_run, create
from tinyvq.training.tokenizer import facts_of, load_images
from tinyvq.training.trained import (
    images_of,
    keep_tokenizer,
    open_kind,
    tokenizer_of_prior,
)
from tinyvq.training.vae import VAEOptions, VAETask
from tinyvq.training.vqgan import VQGANOptions, VQGANTask
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

MAY_CHANGE = (
    "steps",
    "cooldown",
    "backend",
    "tf32",
)  # of a run's options, when it is resumed

Options = TypeVar("Options", bound=RunOptions)


@dataclasses.dataclass(frozen=True)
class Train(Generic[Options]):
    """What `tinyvq train KIND` takes."""

    out: Path
    """The run folder to make, or with --resume to go on with."""
    options: Annotated[OmitArgPrefixes[Options], arg(name="training")]
    resume: bool = False
    """Go on with the run in --out: its saved options win, only --steps, --cooldown,
    --backend and --tf32 may change."""


@dataclasses.dataclass(frozen=True)
class Where:
    """What must be known of a run that is resumed before all else can be read."""

    out: Path
    """The run folder to go on with."""


@dataclasses.dataclass(frozen=True)
class TypedPriorOptions(PriorOptions):
    """What the user chooses of a prior."""

    tokenizer: Annotated[
        str, arg(metavar="RUN", help_behavior_hint="(required without --resume)")
    ] = ""
    """The run folder of the VQ-VAE or VQ-GAN whose codes it learns, or the name of one
    that comes with tinyvq."""
    cosine: Annotated[bool, arg(help_behavior_hint="(by default it falls)")] = True
    # What the help tells is of --no-cosine, the one flag of the two that it shows.
    """Keep the learning rate from falling to 0 along half a cosine."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A task that is ready to train, and what there is to do around it.

    facts     for config.json
    draw      draws a sample at a step
    finish    draws what was learned -> the pictures
    begin     what else a run needs before its first step
    """

    task: Task
    facts: dict[str, Any]
    draw: Callable[[Run, int], None]
    finish: Callable[[Run], list[Path]]
    begin: Callable[[Run], None] = lambda run: None


def _on_images(
    make: Callable[..., Any],
    draw: Callable[[Run, Any, ImageData, int], None],
    finish: Callable[[Run, Any, ImageData], list[Path]],
) -> Callable[[Any, Run | None], Job]:
    """Make the jobs of a kind that trains a model on images.

    make          (options, images, facts) -> the task
    draw, finish  of the run, the model, the images
    """

    def job(options: ImageOptions, run: Run | None) -> Job:
        images = load_images(options)
        facts = facts_of(images)
        task = make(options, images, facts)
        return Job(
            task,
            facts,
            lambda run, step: draw(run, task.model, images, step),
            lambda run: finish(run, task.model, images),
        )

    return job


def _prior_job(options: PriorOptions, run: Run | None) -> Job:
    tokenizer, its_options, original = tokenizer_of_prior(options, run)
    tokenizer.to(options.backend)
    images = images_of(its_options, original, options.data)
    codes = {
        name: priors.encode(tokenizer, images.split(name), f"{name} images")
        for name in ("train", "val")
    }
    facts = priors.facts_of(tokenizer, images, codes, options.labels == "use")
    task = PriorTask(options, codes, facts)
    return Job(
        task,
        facts,
        lambda run, step: report.draw_prior_sample(run, task.prior, tokenizer, step),
        lambda run: report.draw_prior_results(run, task.prior, tokenizer, images),
        begin=lambda run: keep_tokenizer(run, tokenizer, original),
    )


def _draw_made(run: Run, model: Any, images: ImageData, step: int) -> None:
    """Draw what a model makes of noise; it needs no images for that."""
    report.draw_noise_sample(run, model, step)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of run: what it takes, and how to make a job of it, new or resumed."""

    options: type[RunOptions]
    what: str
    job: Callable[[Any, Run | None], Job]


KINDS: dict[str, Kind] = {
    "vqvae": Kind(
        VQVAEOptions,
        "Train a VQ-VAE on images.",
        _on_images(VQVAETask, report.draw_sample, report.draw_results),
    ),
    "vqgan": Kind(
        VQGANOptions,
        "Train a VQ-GAN on images: a VQ-VAE with an adversary.",
        _on_images(VQGANTask, report.draw_sample, report.draw_results),
    ),
    "prior": Kind(
        TypedPriorOptions, "Train a prior over the codes of a tokenizer.", _prior_job
    ),
    "vae": Kind(
        VAEOptions,
        "Train a VAE on images: a normal distribution in place of the codes.",
        _on_images(VAETask, _draw_made, report.draw_vae_results),
    ),
    "gan": Kind(
        GANOptions,
        "Train a generator of images from noise.",
        _on_images(GANTask, _draw_made, report.draw_noise_results),
    ),
    "noise-vqgan": Kind(
        NoiseOptions,
        "Train a generator of images from noise, through a codebook.",
        _on_images(NoiseTask, _draw_made, report.draw_noise_results),
    ),
}


def train_kind(name: str, args: Sequence[str]) -> int:
    """Train a run of a kind, from the words of the command line."""
    kind = KINDS[name]
    shape = Train[kind.options]  # type: ignore[name-defined]
    if "--resume" in args and not {"-h", "--help"} & set(args):
        asked = _saved(name, shape, args)
    else:
        asked = parse(shape, args, f"train {name}", what=kind.what)
    if not asked.resume:
        check_new_run(asked.out)
    options = asked.options
    make_ready(options.backend, training=True)
    run, pictures = run_kind(name, asked.out, options, resume=asked.resume)
    say(f"done: {run.folder} ({', '.join(path.name for path in pictures)})")
    return 0


def run_kind(
    name: str, out: Path, options: RunOptions, *, resume: bool = False
) -> tuple[Run, list[Path]]:
    """Train in a run folder, new or resumed, and draw what was learned."""
    kind = KINDS[name]
    old = _open_to_resume(name, out)[1] if resume else None
    job = kind.job(options, old)  # before the folder: it checks the options
    if old is not None and old.facts["data_digest"] != job.facts["data_digest"]:
        raise RunError(
            f"the data now holds other images than those that {out} was trained on; a "
            "resumed run would not be the same run"
        )
    run = old or create(out, name, dataclasses.asdict(options), job.facts)
    job.begin(run)
    train(
        job.task,
        run,
        options.schedule(),
        draw=lambda step: job.draw(run, step),
        kernels=options.kernels(),
    )
    return run, job.finish(run)


def _open_to_resume(name: str, out: Path) -> tuple[RunOptions, Run]:
    """Open a run of a kind that training can go on with; RunError where it cannot."""
    shipped.check_there(out)
    saved, run = open_kind(out, {name: KINDS[name].options})
    if run.exported:
        raise RunError(
            f"{out} is an exported run: it holds weights alone and cannot be resumed"
        )
    return saved, run


def _saved(name: str, shape: Any, args: Sequence[str]) -> Any:
    """Parse over the saved options, so that only what was typed differs."""
    out = peek(Where, args, f"train {name}").out
    saved, run = _open_to_resume(name, out)
    with run.locked():  # before much else is done: it is told if another trains there
        asked = parse(shape, args, f"train {name}", shape(out, saved, resume=True))
    for field in dataclasses.fields(saved):
        before, now = getattr(saved, field.name), getattr(asked.options, field.name)
        if before != now and field.name not in MAY_CHANGE:
            raise ConfigError(
                f"{option(field.name)} {now} conflicts with the run in {out}, which "
                f"has {before}; with --resume only --steps, --cooldown, --backend and "
                "--tf32 may change"
            )
    return asked


train_vqvae = partial(train_kind, "vqvae")
train_vqgan = partial(train_kind, "vqgan")
train_prior = partial(train_kind, "prior")
train_vae = partial(train_kind, "vae")
train_gan = partial(train_kind, "gan")
train_noise_vqgan = partial(train_kind, "noise-vqgan")
