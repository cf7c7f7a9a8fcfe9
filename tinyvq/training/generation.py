"""New images: from a prior's codes, from given halves, between two, from noise."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyvq.backends import on_host
from tinyvq.data import from_unit, to_unit
from tinyvq.errors import ConfigError
from tinyvq.models import VAE, VQVAE, Generator, Prior, sample_codes
from tinyvq.nn import evaluating
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad
from tinyvq.training.batches import batch_on
from tinyvq.training.evaluation import BATCH
from tinyvq.training.prior_classes import drawn_classes

Images = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
COMPARED = 2**24  # pixels of others that are float32 at once: 64 MiB
Progress = Callable[[int, int], None]  # how many codes are done, of how many


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are drawn from a prior."""

    seed: int = 0
    """Fixes what is drawn: image by image, whatever their number."""
    temperature: float = 1.0
    """Below 1 the likely codes become likelier; 0 takes the likeliest."""
    top_k: int | None = None
    """Draw from the so many likeliest codes alone."""
    top_p: float | None = None
    """Draw from the likeliest codes that together have this probability alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(
                f"--temperature must be at least 0 and finite, got {self.temperature}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"--top-k must be at least 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(
                f"--top-p must be above 0 and at most 1, got {self.top_p}"
            )


def draw_codes(
    prior: Prior,
    labels: Codes | None,
    count: int,
    how: SamplingOptions,
    given: Codes | None = None,
    rows: int = 0,
    on_progress: Progress | None = None,
) -> Codes:
    """Draw codes (count,P,Q), of the labels (count,) if the prior knows classes.

    given   (count,P,Q), of which the first `rows` rows are kept as they are
    """
    return sample_codes(
        prior,
        count,
        labels,
        seed=how.seed,
        temperature=how.temperature,
        top_k=how.top_k,
        top_p=how.top_p,
        given=given,
        given_positions=rows * prior.grid[1],
        on_progress=on_progress,
    )


def decode(tokenizer: VQVAE, codes: Codes) -> Images:
    """Turn codes (N,P,Q) into images (N,H,W,C)."""
    return np.concatenate(list(decoded(tokenizer, codes)))


def decoded(tokenizer: VQVAE, codes: Codes) -> Iterator[Images]:
    """Turn codes (N,P,Q) into images (n,H,W,C), batch by batch."""
    for first in range(0, len(codes), BATCH):
        yield from_unit(tokenizer.decode(codes[first : first + BATCH]).numpy())


def complete(
    prior: Prior,
    tokenizer: VQVAE,
    images: Images,
    labels: Codes | None,
    share: float,
    how: SamplingOptions,
    on_progress: Progress | None = None,
) -> Images:
    """Keep the upper part of images (N,H,W,C), draw the rest.

    labels  (N,) if the prior knows classes; None: see `drawn_classes`
    share   of the rows of codes that is kept, rounded; a code sees a little of what is
            below it, for the encoder's pixels overlap
    """
    given = tokenizer.encode(batch_on(tokenizer.backend, images))  # (N,P,Q)
    rows = _rows_of(share, given.shape[1])
    if labels is None and prior.num_classes:
        first = rows * given.shape[2]
        labels = drawn_classes(prior, given, first, how.seed, how.temperature)
    drawn = draw_codes(prior, labels, len(images), how, given, rows, on_progress)
    return decode(tokenizer, drawn)


def upper_part(images: Images, share: float, code_rows: int) -> Images:
    """Leave of images (N,H,W,C) what `complete` keeps of them, paint the rest grey.

    code_rows  of an image
    """
    left = images.copy()
    left[:, _rows_of(share, code_rows) * images.shape[1] // code_rows :] = 128
    return left


def _rows_of(share: float, rows: int) -> int:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share that is kept must be in 0 .. 1, got {share}")
    return round(share * rows)


def interpolate(model: VQVAE | VAE, ends: Images, steps: int) -> Images:
    """Go from one image to another, (2,H,W,C), in even steps -> (steps,H,W,C).

    A VQ-VAE goes through codes. At each position the vectors of the two codes are
    mixed, and the mixture is replaced by the code nearest to it: all on the way are
    images that codes can make. A VAE goes straight from mean to mean.
    """
    if steps < 2:
        raise ConfigError(f"an interpolation has at least 2 images, got {steps}")
    if isinstance(model, VQVAE):
        return decode(model, _codes_between(model, ends, steps))
    with no_grad():
        means, _ = model.encode(batch_on(model.backend, ends))
    first, last = means.numpy()  # (Z,) each
    return _generated(model, _mixed(first, last, steps))


def _codes_between(tokenizer: VQVAE, ends: Images, steps: int) -> Codes:
    """Find the codes (steps,P,Q) on the way from one image to another, (2,H,W,C)."""
    with no_grad():
        codes = tokenizer.encode(batch_on(tokenizer.backend, ends))  # (2,P,Q)
        first, last = tokenizer.quantizer.lookup(codes).numpy()  # (P,Q,D) each
        vectors = Tensor.wrap(_mixed(first, last, steps)).to(tokenizer.backend)
        between = on_host(tokenizer.quantizer(vectors).indices)  # (steps,P,Q)
    between[0], between[-1] = codes  # a code may have a twin
    return between


def _mixed(first: Floats, last: Floats, steps: int) -> Floats:
    """Go from one array (...) to another in even steps -> (steps,...)."""
    share = np.linspace(0, 1, steps, dtype=first.dtype)
    share = share.reshape(steps, *(1 for _ in first.shape))
    mixed: Floats = (1 - share) * first + share * last
    return mixed


def from_noise(model: Generator, count: int, seed: int) -> Images:
    """Make images (count,H,W,C) from noise; image i is the same for any count."""
    noise = [model.noise(1, Stream(seed, "noise", i)).array for i in range(count)]
    return _generated(model, np.concatenate(noise))


def _generated(model: Generator, noise: Floats) -> Images:
    """Make images (N,H,W,C) of noise (N,Z), batch by batch."""
    made = []
    with evaluating(model), no_grad():  # batch norm: by its running statistics
        for first in range(0, len(noise), BATCH):
            part = Tensor.wrap(noise[first : first + BATCH])
            made.append(from_unit(model.generate(part.to(model.backend)).numpy()))
    return np.concatenate(made)


def nearest_images(images: Images, among: Images) -> Codes:
    """Find for each image (N,H,W,C) the nearest of others, by squared pixel distance.

    ->  (N,) positions in `among` (M,H,W,C)
    """
    from tinyvq_kernels import nearest_code

    rows = to_unit(images).reshape(len(images), -1)
    nearest = np.zeros(len(images), np.int64)
    least = np.full(len(images), np.inf)
    at_once = max(1, COMPARED // among[0].size)
    for first in range(0, len(among), at_once):
        part = to_unit(among[first : first + at_once])
        found = nearest_code(rows, part.reshape(len(part), -1))
        distance = _squared_distances(images, among[first + found])
        nearer = distance < least
        nearest[nearer], least[nearer] = first + found[nearer], distance[nearer]
    return nearest


def _squared_distances(images: Images, others: Images) -> Codes:
    """Add up the squared differences of the bytes of pairs of images -> (N,), exact."""
    found = np.empty(len(images), np.int64)
    for i, (image, other) in enumerate(zip(images, others, strict=True)):
        difference = image.astype(np.int32) - other
        found[i] = np.square(difference).sum(dtype=np.int64)
    return found
