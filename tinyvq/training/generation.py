"""New images: from a prior's codes, from given halves, between two, from noise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyvq.backends import on_host
from tinyvq.data import from_unit, to_unit
from tinyvq.errors import ConfigError
from tinyvq.models import VQVAE, NoiseVQGAN, Prior, sample_codes
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad
from tinyvq.training.batches import batch_on
from tinyvq.training.evaluation import BATCH

Images = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int64]
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

    share   of the rows of codes that is kept, rounded; a code sees a little of what is
            below it, for the encoder's pixels overlap
    """
    given = tokenizer.encode(batch_on(tokenizer.backend, images))  # (N,P,Q)
    rows = _rows_of(share, given.shape[1])
    drawn = draw_codes(prior, labels, len(images), how, given, rows, on_progress)
    return decode(tokenizer, drawn)


def upper_part(images: Images, share: float) -> Images:
    """Leave a share of the rows of images (N,H,W,C), paint the rest grey."""
    left = images.copy()
    left[:, _rows_of(share, images.shape[1]) :] = 128
    return left


def _rows_of(share: float, rows: int) -> int:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share that is kept must be in 0 .. 1, got {share}")
    return round(share * rows)


def interpolate(tokenizer: VQVAE, ends: Images, steps: int) -> Images:
    """Go from one image to another, (2,H,W,C), through codes -> (steps,H,W,C).

    At each position the vectors of the two codes are mixed, and the mixture is replaced
    by the code nearest to it: all on the way are images that codes can make.
    """
    if steps < 2:
        raise ConfigError(f"an interpolation has at least 2 images, got {steps}")
    with no_grad():
        codes = tokenizer.encode(batch_on(tokenizer.backend, ends))  # (2,P,Q)
        first, last = tokenizer.quantizer.lookup(codes).numpy()  # (P,Q,D) each
        share = np.linspace(0, 1, steps, dtype=first.dtype)[:, None, None, None]
        mixed = (1 - share) * first + share * last  # (steps,P,Q,D)
        vectors = Tensor.wrap(mixed).to(tokenizer.backend)
        between = on_host(tokenizer.quantizer(vectors).indices)  # (steps,P,Q)
    between[0], between[-1] = codes  # a code may have a twin
    return decode(tokenizer, between)


def from_noise(model: NoiseVQGAN, count: int, seed: int) -> Images:
    """Make images (count,H,W,C) from noise; image i is the same for any count."""
    noise = np.concatenate(
        [model.noise(1, Stream(seed, "noise", i)).array for i in range(count)]
    )  # (count, noise_dim)
    made = []
    with no_grad():
        for first in range(0, count, BATCH):
            part = Tensor.wrap(noise[first : first + BATCH])
            output = model(part.to(model.backend))
            made.append(from_unit(output.images.numpy()))
    return np.concatenate(made)


def nearest_images(images: Images, among: Images) -> Codes:
    """Find for each image (N,H,W,C) the nearest of others, by squared pixel distance.

    ->  (N,) positions in `among` (M,H,W,C)
    """
    from tinyvq_kernels import nearest_code

    rows, others = (a.reshape(len(a), -1) for a in (to_unit(images), to_unit(among)))
    found: Codes = nearest_code(rows, others)
    return found
