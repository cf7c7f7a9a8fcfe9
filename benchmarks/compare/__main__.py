"""`make compare`: train and measure what is not done yet, piece by piece."""

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numba import get_num_threads

from benchmarks.compare.measure import (
    JUDGE,
    MOST,
    Judge,
    Judged,
    keep_pictures,
    measure,
    steadiness,
)
from benchmarks.compare.pieces import MODELS, WORDS, Piece, pieces
from benchmarks.compare.records import FOLDER
from benchmarks.record import ROOT, environment, write_json
from tinyvq.cli import main as tinyvq
from tinyvq.data import ImageData
from tinyvq.messages import say
from tinyvq.training.checkpoint import load_latest
from tinyvq.training.metrics_log import read
from tinyvq.training.options import option
from tinyvq.training.run import CONFIG, Run, open_run
from tinyvq.training.trained import ALL_KINDS

PICTURES = ROOT / "docs" / "results"
QUICK_JUDGE, QUICK_MOST = "random-conv", 40
WAYPOINTS = 60  # of a curve, about
Log = list[dict[str, Any]]  # the lines of a run's metrics
FAILED = 1  # the status of a command that could not do it


class Stopped(Exception):
    """A command that trains ended with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def check_as_told(run: Run, words: list[str]) -> None:
    """Raise Stopped where a run that is to be gone on with was begun otherwise.

    Resuming compares what is typed; here what is not typed must be as it comes, too.
    """
    for name, usual in asdict(ALL_KINDS[run.kind]()).items():
        if run.options[name] != usual and option(name) not in words:
            say(f"{run.folder} was trained with {option(name)} {run.options[name]}")
            raise Stopped(FAILED)


def train(words: list[str], folder: Path) -> None:
    """Run a command that trains in a folder, or go on where it was stopped."""
    if (folder / CONFIG).exists():  # what a kill left before it is no run yet
        check_as_told(open_run(folder), words)
        words = [*words, "--resume"]
    say(f"tinyvq {' '.join(words)}")
    status = tinyvq(words)
    if status != 0:
        raise Stopped(status)


def curve(log: Log) -> dict[str, list[float | None]]:
    """Thin a run's metrics out to some waypoints."""
    records = [line for line in log if "loss" in line]
    every = max(1, len(records) // WAYPOINTS)
    kept = records[every - 1 :: every]
    names = ("loss", "nmse", "adaptive_weight", "discriminator_loss", "gradient_norm")
    found = {"step": [r["step"] for r in kept]}
    return found | {
        name: [r.get(name) for r in kept] for name in names if name in kept[-1]
    }


def options_of(run: Run) -> dict[str, Any]:
    """Take what a run was trained with, but for where its files lie."""
    return {k: v for k, v in run.options.items() if k not in ("data", "tokenizer")}


def beside(run: Run) -> dict[str, int]:
    """Count what is learned beside the parameters: a codebook, an adversary's."""
    arrays = load_latest(run.checkpoints).arrays
    adversary = [
        array.size
        for name, array in arrays.items()
        if name.startswith("discriminator.") and "running" not in name
    ]
    if run.options.get("adversarial_weight") == 0:  # it is there, and does nothing
        adversary = []
    codebook = arrays.get("model.quantizer.codebook")
    found = {"codebook": 0 if codebook is None else codebook.size}
    return found | {"adversary": sum(adversary)}


def seconds_of(run: Run, log: Log) -> float:
    """Compute what the steps take where nothing else runs, from the logged rates.

    At the rate that a tenth of the log's lines reach: other work may have run beside,
    and validations stand between. Steps before an adversary trains are counted apart.
    """
    options, seconds = run.options, 0.0
    for judged in (False, True):
        rates = [
            line["images_per_second"]
            for line in log
            if ("discriminator_loss" in line) == judged
        ]
        if rates:
            steps = options["steps"] * len(rates) / len(log)
            quick = np.quantile([rate for rate in rates if rate], 0.9)
            seconds += float(steps * options["batch_size"] / quick)
    return seconds


def runs_of(name: str, quick: bool) -> Path:
    """Name the folder to train in where none is given: a quick run's is its own."""
    return Path("runs", f"{name}-quick" if quick else name)


def do(piece: Piece, runs: Path, results: Path, pictures: Path, judged: Judge) -> None:
    """Train and measure one piece; write its result file."""
    folder = piece.folder(runs)
    train(piece.command(runs), folder)
    began = time.perf_counter()
    found = measure(folder, judged)
    if piece.seed == 0:  # one seed's pictures are enough
        keep_pictures(folder, found.shown, pictures / piece.name)
    run = open_run(folder)
    log = read(run.metrics)
    record = {
        "data": piece.data,
        "model": piece.model,
        "seed": piece.seed,
        "command": f"tinyvq {' '.join(piece.command(Path('runs')))}",
        "options": options_of(run),
        "seconds": round(seconds_of(run, log), 3),
        "curve": curve(log),
        "steadiness": steadiness(log),
        "beside": beside(run),
        **found.figures,
        "environment": environment() | {"threads": get_num_threads()},
    }
    write_json(results / f"{piece.name}.json", record)
    say(f"{piece.name}: measured in {time.perf_counter() - began:.0f} s")


def judging(quick: bool) -> Judge:
    """Make what judges a data set, once a data set."""
    judge, most = (QUICK_JUDGE, QUICK_MOST) if quick else (JUDGE, MOST)
    known: dict[str, Judged] = {}

    def judged(images: ImageData) -> Judged:
        if images.source not in known:
            known[images.source] = Judged.of(images, judge, most)
        return known[images.source]

    return judged


def main(argv: list[str] | None = None) -> int:
    """Do what was asked for and is not done yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare")
    parser.add_argument("--quick", action="store_true", help="tiny, to see it work")
    parser.add_argument("--data", choices=list(WORDS), nargs="*", help="only these")
    parser.add_argument("--model", choices=list(MODELS), nargs="*", help="only these")
    parser.add_argument("--seed", type=int, nargs="*", help="only these")
    parser.add_argument("--runs", type=Path, help="where to train; runs/compare")
    parser.add_argument("--results", type=Path, default=FOLDER)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    asked = parser.parse_args(argv)
    asked.runs = asked.runs or runs_of("compare", asked.quick)
    if asked.quick and asked.results == FOLDER:
        asked.results, asked.pictures = asked.runs / "results", asked.runs / "pictures"
    judged, worst = judging(asked.quick), 0
    for piece in pieces(asked.quick):
        wanted = (
            (asked.data is None or piece.data in asked.data)
            and (asked.model is None or piece.model in asked.model)
            and (asked.seed is None or piece.seed in asked.seed)
        )
        if not wanted or (asked.results / f"{piece.name}.json").exists():
            continue
        tokenizer = MODELS[piece.model].tokenizer
        if tokenizer is not None:
            needed = replace(piece, model=tokenizer)
            if not (asked.results / f"{needed.name}.json").exists():
                say(f"{piece.name}: first comes {needed.name}")
                worst = 1
                continue
        try:
            do(piece, asked.runs, asked.results, asked.pictures, judged)
        except Stopped as stopped:
            if stopped.status != FAILED:  # a Ctrl-C is of the whole
                return stopped.status
            say(f"{piece.name}: not trained to its end; going on with the next")
            worst = FAILED
    return worst


if __name__ == "__main__":
    sys.exit(main())
