"""Write docs/results.md from the result files of the comparison.

`python -m benchmarks.compare.page` writes; `--check` exits with 1 where the page is not
what it would be.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compare.__main__ import PICTURES
from benchmarks.compare.claims import came_out, claims_table
from benchmarks.compare.failures import failures
from benchmarks.compare.pieces import MODELS, WORDS
from benchmarks.compare.plots import PLOTS, REAL
from benchmarks.compare.records import (
    FOLDER,
    Record,
    Results,
    at,
    number,
    of_seed,
    real_images,
    results,
    spread,
    values,
)
from benchmarks.compare.side_by_side import side_by_side
from benchmarks.compare.weights import ABOUT, CHOSEN, weights_table
from benchmarks.markdown import NOT_YET, source, table
from benchmarks.plots import png
from benchmarks.record import ROOT
from tinyvq.files import make_folder, write_atomically
from tinyvq.report import save_png

PAGE = ROOT / "docs" / "results.md"

HEAD = """# The comparison

The textbooks say that a VAE and a VQ-VAE are stable but soft, a GAN sharp but unstable,
and a VQ-GAN sharp, stable, and more various in what it draws. Here they are trained on
the same images, from three seeds each, and measured on images that no training has
seen.

    make compare                       # piece by piece; what is done is not done again
    python -m benchmarks.compare.page  # this page, from benchmarks/results/compare/

All are made of the same layers. VAE, VQ-VAE and VQ-GAN share encoder, decoder and
budget of images; the VQ-VAE is the VQ-GAN without its adversary, optimiser and all. The
two that draw through codes have the same transformer prior; GAN and noise-driven VQ-GAN
share generator and discriminator, but for the codebook. Priors are not told a class,
for no other contender is. All else is as it comes, but for the adversary's weight in
colour, [tried on one seed](#the-adversarys-weight); it stands beside the pictures of
each model.

In the tables stands the mean over seeds, with the least and the most in brackets.
Fréchet distances, coverage and density are over the features of SqueezeNet 1.1, which
no loss here was made of, of at most 2,000 images per side; they compare with each
other, and with no FID elsewhere. "Real images" are as many training images, picked at
random but always the same: what a perfect generator would score. A reconstruction's
Fréchet distance is to its own originals, a new image's to others: they do not compare.
"Sharpness" is the mean square of differences between neighbouring pixels, over that of
test images; noise counts as sharpness, too. "Copied" is 0 where new images are nearest
to a training image, by pixels, as often as unseen images are, and 1 where all are.
"""


CLAIMED = """## What came of the claims

Supported: whichever seeds are held against each other, one side is better. Not
supported: the other side always is. Undecided: it depends on the seeds. VQ-VAE and
VQ-GAN of one seed begin from the same weights and see the same images in the same
order: these two are held against each other seed by seed.
"""

PRICE = """A prior needs its tokenizer, too. What is learned beside the parameters, a
codebook by running means and the adversary, which is thrown away, is counted apart.
Seconds are of training alone, at the rate that the fastest tenth of the log's intervals
reached: other work ran beside.
"""

ALONE = """The VQ-GAN's figure over that of the VQ-VAE of the same seed: the same
network from the same weights, and the same images in the same order; the adversary is
all that differs.
"""

STEADY = """In the second half of the steps, in all of which an adversary counts:
unrest, the mean change of the validation error from one validation to the next, up or
down, as a share; the error at the end over the least; the fewest codes in use.
"""

ROWS = {
    "reconstructions": "Seed 0, test images from the plainest to the sharpest.\n",
    "samples": "Seed 0, drawn at random.\n",
}

CURVES = """A colour per model, a line per seed. Where the adaptive weight is high the
adversary's gradients are short beside those of the reconstruction.
"""


AUGMENTATION = """## Does augmentation help?

    python -m benchmarks.compare.augmentation

A small classifier, two convolutions and two linear layers of tinyvq's, learns from 500
real images per class of Fashion-MNIST, with and without 500 more per class that `tinyvq
augment` drew: by models that had seen the same 500 and no others. As many steps each,
so that beside new images a real one is seen half as often. Three seeds, each with its
own 500, held against each other seed by seed; in brackets the least and the most.
"""


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, and where its figure stands.

    of_encoder  the figure is of the model that encodes: a prior's tokenizer
    """

    head: str
    path: str
    of_encoder: bool = False


RECONSTRUCTION = (
    Column("mse", "reconstruction.mse"),
    Column("PSNR, dB", "reconstruction.psnr_db"),
    Column("SSIM", "reconstruction.ssim"),
    Column("sharpness kept", "reconstruction.sharpness_kept"),
    Column("perceptual distance", "reconstruction.perceptual_distance"),
    Column("Fréchet", "reconstruction.frechet"),
)
ADVERSARY = tuple(c for c in RECONSTRUCTION if c.head not in ("PSNR, dB", "SSIM"))
SAMPLES = (
    Column("Fréchet", "samples.frechet"),
    Column("Fréchet of its reconstructions", "reconstruction.frechet", True),
    Column("sharpness", "samples.sharpness"),
    Column("coverage", "samples.coverage"),
    Column("density", "samples.density"),
    Column("copied", "samples.copied"),
    Column("images per side", "samples.images"),
)
NATS = (
    Column("nats per token, train", "nats.train.nats_per_token"),
    Column("test", "nats.test.nats_per_token"),
    Column("counts left and above, test", "nats.test.left_above_nats"),
    Column("bits per dimension, test", "nats.test.bits_per_dimension"),
)
STEADINESS = (
    Column("unrest", "steadiness.unrest"),
    Column("end over best", "steadiness.end_over_best"),
    Column("fewest codes in use", "steadiness.least_codes_used"),
)
COST = (
    Column("parameters", "parameters"),
    Column("beside them: codebook", "beside.codebook"),
    Column("adversary", "beside.adversary"),
    Column("training, s", "seconds"),
)


def model_table(
    found: Results,
    data: str,
    columns: tuple[Column, ...],
    real: Sequence[Sequence[str]] = (),
) -> str:
    """Make a table of the models that have the first of these figures.

    real  rows of what real images score, to stand last
    """
    rows = []
    for model, about in MODELS.items():
        records = found.get((data, model), [])
        if values(records, columns[0].path):
            encoders = found.get((data, about.tokenizer or model), [])
            cells = [
                spread(values(encoders if c.of_encoder else records, c.path))
                for c in columns
            ]
            rows.append((about.what, *cells, str(len(records))))
    head = ("mean over seeds", *(c.head for c in columns), "seeds")
    return table(head, [*rows, *real]) if rows else NOT_YET


def samples_table(found: Results, data: str) -> str:
    """Make the table of new images, with what real ones score."""
    floor, real = real_images(found, data), []
    if floor is not None:
        figures = [at({"samples": floor}, column.path) for column in SAMPLES]
        cells = ("–" if f is None else number(f) for f in figures)
        real.append((REAL, *cells, "–"))
    return model_table(found, data, SAMPLES, real)


def alone_table(found: Results, data: str) -> str:
    """Hold the VQ-GAN against itself without its adversary, seed by seed."""
    with_it, without = (found.get((data, model), []) for model in ("vqgan", "vqvae"))
    rows = []
    for record in with_it:
        other = of_seed(without, record["seed"])
        if other is not None:
            pairs = [(at(record, c.path), at(other, c.path)) for c in ADVERSARY]
            cells = [f"{a / b:.2f}" if a and b else "–" for a, b in pairs]
            used = [
                f"{at(r, 'reconstruction.codes_used'):.0f}" for r in (record, other)
            ]
            rows.append((str(record["seed"]), *cells, " and ".join(used)))
    head = ("seed", *(c.head for c in ADVERSARY), "codes in use")
    return table(head, rows) if rows else NOT_YET


def augmentation_table() -> str:
    """Say how well a classifier does with and without new images."""
    paths = sorted(FOLDER.glob("augmentation-*.json"))
    records = [json.loads(path.read_text()) for path in paths]
    if not records:
        return NOT_YET
    rows = []
    for name in records[0]["accuracy"]:
        pairs = [(r["accuracy"]["real alone"], r["accuracy"][name]) for r in records]
        rows.append(
            (
                name,
                spread([100 * share for _, share in pairs]),
                spread([100 * (share - real) for real, share in pairs]),
                came_out(pairs, len(records)) if name.startswith("real and") else "–",
            )
        )
    head = (
        *("trained on", "right on test, %", "more than on real alone, points"),
        "that the new ones help",
    )
    return table(head, rows) + source(*(record["environment"] for record in records))


# ---- the page -----------------------------------------------------------------------


def picture(name: str, alt: str) -> str:
    """Show a picture, if there is one."""
    path = PICTURES / f"{name}.png"
    return f"![{alt}](results/{path.name})\n" if path.exists() else ""


SIDES = ("reconstructions", "samples")


def draw(found: Results) -> None:
    """Write the pictures that are made of several runs, for each data set."""
    for data in WORDS:
        if any(of == data for of, _ in found):
            make_folder(PICTURES)
            for name, (take, plot) in PLOTS.items():
                path, drawn = PICTURES / f"{data}-{name}.png", take(found, data)
                write_atomically(path, png(plot(drawn), drawn))
        for what in SIDES:
            rows = side_by_side(what, PICTURES, data)
            if rows is not None:
                save_png(PICTURES / f"{data}-{what}.png", rows)


def gallery(found: Results, data: str) -> str:
    """Show each model's command, configuration and pictures."""
    parts = []
    for model, about in MODELS.items():
        record = of_seed(found.get((data, model), []), 0)
        if record is None:
            continue
        name = f"{data}-{model}-0"
        shown = [
            picture(f"{name}-reconstructions", f"{about.what}: reconstructions"),
            picture(f"{name}-samples", f"{about.what}: new images"),
            picture(f"{name}-nearest", "new images above the nearest training images"),
        ]
        parts.append(
            f"#### {about.what}\n\n    {record['command']}\n\n"
            f"{record['parameters']:,} parameters, {record['seconds']:,.0f} s. "
            f"{options_line(record)}\n\n" + "\n".join(filter(None, shown))
        )
    return "\n".join(parts)


def options_line(record: Record) -> str:
    """Write the configuration of a run: what is not said where all is as it comes."""
    chosen = (
        (name, value)
        for name, value in record["options"].items()
        if value is not None and value is not False
    )
    return "`" + ", ".join(f"{name} {value}" for name, value in chosen) + "`"


def learned(found: Results, data: str) -> str:
    """Show how steadily the models of a data set learned, and what failed."""
    return (
        f"{STEADY}\n{model_table(found, data, STEADINESS)}\n"
        f"{picture(f'{data}-curves', 'curves of training')}\n{CURVES}\n"
        f"What failed:\n\n{failures(found, data)}"
    )


def side(what: str, data: str) -> str:
    """Show the picture of all models' rows."""
    shown = picture(f"{data}-{what}", f"{what} of all models, side by side")
    return f"\n{shown}\n{ROWS[what]}"


def weights_of(found: Results, data: str) -> str:
    """Show which weights were tried, where that was."""
    tried = weights_table(found) if data == CHOSEN.data else NOT_YET
    return f"    python -m benchmarks.compare.weights\n\n{ABOUT}\n{tried}"


def section(found: Results, data: str) -> str:
    """Write all of a data set."""
    parts = {
        "Reconstructions": model_table(found, data, RECONSTRUCTION)
        + side("reconstructions", data),
        "What the adversary does": f"{ALONE}\n{alone_table(found, data)}",
        "The adversary's weight": weights_of(found, data),
        "New images": samples_table(found, data) + side("samples", data),
        "What the priors know": model_table(found, data, NATS),
        "How they learned": learned(found, data),
        "What it costs": f"{PRICE}\n{model_table(found, data, COST)}",
        "Each model, seed 0": gallery(found, data),
    }
    kept = {title: text for title, text in parts.items() if NOT_YET not in text}
    glance = picture(f"{data}-glance", "all models at a glance, a dot per seed")
    return f"\n## {data}\n\n{glance}" + "".join(
        f"\n### {title}\n\n{text}" for title, text in kept.items()
    )


def page() -> str:
    """Write the whole page."""
    found = results()
    text = f"{HEAD}\n{CLAIMED}\n{claims_table(found)}"
    text += f"\n{AUGMENTATION}\n{augmentation_table()}"
    for data in WORDS:
        if any(key[0] == data for key in found):
            text += section(found, data)
    return text + taken_on(found)


def taken_on(found: Results) -> str:
    """Say on which machines, and at which commits, all figures were taken."""
    every = (record for records in found.values() for record in records)
    return source(*(record["environment"] for record in every))


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        return int(not PAGE.exists() or PAGE.read_text() != page())
    draw(results())  # the page shows the pictures that are there
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
