"""What went wrong in the runs of the comparison, told by their figures."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.compare.pieces import MODELS, SEEDS
from benchmarks.compare.records import Record, Results, at, number


@dataclass(frozen=True)
class Failure:
    """A way to fail.

    seen  whether a record shows it; its figure, to be told
    """

    what: str
    figure: Callable[[Record], float | None]
    seen: Callable[[float], bool]


def _share_of_codes(record: Record) -> float | None:
    least = at(record, "steadiness.least_codes_used")
    total = at(record, "reconstruction.codes_total") or at(record, "options.num_codes")
    return None if least is None or total is None else least / total


def _last_discriminator_loss(record: Record) -> float | None:
    losses = record["curve"].get("discriminator_loss")
    return losses[-1] if losses else None


FAILURES = (
    Failure(
        "codebook collapse: less than half of the codes in use at some validation, "
        "share",
        _share_of_codes,
        lambda share: share < 0.5,
    ),
    Failure(
        "ended worse than it had been: validation error over its least",
        lambda record: at(record, "steadiness.end_over_best"),
        lambda ratio: ratio > 1.1,
    ),
    Failure(
        "little covered: test images that have a new one near, share",
        lambda record: at(record, "samples.coverage"),
        lambda share: share < 0.1,
    ),
    Failure(
        "the discriminator has won: its loss at the end",
        _last_discriminator_loss,
        lambda loss: loss < 0.1,
    ),
    Failure(
        "copies: new images lie at training images; of 0 to 1",
        lambda record: at(record, "samples.copied"),
        lambda share: share > 0.5,
    ),
)


def failures(found: Results, data: str) -> str:
    """List what the figures of a data set show to have failed, run by run."""
    lines = []
    for model, about in MODELS.items():
        records = found.get((data, model), [])
        missing = set(SEEDS) - {record["seed"] for record in records}
        if records and missing:
            named = ", ".join(f"seed {seed}" for seed in sorted(missing))
            lines.append(
                f"- {about.what}: not trained to its end, or not yet: {named}.\n"
            )
        for record in records:
            for failure in FAILURES:
                value = failure.figure(record)
                if value is not None and failure.seen(value):
                    lines.append(
                        f"- {about.what}, seed {record['seed']}: {failure.what} "
                        f"{number(value)}.\n"
                    )
    looked_for = "; ".join(failure.what.split(":")[0] for failure in FAILURES)
    return "".join(lines) or f"None, of these: {looked_for}.\n"
