"""`tinyvq profile ...`: where the time of a training step goes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tinyvq import report
from tinyvq.cli._parse import check_picture, parse
from tinyvq.data import ImageData
from tinyvq.data import Split as Images
from tinyvq.errors import ConfigError, FileError
from tinyvq.files import write_atomically
from tinyvq.messages import say
from tinyvq.models import QuantizerName
from tinyvq.profiling import Cost, Machine, OpCost, Profile, measure_machine, profile
from tinyvq.rng import Stream
from tinyvq.training.loop import Task
from tinyvq.training.options import option
from tinyvq.training.progress import compile_kernels
from tinyvq.training.tokenizer import TokenizerOptions, facts_of, load_images
from tinyvq.training.vqgan import VQGANOptions, VQGANTask
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

WARMUP = 3  # steps: the first places the codebook by k-means
SIZE, CHANNELS = 32, 3  # of random images

# Both sides of a VQ-GAN at work, with their full weight, from the first step on.
BOTH_SIDES: dict[str, Any] = {
    "adversarial_start": 1,
    "adversarial_ramp": 0,
    "head_start": 0,
}
PASSED_ON = (
    *("hidden", "num_codes", "code_dim", "quantizer"),
    *("batch_size", "image_size", "channels", "seed"),
)


@dataclass(frozen=True)
class ProfileOptions:
    """Show where the time of a training step goes, op by op, on this machine."""

    model: Literal["conv", "dense", "small", "f16"] | None = None
    """The network; by default what is trained (vqvae: conv; vqgan: small)."""
    hidden: int | None = None
    """Channels of the hidden layers; by default the model's."""
    num_codes: int | None = None
    """Codes in the codebook; by default the model's."""
    code_dim: int | None = None
    """Width of a code; by default the model's."""
    quantizer: QuantizerName = "ema"
    """How codes are chosen and learned."""
    batch_size: int = 32
    """Images a step."""
    data: str | None = None
    """Images as for train; random ones by default, which take as long."""
    image_size: int | None = None
    """Pixels a side; by default 32, or with --data what the images have."""
    channels: Literal[1, 3] | None = None
    """Grey (1) or colour (3); by default 3, or with --data what the images have."""
    steps: int = 10
    """Steps that are measured, after three others."""
    seed: int = 0
    """Fixes weights, random images and data order."""
    out: Path | None = None
    """A roofline picture to write, a PNG."""
    json: bool = False
    """Print one JSON object to standard output."""

    SIZES: ClassVar[tuple[str, ...]] = (
        *("hidden", "num_codes", "code_dim", "batch_size", "image_size", "steps"),
    )

    def __post_init__(self) -> None:
        check_picture(self.out)
        for name in self.SIZES:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{option(name)} must be at least 1, got {value}")


def profile_kind(kind: str, args: Sequence[str]) -> int:
    """Profile the training step of a kind, from the words of the command line."""
    asked = parse(ProfileOptions, args, f"profile {kind}")
    if asked.out is not None and not asked.out.absolute().parent.is_dir():
        raise FileError(f"cannot write {asked.out}: there is no such folder")
    task, options, shape = _task(kind, asked)
    compile_kernels()
    say("measuring what this machine can do at most")
    machine = measure_machine()
    say(f"running {WARMUP} steps to warm up, {asked.steps} to measure")
    with np.errstate(all="ignore"):  # as in training: the step itself checks
        found = profile(task.step, steps=asked.steps, warmup=WARMUP)
    height, width, channels = shape
    what = (
        f"{kind} {options.model}, one step on {options.batch_size} images "
        f"{height}×{width}×{channels}"
    )
    if asked.json:
        ran = {
            **{"kind": kind, "model": options.model, "quantizer": options.quantizer},
            **{"batch_size": options.batch_size, "image_shape": shape},
        }
        print(json.dumps(_as_json(found, machine, ran)))
    else:
        print("\n".join(_as_table(found, machine, what)))
    if asked.out is not None:
        write_atomically(asked.out, report.roofline_picture(found, machine, what))
        say(f"wrote {asked.out}")
    return 0


def _task(kind: str, asked: ProfileOptions) -> tuple[Task, TokenizerOptions, list[int]]:
    """Make what is to be trained, its options, and the shape of an image."""
    given: dict[str, Any] = {name: getattr(asked, name) for name in PASSED_ON}
    for name in ("model", "data"):  # which have defaults of their own
        if getattr(asked, name) is not None:
            given[name] = getattr(asked, name)
    options = (
        VQGANOptions(**given, **BOTH_SIDES)
        if kind == "vqgan"
        else VQVAEOptions(**given)
    )
    images = load_images(options) if asked.data is not None else _random_images(asked)
    facts = facts_of(images)
    task: Task
    if isinstance(options, VQGANOptions):
        task = VQGANTask(options, images, facts)
    else:
        task = VQVAETask(options, images, facts)
    return task, options, facts["image_shape"]


def _random_images(asked: ProfileOptions) -> ImageData:
    """Draw noise: a batch to train on, and one image besides."""
    size, channels = asked.image_size or SIZE, asked.channels or CHANNELS
    shape = (asked.batch_size + 1, size, size, channels)
    pixels = Stream(asked.seed, "profile").integers(256, shape).astype(np.uint8)
    splits = {"train": Images(pixels[:-1]), "val": Images(pixels[-1:])}
    return ImageData("random images", splits)


COLUMNS = (
    f"{'calls':>7} {'forward':>8} {'backward':>8} {'share':>6} {'MFLOP':>9} "
    f"{'MB read':>8} {'written':>8} {'GFLOP/s':>8} {'of roof':>7}"
)


def _as_table(found: Profile, machine: Machine, what: str) -> list[str]:
    """Write the table: a line per op, then what is outside ops, and the memory."""
    wide = max(20, *(len(name) for name in found.ops))
    lines = [
        f"{what}: the mean of {found.steps}",
        f"{machine.name}, {_threads(machine)}: at most "
        f"{machine.flops / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s",
        "",
        f"{'op':<{wide}} {COLUMNS}",
    ]
    lines += [
        f"{name:<{wide}} {_row(op, found, machine)}" for name, op in found.ops.items()
    ]
    outside = {
        **{name: cost.seconds for name, cost in found.kernels.items()},
        "the rest": found.rest,
    }
    lines += ["", _time("the step, ms", found.seconds, found, wide)]
    lines += [_time("  in ops", found.in_ops, found, wide)]
    lines += [_time("  outside ops", found.outside, found, wide)]
    lines += [_time(f"    {name}", s, found, wide) for name, s in outside.items()]
    lines[-1] += "   Python, batches, sums of gradients, checks"
    memory = f"{found.peak_memory / 1e6:.1f}"
    lines += [f"{'peak memory, MB':<{wide}} {memory:>25}   of arrays, in one step"]
    return lines


def _threads(machine: Machine) -> str:
    return "1 thread" if machine.threads == 1 else f"{machine.threads} threads"


def _time(name: str, seconds: float, found: Profile, wide: int) -> str:
    share = f"{100 * seconds / found.seconds:.1f}%"
    return f"{name:<{wide}} {1e3 * seconds:>25.2f} {share:>6}"


def _row(op: OpCost, found: Profile, machine: Machine) -> str:
    """Write what an op costs; calls as forward/backward, times in milliseconds."""
    total = op.total
    calls = f"{op.forward.calls:g}/{op.backward.calls:g}"
    share = f"{100 * total.seconds / found.seconds:.1f}%"
    rate = total.flops / total.seconds / 1e9 if total.seconds else 0.0
    return (
        f"{calls:>7} {1e3 * op.forward.seconds:>8.2f} "
        f"{1e3 * op.backward.seconds:>8.2f} {share:>6} {total.flops / 1e6:>9.2f} "
        f"{total.read / 1e6:>8.2f} {total.written / 1e6:>8.2f} {rate:>8.2f} "
        f"{100 * machine.share(total):>6.1f}%"
    )


def _as_json(found: Profile, machine: Machine, ran: dict[str, Any]) -> dict[str, Any]:
    """Write all there is in plain units: seconds, FLOPs, bytes, each for one step."""

    def op(cost: OpCost) -> dict[str, Any]:
        total = cost.total
        rate = total.flops / total.seconds if total.seconds else 0.0
        return {
            "forward": asdict(cost.forward),
            "backward": asdict(cost.backward),
            "share_of_step": total.seconds / found.seconds,
            "flops_per_second": rate,
            "share_of_roof": machine.share(total),
        }

    def kernel(cost: Cost) -> dict[str, float]:
        return {"calls": cost.calls, "seconds": cost.seconds}

    return {
        "machine": asdict(machine),
        "ran": {**ran, "steps": found.steps},
        "seconds": found.seconds,
        "seconds_in_ops": found.in_ops,
        "seconds_outside_ops": found.outside,
        "peak_memory": found.peak_memory,
        "ops": {name: op(cost) for name, cost in found.ops.items()},
        "kernels_outside_ops": {n: kernel(c) for n, c in found.kernels.items()},
    }


profile_vqvae = partial(profile_kind, "vqvae")
profile_vqgan = partial(profile_kind, "vqgan")
