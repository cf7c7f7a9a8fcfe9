"""The plots of benchmarks/README.md: what is drawn of the result files, and drawing it.

A plot keeps in its file a hash of what was drawn. So it can be held against the result
files on machines whose fonts and versions would draw other pixels.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.markdown import geometric_mean

KEY = "Source"  # of the hash among a PNG's texts
Drawn = Mapping[str, Any]  # as JSON can write it

# The rows of the speed-ups: how names of cases begin and end.
ROWS = {
    "nearest code": ("nearest_code/", ""),
    "nearest code, more sizes": ("scaling/nearest_code", ""),
    "convolution, forward": ("convolutions/", "/forward"),
    "convolution, input gradient": ("convolutions/", "/input-gradient"),
    "convolution, weight gradient": ("convolutions/", "/weight-gradient"),
    "VQ-VAE step": ("vqvae_step/", ""),
    "VQ-VAE step, more sizes": ("scaling/vqvae_step", ""),
    "VQ-GAN step": ("vqgan_step/", ""),
    "drawing codes": ("sampling/", ""),
    "peak memory": ("memory/", ""),
}


def curves(result: Mapping[str, Any]) -> Drawn:
    """Take what is drawn of curves.json: steps, and errors (seeds, steps) by name."""
    runs = result["runs"]
    errors: dict[str, list[list[float]]] = {}
    for run in runs:
        mine = errors.setdefault(run["contender"], [])
        mine.append([mark["test_nmse"] for mark in run["marks"]])
    return {"steps": [mark["step"] for mark in runs[0]["marks"]], "errors": errors}


def draw_curves(drawn: Drawn) -> Any:
    """Draw errors over steps: the mean over seeds, and the spread."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, of_seeds in drawn["errors"].items():
        errors = np.array(of_seeds)
        ours = name.startswith("tinyvq")
        (line,) = axes.plot(
            drawn["steps"],
            errors.mean(axis=0),
            "o-",
            lw=2.5 if ours else 1.2,
            label=name,
        )
        axes.fill_between(
            drawn["steps"],
            errors.min(axis=0),
            errors.max(axis=0),
            color=line.get_color(),
            alpha=0.15,
        )
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.03)
    axes.set_yticks([0.04, 0.06, 0.1, 0.2])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlabel("training step")
    axes.set_ylabel("test nmse")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure


def speedups(result: Mapping[str, Any]) -> Drawn:
    """Take what is drawn of cpu.json: the ratios of each row that has some."""
    found = {
        row: [
            record["ratio"]
            for name, record in result["cases"].items()
            if name.startswith(begin) and name.endswith(end) and "ratio" in record
        ]
        for row, (begin, end) in ROWS.items()
    }
    return {row: ratios for row, ratios in found.items() if ratios}


def draw_speedups(drawn: Drawn) -> Any:
    """Draw a dot per case, a row per kind of work, and a bar at the geometric mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.36 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color="black", lw=1)
    for y, ratios in enumerate(drawn.values()):
        colours = ["C0" if ratio >= 1 else "C3" for ratio in ratios]
        axes.scatter(ratios, [y] * len(ratios), c=colours, alpha=0.6, lw=0, zorder=3)
        if len(ratios) > 1:
            mean = geometric_mean(ratios)
            axes.plot([mean] * 2, [y - 0.3, y + 0.3], color="black", lw=2)
    every = [ratio for ratios in drawn.values() for ratio in ratios]
    axes.set_xscale("log")
    ticks = [0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 16, 32, 64]
    low, high = min(every, default=1) / 1.1, max(every, default=1) * 1.1
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [f"{tick:g}×" for tick in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)
    axes.set_yticks(range(len(drawn)), list(drawn))
    axes.invert_yaxis()
    axes.set_xlabel("what the best peer takes over what tinyvq takes")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    return figure


@dataclass(frozen=True)
class Plot:
    """A plot: the result file, what is drawn of it, and what draws that."""

    result: str
    take: Callable[[Mapping[str, Any]], Drawn]
    draw: Callable[[Drawn], Any]


PLOTS = {
    "curves.png": Plot("curves.json", curves, draw_curves),
    "speedups.png": Plot("cpu.json", speedups, draw_speedups),
}


def png(figure: Any, drawn: Drawn) -> bytes:
    """Write a figure as a PNG that keeps the hash of what was drawn."""
    texts = {"Software": None, KEY: hash_of(drawn)}
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata=texts)
    return buffer.getvalue()


def shows(picture: bytes, drawn: Drawn) -> bool:
    """Tell whether a PNG was drawn of this."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        return bool(image.info.get(KEY) == hash_of(drawn))


def hash_of(drawn: Drawn) -> str:
    """Hash what is drawn."""
    return hashlib.blake2b(json.dumps(drawn).encode(), digest_size=16).hexdigest()
