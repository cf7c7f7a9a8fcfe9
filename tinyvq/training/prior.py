"""Train a prior over a tokenizer's codes: its options, and one step of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tinyvq import ops
from tinyvq.data import ImageData, Split, batch_indices
from tinyvq.errors import ConfigError
from tinyvq.function import Array
from tinyvq.messages import say, track
from tinyvq.models import VQVAE, PixelCNN, Prior, TransformerPrior
from tinyvq.nn import evaluating
from tinyvq.optim import AdamW, clip_grad_norm
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad
from tinyvq.training.evaluation import BATCH, encoded
from tinyvq.training.guard import GuardedBackward, in_double
from tinyvq.training.measures import Measures
from tinyvq.training.options import RunOptions
from tinyvq.training.prior_classes import nats_by_class
from tinyvq.training.state import Parted, Stateful

Codes = npt.NDArray[np.int64]

MOST_NAMED = 10  # of the classes without a training image


@dataclass(frozen=True)
class PriorOptions(RunOptions):
    """What the user chooses of a prior."""

    tokenizer: str = ""
    """The run folder of the VQ-VAE or VQ-GAN whose codes it learns, or the name of one
    that comes with tinyvq."""
    data: str | None = None
    """Other images than those that the tokenizer was trained on."""
    prior: Literal["transformer", "pixelcnn"] = "transformer"
    """The network."""
    labels: Literal["use", "ignore"] = "use"
    """Whether it learns each class by itself, where the images have labels."""
    width: int = 128
    """Channels of its layers."""
    layers: int = 4
    """How many of them."""
    heads: int = 4
    """Of the transformer's attention."""
    dropout: float = 0.1
    """Share of values that training drops."""
    weight_decay: float = 0.01
    """Of AdamW."""
    clip: float = 1.0
    """Longest gradient that a step follows; longer ones are cut."""
    batch_size: int = 64
    """Images a step."""
    lr: float = 1e-3
    """Learning rate of AdamW."""
    warmup: int = 100
    """Steps over which the learning rate grows to its value."""
    cosine: bool = True
    """Let the learning rate fall to 0 along half a cosine."""

    LEAST: ClassVar[dict[str, float]] = {
        **RunOptions.LEAST,
        **dict.fromkeys(("width", "layers", "heads"), 1),
        **dict.fromkeys(("dropout", "weight_decay"), 0),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip <= 0:
            raise ConfigError(f"--clip must be above 0, got {self.clip}")


@dataclass(frozen=True)
class CodedSplit:
    """The codes (N,P,Q) of a split's images, and their labels (N,) if there are any."""

    codes: Codes
    labels: Codes | None

    def __len__(self) -> int:
        return len(self.codes)


def encode(model: VQVAE, split: Split, what: str) -> CodedSplit:
    """Turn the images of a split into codes."""
    batches = -(-len(split) // BATCH)
    found = track(encoded(model, split.images), f"encoding {what}", batches)
    return CodedSplit(np.concatenate(list(found)), split.labels)


def facts_of(
    model: VQVAE, images: ImageData, codes: Mapping[str, CodedSplit], labels: bool
) -> dict[str, Any]:
    """Find out what the run needs to know of its codes, for config.json.

    The digest is of the images, not of their codes: rounding differs between a CPU and
    a GPU, so that now and then a vector that lies midway falls to the other code.
    """
    train = codes["train"]
    known = labels and train.labels is not None
    num_classes = _classes(images) if known else 0
    if known and train.labels is not None:
        _tell_unseen(train.labels, num_classes, images.class_names)
    return {
        "data_source": images.source,
        "data_digest": images.digest(labels),
        "tokenizer": model.fingerprint(),
        "image_shape": list(images.image_shape),
        "images": {name: len(split) for name, split in images.splits.items()},
        "num_codes": model.quantizer.num_codes,
        "grid": list(train.codes.shape[1:]),
        "num_classes": num_classes,
        "class_names": list(images.class_names) if known else [],
    }


def _classes(images: ImageData) -> int:
    """Count the classes: the largest label of any split, and one."""
    labels = [s.labels for s in images.splits.values() if s.labels is not None]
    return 1 + max(int(found.max()) for found in labels if len(found))


def _tell_unseen(labels: Codes, count: int, names: Sequence[str]) -> None:
    """Say which of the classes no training image has, of labels (N,)."""
    unseen = np.flatnonzero(np.bincount(labels, minlength=count) == 0).tolist()
    if unseen:
        shown = [names[i] if i < len(names) else str(i) for i in unseen[:MOST_NAMED]]
        say(
            f"{len(unseen)} of {count} classes have no training image, and what is "
            f"drawn of them means nothing: {', '.join(shown)}"
            f"{', ...' if unseen[MOST_NAMED:] else ''}"
        )


def build_prior(options: PriorOptions, facts: Mapping[str, Any]) -> Prior:
    """Build the prior that a run's options and facts describe."""
    p, q = facts["grid"]
    shared: dict[str, Any] = {
        "num_classes": facts["num_classes"],
        "layers": options.layers,
        "dropout": options.dropout,
        "rng": Stream(options.seed, "prior"),
    }
    if options.prior == "pixelcnn":
        return PixelCNN(facts["num_codes"], (p, q), hidden=options.width, **shared)
    return TransformerPrior(
        facts["num_codes"],
        (p, q),
        width=options.width,
        heads=options.heads,
        **shared,
    )


class PriorTask(Parted):
    """One step after another of a prior; see `loop.Task`."""

    def __init__(
        self,
        options: PriorOptions,
        codes: Mapping[str, CodedSplit],
        facts: Mapping[str, Any],
    ) -> None:
        if options.batch_size > len(codes["train"]):
            raise ConfigError(
                f"--batch-size {options.batch_size} is more than the "
                f"{len(codes['train'])} training images"
            )
        self.options = options
        self.batch_size = options.batch_size
        self.codes = codes
        self.prior = build_prior(options, facts).to(options.backend)
        self.optimizer = AdamW(
            self.prior.parameters(),
            options.lr,
            betas=(0.9, 0.95),
            weight_decay=options.weight_decay,
        )

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        return {"prior": self.prior, "adam": self.optimizer}

    def step(self, step: int) -> Measures:
        """Do one step: each code predicted from those before it."""
        options, train = self.options, self.codes["train"]
        chosen = batch_indices(len(train), options.batch_size, step, options.seed)
        self.optimizer.lr = options.rate(step, options.lr)

        def differentiate() -> tuple[Array, None]:
            loss = _loss(self.prior, train, chosen)
            loss.backward()
            return in_double(loss), None

        # Not captured: the codes, and the masks of dropout, come from the host.
        backward = GuardedBackward(differentiate, self.prior, captured=False)
        nats, norm, _ = backward()
        clip_grad_norm(self.prior.parameters(), options.clip, norm)
        self.optimizer.step()
        return Measures(
            loss=nats, nats_per_token=nats, gradient_norm=norm, lr=self.optimizer.lr
        )

    def nats(self, split: CodedSplit) -> float:
        """Mean negative log likelihood of a split's codes, in nats per token."""
        return nats_per_token(self.prior, split)

    def validate(self) -> dict[str, float]:
        """Measure the prior on the validation split."""
        return {"val_nats_per_token": self.nats(self.codes["val"])}


def _loss(prior: Prior, split: CodedSplit, chosen: Codes | slice) -> Tensor:
    """Mean negative log likelihood of some images' codes, in nats per token."""
    codes = split.codes[chosen]  # (N,P,Q)
    labels = None
    if prior.num_classes and split.labels is not None:
        labels = split.labels[chosen]
    return ops.cross_entropy(prior(codes, labels), codes.reshape(len(codes), -1))


def nats_per_token(prior: Prior, split: CodedSplit) -> float:
    """Mean negative log likelihood of a split's codes, in nats per token.

    Of codes without labels, to a prior that knows K classes: all are as likely, and an
    image's likelihood is the mean over classes, p(codes) = Σ p(codes | class) / K.
    """
    if prior.num_classes and split.labels is None:
        nats = nats_by_class(prior, split.codes)  # (N,K)
        of_images = math.log(prior.num_classes) - np.logaddexp.reduce(-nats, axis=1)
        return float(of_images.mean()) / math.prod(split.codes.shape[1:])
    total = 0.0
    with evaluating(prior), no_grad():
        for first in range(0, len(split), BATCH):
            part = slice(first, first + BATCH)
            total += _loss(prior, split, part).item() * len(split.codes[part])
    return total / len(split)
