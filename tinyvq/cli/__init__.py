"""The command line: parse, call, print.

Exit status: 0 done; 1 a problem that the user can mend; 2 wrong usage; 130 stopped by
Ctrl-C, with the checkpoint written. `--json` output alone goes to standard output;
progress and messages go to standard error.
"""

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tinyvq_kernels import CudaUnavailable

from tinyvq.errors import TinyvqError
from tinyvq.messages import no_such, say
from tinyvq.training.loop import Stopped

# Each command: where its function is, and what it does. Loaded when it is called, so
# that each starts as fast as it can.
COMMANDS: dict[str, Any] = {
    "demo": ("_demo:demo", "train on the shipped images, show what was learned"),
    "train": {
        "vqvae": ("_train:train_vqvae", "train a VQ-VAE"),
        "vqgan": ("_train:train_vqgan", "train a VQ-GAN"),
        "prior": ("_train:train_prior", "train a prior over a tokenizer's codes"),
        "vae": ("_train:train_vae", "train a VAE, which has no codes"),
        "gan": ("_train:train_gan", "train a generator from noise"),
        "noise-vqgan": (
            "_train:train_noise_vqgan",
            "train a generator from noise, through a codebook",
        ),
    },
    "sample": ("_sample:sample", "make new images"),
    "complete": ("_given:complete", "keep the upper half of images, draw the rest"),
    "interpolate": ("_given:interpolate", "go from one image to another by codes"),
    "augment": ("_sample:augment", "write new images, class by class"),
    "evaluate": ("_inspect:evaluate", "measure a run on a split"),
    "reconstruct": ("_inspect:reconstruct", "draw images above reconstructions"),
    "report": ("_report:report", "write a run's curves and pictures as one page"),
    "encode": ("_codes:encode", "turn images into codes"),
    "decode": ("_codes:decode", "turn codes back into pictures"),
    "export": ("_export:export", "write a run to give away, its weights alone"),
    "data": {
        "list": ("_data:list_sets", "the image sets known by name"),
        "fetch": ("_data:fetch", "download or build one of them"),
    },
    "gradcheck": ("_check:gradcheck", "prove every gradient"),
    "profile": {
        "vqvae": ("_profile:profile_vqvae", "time a VQ-VAE's step, op by op"),
        "vqgan": ("_profile:profile_vqgan", "time a VQ-GAN's step, op by op"),
    },
    "emulate": ("_emulate:emulate", "run CUDA kernels on the CPU, and watch them"),
    "bench": ("_bench:bench", "time the kernels against their peers (in a checkout)"),
    "compile": ("_check:compile_now", "compile the kernels for this machine, once"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except Stopped as stopped:
        say(
            f"stopped at step {stopped.step}, checkpoint written; the same command "
            "with --resume goes on"
        )
        return 128 + stopped.signal_number
    except (TinyvqError, CudaUnavailable) as problem:
        say(f"error: {problem}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # `tinyvq ... | head`
        sys.stdout = None  # or Python would flush it again
        return 128 + signal.SIGPIPE
    except OSError as problem:  # a name too long, no permission, a disk that fails
        place = f": {problem.filename}" if problem.filename else ""
        say(f"error: {problem.strerror or problem}{place}")
        return 1
    except MemoryError as problem:
        say(f"error: not enough memory. {problem}".rstrip())
        return 1


def _dispatch(args: list[str]) -> int:
    commands = COMMANDS
    path = ["tinyvq"]
    while True:
        word = args.pop(0) if args else "--help"
        if word not in commands:
            return _usage(path, commands, word)
        path.append(word)
        found = commands[word]
        if isinstance(found, tuple):
            break
        commands = found
    module, function = found[0].split(":")
    return int(getattr(import_module(f"tinyvq.cli.{module}"), function)(args))


def _usage(path: list[str], commands: dict[str, Any], word: str) -> int:
    """Print the commands, status 0; of an unknown word, what may be meant, status 2."""
    if word not in ("-h", "--help"):
        told = f"`{' '.join(path)} --help` lists them"
        say(f"error: {no_such('command', word, commands, told)}")
        return 2
    lines = [f"usage: {' '.join(path)} COMMAND ...   (COMMAND --help tells more)", ""]
    for name, found in commands.items():
        if isinstance(found, tuple):
            lines.append(f"  {name:<20} {found[1]}")
        else:
            lines += [f"  {f'{name} {n}':<20} {what}" for n, (_, what) in found.items()]
    print("\n".join(lines))
    return 0
