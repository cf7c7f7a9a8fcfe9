"""`tinyvq demo`: the whole way in a few minutes, on the shipped images.

Images -> a VQ-VAE that turns them into codes and back -> a prior over the codes -> a
grid of new images.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyvq.cli._inspect import print_figures
from tinyvq.cli._parse import parse
from tinyvq.cli._sample import sample
from tinyvq.cli._train import run_kind
from tinyvq.data import load
from tinyvq.errors import RunError
from tinyvq.messages import say
from tinyvq.report import write_page
from tinyvq.training.evaluation import evaluate
from tinyvq.training.prior import PriorOptions
from tinyvq.training.prior_evaluation import evaluate_prior
from tinyvq.training.progress import compile_kernels
from tinyvq.training.run import CONFIG
from tinyvq.training.trained import load_prior, load_tokenizer
from tinyvq.training.vqvae import VQVAEOptions

# What the demo must reach on the shipped test images, measured once and then frozen.
MOST_NMSE = 0.07
LEAST_CODES = 225
MOST_NATS = 2.6
TOKENIZER = VQVAEOptions(steps=1000, num_codes=256)
PRIOR = PriorOptions(steps=900, picture_every=300)
TOP_P = 0.85  # of the grid at the end; the pictures of the run leave nothing out


@dataclass(frozen=True)
class Demo:
    """Train on the shipped images and make new ones."""

    out: Path = Path("runs/demo")
    """The folder to make two runs in: tokenizer and prior."""
    resume: bool = False
    """Go on with a demo that was stopped."""


def demo(args: Sequence[str]) -> int:
    """Train on the shipped images, make new ones, check that it is enough."""
    asked = parse(Demo, args, "demo")
    out = asked.out
    tokenizer, prior = out / "tokenizer", out / "prior"
    begun = [folder for folder in (tokenizer, prior) if (folder / CONFIG).exists()]
    if begun and not asked.resume:
        raise RunError(
            f"{begun[0]} holds a run already; add --resume to go on with it, or choose "
            "another --out"
        )
    began = time.monotonic()
    compile_kernels()
    say(f"1. a VQ-VAE learns to turn images into codes and back: {tokenizer}")
    run_kind("vqvae", tokenizer, TOKENIZER, resume=tokenizer in begun)
    short = _measure_tokenizer(tokenizer)
    say(f"2. a transformer learns which codes follow which: {prior}")
    options = replace(PRIOR, tokenizer=str(tokenizer))
    run, pictures = run_kind("prior", prior, options, resume=prior in begun)
    short += _measure_prior(prior)
    new = out / "new.png"
    sample([str(prior), "--top-p", str(TOP_P), "--out", str(new)])
    say(f"done in {time.monotonic() - began:.0f} s; look at what it learned:")
    pages = [write_page(run), write_page(load_tokenizer(tokenizer)[2])]
    for path in (new, *pictures, tokenizer / "reconstructions.png", *pages):
        say(f"  {path}")
    if short:
        raise RunError(f"the demo fell short: {'; '.join(short)}")
    return 0


def _measure_tokenizer(folder: Path) -> list[str]:
    """Measure it on test images; return what falls short of the promise."""
    model, options, _ = load_tokenizer(folder)
    found = evaluate(model, load(options.data).split("test").images)
    say("on test images never seen:")
    print_figures(found.as_dict())
    if found.nmse <= MOST_NMSE and found.codes_used >= LEAST_CODES:
        return []
    return [
        f"nmse {found.nmse:.3f} and {found.codes_used} codes used, expected at most "
        f"{MOST_NMSE} and at least {LEAST_CODES}"
    ]


def _measure_prior(folder: Path) -> list[str]:
    """Measure it on test images; return what falls short of the promise."""
    trained = load_prior(folder)
    found = evaluate_prior(trained, trained.images(), "test")
    say("on test images never seen:")
    print_figures({**found.as_dict()})
    by_counting = min(found.left_above_nats, found.position_histogram_nats)
    if found.nats_per_token <= min(MOST_NATS, by_counting):
        return []
    return [
        f"{found.nats_per_token:.3f} nats per token, expected at most {MOST_NATS} and "
        f"less than counting has, {by_counting:.3f}"
    ]
