"""The command line: parse, call, print.

Exit status: 0 done; 1 a problem that the user can mend; 2 wrong usage; 130 stopped by
Ctrl-C, with the checkpoint written. `--json` output alone goes to standard output;
progress and messages go to standard error.
"""

import dataclasses
import json as jsonlib
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from tinyvq.errors import ConfigError, TinyvqError
from tinyvq.training.progress import compile_kernels, say
from tinyvq.training.vqvae import VQVAEOptions

SplitName = Literal["train", "val", "test"]


@dataclasses.dataclass(frozen=True)
class TrainVQVAE:
    """Train a VQ-VAE on images."""

    out: Path
    """The run folder to make, or with --resume to go on with."""
    options: tyro.conf.OmitArgPrefixes[VQVAEOptions] = dataclasses.field(
        default_factory=VQVAEOptions
    )
    resume: bool = False
    """Go on with the run in --out; its saved options win, only --steps may change."""


def train_vqvae(args: Sequence[str]) -> int:
    """Train a VQ-VAE on images."""
    from tinyvq.training.session import train_run

    asked = _parse(TrainVQVAE, args, "tinyvq train vqvae")
    options = asked.options
    if asked.resume:
        options = _resumed_options(asked.out, args)
    compile_kernels()
    train_run(asked.out, options, resume=asked.resume)
    return 0


def _resumed_options(out: Path, args: Sequence[str]) -> VQVAEOptions:
    """Parse again over the saved options, so that only what was typed differs."""
    from tinyvq.training.run import open_run

    saved = VQVAEOptions(**open_run(out).options)
    default = TrainVQVAE(out, saved, True)
    asked = _parse(TrainVQVAE, args, "tinyvq train vqvae", default).options
    for field in dataclasses.fields(saved):
        before, now = getattr(saved, field.name), getattr(asked, field.name)
        if before != now and field.name != "steps":
            option = "--" + field.name.replace("_", "-")
            raise ConfigError(
                f"{option} {now} conflicts with the run in {out}, which has {before}; "
                "with --resume only --steps may change"
            )
    return asked


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure a trained run on a split of its data, or on other images."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    data: str | None = None
    """Other images than those it was trained on."""
    split: SplitName = "test"
    """Which part of the data."""
    json: bool = False
    """Print one JSON object to standard output."""


def evaluate(args: Sequence[str]) -> int:
    """Measure a trained run."""
    from tinyvq.training.evaluation import evaluate as measure
    from tinyvq.training.session import open_model

    asked = _parse(Evaluate, args, "tinyvq evaluate")
    compile_kernels()
    model, images = open_model(asked.run, asked.data)
    found = measure(model, images.split(asked.split).images).as_dict()
    if asked.json:
        print(jsonlib.dumps(found))
    else:
        _print_table(found)
    return 0


@dataclasses.dataclass(frozen=True)
class Reconstruct:
    """Draw images above their reconstructions."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    out: Path
    """The picture to write, a .png."""
    data: str | None = None
    """Other images than those it was trained on."""
    split: SplitName = "test"
    """Which part of the data."""
    count: int = 20
    """How many images."""


def reconstruct(args: Sequence[str]) -> int:
    """Draw images above their reconstructions."""
    from tinyvq.report import draw_reconstructions
    from tinyvq.training.session import open_model

    asked = _parse(Reconstruct, args, "tinyvq reconstruct")
    if asked.count < 1:
        raise ConfigError(f"--count must be at least 1, got {asked.count}")
    compile_kernels()
    model, images = open_model(asked.run, asked.data)
    draw_reconstructions(
        model, images.split(asked.split).images[: asked.count], asked.out
    )
    say(f"wrote {asked.out}")
    return 0


@dataclasses.dataclass(frozen=True)
class Demo:
    """Train on the shipped images for a few minutes and show what was learned."""

    out: Path = Path("runs/demo")
    """The run folder to make."""


def demo(args: Sequence[str]) -> int:
    """Train on the shipped images and show what was learned."""
    from tinyvq.training.demo import run_demo

    asked = _parse(Demo, args, "tinyvq demo")
    compile_kernels()
    run_demo(asked.out)
    return 0


@dataclasses.dataclass(frozen=True)
class Gradcheck:
    """Check every gradient against finite differences."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ops, losses or quantizers; all by default."""
    seed: int = 0
    """Draws the shapes and values."""
    json: bool = False
    """Print one JSON object to standard output."""


def gradcheck(args: Sequence[str]) -> int:
    """Check every gradient against finite differences."""
    from tinyvq.testing.gradcheck import check_all

    asked = _parse(Gradcheck, args, "tinyvq gradcheck")
    compile_kernels()
    return check_all(asked.names, seed=asked.seed, json=asked.json)


def compile_command(args: Sequence[str]) -> int:
    """Compile the kernels for this machine, once."""
    from tinyvq_kernels import is_warm

    if is_warm():
        say("the kernels are compiled already")
    compile_kernels()
    return 0


Command = Callable[[Sequence[str]], int]
COMMANDS: dict[str, Command | dict[str, Command]] = {
    "demo": demo,
    "train": {"vqvae": train_vqvae},
    "evaluate": evaluate,
    "reconstruct": reconstruct,
    "gradcheck": gradcheck,
    "compile": compile_command,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(args)
    except TinyvqError as problem:
        say(f"error: {problem}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # `tinyvq ... | head`
        sys.stderr.close()
        return 128 + signal.SIGPIPE


def _dispatch(args: list[str]) -> int:
    commands: Any = COMMANDS
    path = ["tinyvq"]
    while isinstance(commands, dict):
        word = args.pop(0) if args else "--help"
        if word not in commands:
            return _usage(path, commands, word)
        path.append(word)
        commands = commands[word]
    from tinyvq.training.loop import Stopped

    try:
        return int(commands(args))
    except Stopped as stopped:
        say(f"stopped at step {stopped.step}, checkpoint written; --resume goes on")
        return 128 + stopped.signal_number


def _usage(path: list[str], commands: dict[str, Any], word: str) -> int:
    """Print the commands; status 0 where they were asked for, else 2."""
    lines = [f"usage: {' '.join(path)} COMMAND ...", ""]
    for name, command in commands.items():
        what = (
            f"{name} {'|'.join(command)}"
            if isinstance(command, dict)
            else f"{name:<12} {(command.__doc__ or '').splitlines()[0]}"
        )
        lines.append(f"  {what}")
    if word in ("-h", "--help"):
        print("\n".join(lines))
        return 0
    say("\n".join([f"error: no command {word!r}", *lines]))
    return 2


def _parse(kind: Any, args: Sequence[str], prog: str, default: Any = None) -> Any:
    more = {} if default is None else {"default": default}
    return tyro.cli(
        kind, args=list(args), prog=prog, config=(tyro.conf.FlagCreatePairsOff,), **more
    )


def _print_table(figures: dict[str, float | int]) -> None:
    for name, value in figures.items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{name:<14} {shown}")
