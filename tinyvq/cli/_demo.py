"""`tinyvq demo`: the main job, in a few minutes, on the shipped images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyvq.cli._inspect import print_figures
from tinyvq.cli._parse import parse
from tinyvq.cli._train import run_vqvae
from tinyvq.data import load
from tinyvq.errors import RunError
from tinyvq.messages import say
from tinyvq.training.evaluation import evaluate
from tinyvq.training.progress import compile_kernels
from tinyvq.training.vqvae import VQVAEOptions

# What the demo must reach on the shipped test images, measured once and then frozen.
MOST_NMSE = 0.06
LEAST_CODES = 450
OPTIONS = VQVAEOptions(steps=1000)


@dataclass(frozen=True)
class Demo:
    """Train a VQ-VAE on the shipped images and show what it learned."""

    out: Path = Path("runs/demo")
    """The run folder to make."""


def demo(args: Sequence[str]) -> int:
    """Train on the shipped images, show what was learned, check that it is enough."""
    out = parse(Demo, args, "demo").out
    if (out / "config.json").exists():
        raise RunError(f"{out} holds a run already; remove it or choose another --out")
    began = time.monotonic()
    compile_kernels()
    run, model = run_vqvae(out, OPTIONS, resume=False)
    found = evaluate(model, load(OPTIONS.data).split("test").images)
    say(f"trained in {time.monotonic() - began:.0f} s; on test images never seen:")
    print_figures(found.as_dict())
    say("look at what it learned:")
    for name in ("reconstructions.png", "curve.png", "codebook.png"):
        say(f"  {run.folder / name}")
    if found.nmse > MOST_NMSE or found.codes_used < LEAST_CODES:
        raise RunError(
            f"the demo fell short: nmse {found.nmse:.3f} and {found.codes_used} codes "
            f"used, expected at most {MOST_NMSE} and at least {LEAST_CODES}"
        )
    return 0
