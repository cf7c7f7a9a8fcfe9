"""Write docs/results.md from the result files of the comparison.

`python -m benchmarks.compare.page` writes; `--check` exits with 1 where the page is not
what it would be.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.compare.__main__ import FOLDER, PICTURES
from benchmarks.compare.curves import curves
from benchmarks.compare.pieces import MODELS, WORDS
from benchmarks.markdown import NOT_YET, source, table
from benchmarks.record import ROOT
from tinyvq.files import make_folder, write_atomically

PAGE = ROOT / "docs" / "results.md"
Record = dict[str, Any]
Results = dict[tuple[str, str], list[Record]]  # by data set and model, seed by seed

HEAD = """# The comparison

The textbooks say that a VAE and a VQ-VAE are stable but soft, a GAN sharp but unstable,
and a VQ-GAN sharp, stable, and more various in what it draws. Here they are trained on
the same images, by the same blocks and from three seeds each, and measured on images
that no training has seen.

    make compare                       # piece by piece; what is done is not done again
    python -m benchmarks.compare.page  # this page, from benchmarks/results/compare/

VAE, VQ-VAE and VQ-GAN share encoder, decoder and budget of images; the two that draw
through codes have the same transformer prior; GAN and noise-driven VQ-GAN share
generator and discriminator, but for the codebook. In the tables stands the mean over
seeds, with the least and the most in brackets. Fréchet distances, coverage and density
are over the features of SqueezeNet 1.1, which no loss here was made of, of 2,000 images
a side; they compare with each other, and with no FID elsewhere. "real" is the same
measure of 2,000 training images: what a perfect generator would score.
"""


CURVES = """A colour a model, a line a seed. Where the adaptive weight is high the
adversary's gradients are short beside those of the reconstruction.
"""


AUGMENTATION = """## Does augmentation help?

    python -m benchmarks.compare.augmentation

A small classifier of the same layers learns from 500 real images a class of
Fashion-MNIST, with and without 500 more a class that `tinyvq augment` drew: by models
that had seen the same 500 and no others. As many steps each; three seeds, in brackets
the least and the most.
"""


def results() -> Results:
    """Read all result files."""
    found: Results = {}
    for path in sorted(FOLDER.glob("*.json")):
        if path.name.startswith("augmentation"):
            continue
        record = json.loads(path.read_text())
        found.setdefault((record["data"], record["model"]), []).append(record)
    return found


def at(record: Record, path: str) -> float | None:
    """Look a figure up by its path, "samples.frechet"; None where there is none."""
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return None if value is None else float(value)


def values(records: Iterable[Record], path: str) -> list[float]:
    """Collect a figure over seeds."""
    return [value for r in records if (value := at(r, path)) is not None]


def number(value: float) -> str:
    """Write three figures."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def spread(found: list[float]) -> str:
    """Write a mean, and the least and the most where there are several."""
    if not found:
        return "–"
    mean = number(sum(found) / len(found))
    if len(found) == 1:
        return mean
    return f"{mean} ({number(min(found))}-{number(max(found))})"


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, and where its figure stands."""

    head: str
    path: str


RECONSTRUCTION = (
    Column("mse", "reconstruction.mse"),
    Column("PSNR, dB", "reconstruction.psnr_db"),
    Column("SSIM", "reconstruction.ssim"),
    Column("sharpness kept", "reconstruction.sharpness_kept"),
    Column("perceptual distance", "reconstruction.perceptual_distance"),
    Column("Fréchet", "reconstruction.frechet"),
)
SAMPLES = (
    Column("Fréchet", "samples.frechet"),
    Column("coverage", "samples.coverage"),
    Column("density", "samples.density"),
    Column("nearest is of training", "samples.nearest_is_of_training"),
)
STEADINESS = (
    Column("unrest", "steadiness.unrest"),
    Column("end over best", "steadiness.end_over_best"),
    Column("least codes in use", "steadiness.least_codes_used"),
)
COST = (
    Column("parameters", "parameters"),
    Column("training, s", "seconds"),
)
NATS = (
    Column("nats a token, train", "nats.train.nats_per_token"),
    Column("test", "nats.test.nats_per_token"),
    Column("counts left and above, test", "nats.test.left_above_nats"),
    Column("bits a dimension, test", "nats.test.bits_per_dimension"),
)


def model_table(found: Results, data: str, columns: tuple[Column, ...]) -> str:
    """Make a table of the models that have the first of these figures."""
    rows = []
    for model, about in MODELS.items():
        records = found.get((data, model), [])
        if values(records, columns[0].path):
            cells = [spread(values(records, c.path)) for c in columns]
            rows.append((about.what, *cells, str(len(records))))
    head = ("mean over seeds", *(c.head for c in columns), "seeds")
    return table(head, rows) if rows else NOT_YET


def floor_line(found: Results, data: str) -> str:
    """Say what real images score."""
    for model in MODELS:
        for record in found.get((data, model), []):
            floor = record.get("samples", {}).get("floor")
            if floor:
                distance, coverage, density = (
                    number(floor[name]) for name in ("frechet", "coverage", "density")
                )
                return (
                    f"\nreal: Fréchet {distance}, coverage {coverage}, density "
                    f"{density}.\n"
                )
    return ""


# ---- what the textbooks claim -------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A claim: one model's figure is above or below another's, perhaps by a factor.

    first, second  models;  figure  the path of what is compared
    less           whether the first one's is said to be the smaller
    factor         on the second one's figure
    """

    text: str
    first: str
    second: str
    figure: str
    less: bool
    factor: float = 1.0


CLAIMS = (
    Claim(
        "A VAE's reconstructions are softer than a VQ-VAE's.",
        *("vae", "vqvae", "reconstruction.sharpness_kept", True),
    ),
    Claim(
        "A VQ-VAE is soft: a VQ-GAN keeps more of the sharpness.",
        *("vqvae", "vqgan", "reconstruction.sharpness_kept", True),
    ),
    Claim(
        "To a judge, a VQ-GAN's reconstructions are nearer to the originals.",
        *("vqgan", "vqvae", "reconstruction.perceptual_distance", True),
    ),
    Claim(
        "... and as a set, too.",
        *("vqgan", "vqvae", "reconstruction.frechet", True),
    ),
    Claim(
        "It costs no more than 1.3 times the squared error.",
        *("vqgan", "vqvae", "reconstruction.mse", True, 1.3),
    ),
    Claim(
        "A VQ-GAN with a prior draws better images than a VQ-VAE with one.",
        *("vqgan-prior", "vqvae-prior", "samples.frechet", True),
    ),
    Claim(
        "... and better ones than a GAN.",
        *("vqgan-prior", "gan", "samples.frechet", True),
    ),
    Claim(
        "... and more various ones than a GAN.",
        *("vqgan-prior", "gan", "samples.coverage", False),
    ),
    Claim(
        "A VAE's new images are the worst of all: worse than a VQ-VAE's with a prior.",
        *("vqvae-prior", "vae", "samples.frechet", True),
    ),
    Claim(
        "A codebook between noise and image does not hurt a GAN's variety.",
        *("noise-vqgan", "gan", "samples.coverage", False),
    ),
)


def verdict(claim: Claim, found: Results, data: str) -> tuple[str, str] | None:
    """Judge a claim: by all seeds of one against all of the other.

    -> supported, not supported or undecided, and the figures; None where there are none
    """
    first = values(found.get((data, claim.first), []), claim.figure)
    second = values(found.get((data, claim.second), []), claim.figure)
    if not first or not second:
        return None
    against = [claim.factor * value for value in second]
    low, high = (first, against) if claim.less else (against, first)
    if max(low) < min(high):
        said = "supported"
    elif min(low) >= max(high):
        said = "not supported"
    else:
        said = "undecided"
    sides = f"{spread(first)} against {spread(second)}"
    return said, sides + (f", times {claim.factor}" if claim.factor != 1 else "")


def claims_table(found: Results) -> str:
    """Say of each claim, on each data set, what came out."""
    rows = []
    for claim in CLAIMS:
        for data in WORDS:
            judged = verdict(claim, found, data)
            if judged:
                what = claim.figure.split(".")[-1].replace("_", " ")
                rows.append((claim.text, data, judged[0], f"{what}: {judged[1]}"))
    head = ("claim", "images", "came out", "figures, mean over seeds")
    return table(head, rows) if rows else NOT_YET


def augmentation_table() -> str:
    """Say how well a classifier does with and without new images."""
    paths = sorted(FOLDER.glob("augmentation-*.json"))
    records = [json.loads(path.read_text()) for path in paths]
    if not records:
        return NOT_YET
    names = list(records[0]["accuracy"])
    rows = [
        (
            name,
            spread([100 * r["accuracy"][name] for r in records]),
            spread(
                [
                    100 * (r["accuracy"][name] - r["accuracy"]["real alone"])
                    for r in records
                ]
            ),
        )
        for name in names
    ]
    head = ("trained on", "right on test, %", "more than on real alone, points")
    return table(head, rows) + source(records[0]["environment"])


# ---- the page -----------------------------------------------------------------------


def picture(name: str, alt: str) -> str:
    """Show a picture, if there is one."""
    path = PICTURES / f"{name}.png"
    return f"![{alt}](results/{path.name})\n" if path.exists() else ""


def draw_curves(found: Results) -> None:
    """Write a picture of curves for each data set."""
    for data in WORDS:
        runs = {model: found.get((data, model), []) for model in MODELS}
        if any(runs.values()):
            make_folder(PICTURES)
            write_atomically(PICTURES / f"{data}-curves.png", curves(runs))


def gallery(found: Results, data: str) -> str:
    """Show each model's pictures with the command that made it."""
    parts = []
    for model, about in MODELS.items():
        records = [r for r in found.get((data, model), []) if r["seed"] == 0]
        if not records:
            continue
        record, name = records[0], f"{data}-{model}-0"
        shown: list[str] = [
            picture(f"{name}-reconstructions", f"{about.what}: reconstructions"),
            picture(f"{name}-samples", f"{about.what}: new images"),
            picture(f"{name}-nearest", "new images above the nearest training images"),
        ]
        parts.append(
            f"#### {about.what}\n\n    {record['command']}\n\n"
            f"{record['parameters']:,} parameters, {record['seconds']:,.0f} s.\n\n"
            + "\n".join(filter(None, shown))
        )
    return "\n".join(parts)


def page() -> str:
    """Write the whole page."""
    found = results()
    sections: list[tuple[str, Callable[[str], str]]] = [
        ("Reconstructions", lambda data: model_table(found, data, RECONSTRUCTION)),
        (
            "New images",
            lambda data: model_table(found, data, SAMPLES) + floor_line(found, data),
        ),
        ("What the priors know", lambda data: model_table(found, data, NATS)),
        ("What it costs", lambda data: model_table(found, data, COST)),
    ]
    text = HEAD + "\n## What came of the claims\n\n"
    text += (
        "Supported: the worst seed of one side is better than the best of the other. "
        "Not\nsupported: the other way round. Undecided: the seeds overlap.\n\n"
    )
    text += claims_table(found)
    text += f"\n{AUGMENTATION}\n{augmentation_table()}"
    for data in WORDS:
        if not any(key[0] == data for key in found):
            continue
        text += f"\n## {data}\n"
        for title, make in sections:
            text += f"\n### {title}\n\n{make(data)}"
        text += f"\n### How they learned\n\n{CURVES}\n"
        text += f"![curves of training](results/{data}-curves.png)\n"
        text += f"\n### Pictures, seed 0\n\n{gallery(found, data)}"
    one = next(iter(found.values()))[0] if found else None
    return text + (source(one["environment"]) if one else "")


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    wanted = page()
    if parser.parse_args().check:
        return int(not PAGE.exists() or PAGE.read_text() != wanted)
    PAGE.write_text(wanted)
    draw_curves(results())
    return 0


if __name__ == "__main__":
    sys.exit(main())
