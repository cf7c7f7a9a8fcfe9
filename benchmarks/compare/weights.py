"""How hard may the adversary pull? Weights that were tried in colour, on one seed.

    python -m benchmarks.compare.weights

trains the VQ-GAN of seed 0 of the photographs with other weights than the comparison's,
and measures its reconstructions: that is how the comparison's was chosen. A result file
a weight, in results/compare.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.compare.__main__ import Stopped, judging, options_of, runs_of, train
from benchmarks.compare.measure import measure
from benchmarks.compare.pieces import Piece
from benchmarks.compare.records import FOLDER, Record, Results, at, number, of_seed
from benchmarks.markdown import NOT_YET, table
from benchmarks.record import environment, write_json
from tinyvq.training.run import open_run

CHOSEN = Piece("photos", "vqgan", 0)
TRIED = {0.1: 250, 0.4: 250, 0.8: 250}  # weight: the steps over which it grows
FIGURES = {
    "mse": "reconstruction.mse",
    "sharpness kept": "reconstruction.sharpness_kept",
    "perceptual distance": "reconstruction.perceptual_distance",
    "Fréchet": "reconstruction.frechet",
}
ABOUT = """The comparison's weight was chosen by these very figures, of one seed: they
are a little better for it than others of its kind. The adversary comes in at step 1,000
of 3,000, and its weight then grows over so many steps.
"""


def command(weight: float, runs: Path) -> list[str]:
    """Write the words that train with a weight."""
    words = CHOSEN.command(runs)
    for name, value in (
        ("--adversarial-weight", weight),
        ("--adversarial-ramp", TRIED[weight]),
        ("--out", runs / CHOSEN.data / f"weight-{weight}"),
    ):
        words[words.index(name) + 1] = str(value)
    return words


def weights_table(found: Results) -> str:
    """Make the table: the VQ-VAE, whose weight is 0, and each weight after it."""
    records: list[Record] = [
        record
        for model in ("vqvae", CHOSEN.model)
        if (record := of_seed(found.get((CHOSEN.data, model), []), CHOSEN.seed))
    ]
    paths = [FOLDER / f"weight-{weight}.json" for weight in TRIED]
    tried = [json.loads(path.read_text()) for path in paths if path.exists()]
    rows = []
    for record in sorted([*records, *tried], key=_weight):
        weight, ramp = _weight(record), record["options"]["adversarial_ramp"]
        chosen = " (the comparison's)" if record in records and weight else ""
        figures = [number(at(record, path) or 0.0) for path in FIGURES.values()]
        rows.append((f"{weight:g}{chosen}", f"{ramp}" if weight else "–", *figures))
    return table(("weight", "steps", *FIGURES), rows) if tried else NOT_YET


def _weight(record: Record) -> float:
    return float(record["options"]["adversarial_weight"])


def main(argv: list[str] | None = None) -> int:
    """Do the weights that are not done yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.weights")
    parser.add_argument("--weight", type=float, nargs="*", default=list(TRIED))
    parser.add_argument("--runs", type=Path, default=runs_of("compare", quick=False))
    parser.add_argument("--results", type=Path, default=FOLDER)
    asked = parser.parse_args(argv)
    judged = judging(quick=False)
    for weight in asked.weight:
        path = asked.results / f"weight-{weight}.json"
        if path.exists():
            continue
        words = command(weight, asked.runs)
        folder = Path(words[-1])
        try:
            train(words, folder)
        except Stopped as stopped:
            return stopped.status
        write_json(
            path,
            {
                "command": f"tinyvq {' '.join(command(weight, Path('runs')))}",
                "options": options_of(open_run(folder)),
                "reconstruction": measure(folder, judged).figures["reconstruction"],
                "environment": environment(),
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
