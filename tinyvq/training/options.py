"""What the user chooses for any run; the command line and config.json are made of it.

Each kind of run has a dataclass of its own that adds to `RunOptions`.
"""

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from tinyvq_kernels import kernels

from tinyvq.backends import Backend
from tinyvq.errors import ConfigError
from tinyvq.optim import warmup_cosine
from tinyvq.training.loop import Schedule

LARGEST = 2**31 - 1  # whole number of an option
TF32_KERNELS = dict.fromkeys(
    ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"), "tensor_cores"
)


@dataclass(frozen=True)
class RunOptions:
    """What every run has: how long, how fast, and when it logs, looks and saves."""

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
    cooldown: int = 0
    """Steps at the end over which the learning rate falls to 0, along a line. A run
    that has ended can have them, too: --resume it with more --steps."""
    seed: int = 0
    """Fixes weights, data order and all that is drawn."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    validate_every: int = 250
    """Steps between looks at the validation split."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    picture_every: int = 250
    """Steps between sample pictures."""
    backend: Backend = "cpu"
    """Where to compute: cpu, or cuda, an NVIDIA GPU. Checkpoints suit both."""
    tf32: bool = False
    """On a GPU, let convolutions round the factors of products to 11 significant bits:
    tensor cores multiply them several times as fast."""

    reference: bool = False
    """In training steps, run each kernel's reference.py, its definition in plain NumPy,
    in place of the fast one: slow, to be changed and watched."""

    # The names of options that must be at least so much, if they are given at all.
    LEAST: ClassVar[dict[str, float]] = {
        **dict.fromkeys(("steps", "batch_size"), 1),
        **dict.fromkeys(
            ("log_every", "validate_every", "checkpoint_every", "picture_every"), 1
        ),
        **dict.fromkeys(("warmup", "cooldown"), 0),
    }

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = self.LEAST.get(field.name)
            if least is not None and value is not None and value < least:
                raise ConfigError(
                    f"{option(field.name)} must be at least {least}, got {value}"
                )
            if isinstance(value, int) and value > LARGEST:
                raise ConfigError(
                    f"{option(field.name)} must be at most {LARGEST}, got {value}"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{option(field.name)} must be finite, got {value}")
            if field.name.endswith("lr") and value <= 0:
                raise ConfigError(f"{option(field.name)} must be above 0, got {value}")

        if self.cosine and self.cooldown:
            raise ConfigError(
                "--cooldown needs --no-cosine: a cosine ends at 0 by itself"
            )
        if self.tf32 and self.backend != "cuda":
            raise ConfigError(
                "--tf32 is for a GPU: it needs --backend cuda; a run that has it is "
                "resumed elsewhere by --no-tf32"
            )
        if self.tf32 and self.reference:
            raise ConfigError(
                "--reference and --tf32 name different kernels: one of them"
            )

    def kernels(self) -> dict[str, str]:
        """Name the kernels that training steps run in the place of the default ones."""
        if self.reference:
            return {
                kernel.op: kernel.variant
                for kernel in kernels()
                if (kernel.variant, kernel.backend) == ("reference", self.backend)
            }
        return TF32_KERNELS if self.tf32 else {}

    def schedule(self) -> Schedule:
        """When the loop does what."""
        return Schedule(
            self.steps,
            self.log_every,
            self.validate_every,
            self.checkpoint_every,
            self.picture_every,
        )

    def rate(self, step: int, lr: float) -> float:
        """Compute a learning rate at a step, `lr` being its full value."""
        total = self.steps if self.cosine else None
        left = (self.steps + 1 - step) / (self.cooldown + 1)
        return warmup_cosine(step, lr, warmup=self.warmup, total=total) * min(1.0, left)


@dataclass(frozen=True)
class ImageOptions(RunOptions):
    """What a run on images has beside: which images, and in what format."""

    data: str = "fashion-mnist-5k"
    """A built-in name, an idx file or folder, an .npz, or a folder of images."""
    image_size: int | None = None
    """Resize and crop images to this many pixels per side; the network's strides must
    divide it."""
    channels: Literal[1, 3] | None = None
    """Grey (1) or colour (3); by default what the images have."""

    LEAST: ClassVar[dict[str, float]] = {**RunOptions.LEAST, "image_size": 1}


def option(field: str) -> str:
    """Write the name of a field as it is typed: code_dim -> --code-dim."""
    return "--" + field.replace("_", "-")
