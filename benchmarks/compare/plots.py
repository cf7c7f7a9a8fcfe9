"""The plots of the comparison: what is drawn of a data set, and drawing it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.compare.pieces import MODELS
from benchmarks.compare.records import Record, Results, real_images, values
from benchmarks.plots import Drawn

PANELS = {  # of the curves: their titles, and whether the axis is logarithmic
    "nmse": ("squared error over the images' variance", True),
    "discriminator_loss": ("discriminator's loss", False),
    "adaptive_weight": ("adaptive weight of the VQ-GAN's adversary", True),
    "gradient_norm": ("length of the gradients", True),
}


@dataclass(frozen=True)
class Glance:
    """A panel of two figures a dot: their names and paths, and where it is best."""

    across: str
    up: str
    best: str
    paths: tuple[str, str]


GLANCES = {
    "reconstructions": Glance(
        *("mse", "perceptual distance", "left, below"),
        ("reconstruction.mse", "reconstruction.perceptual_distance"),
    ),
    "new images": Glance(
        *("Fréchet distance", "coverage", "left, above"),
        ("samples.frechet", "samples.coverage"),
    ),
}
REAL = "real images"
COLOURS = {model: f"C{i}" for i, model in enumerate(MODELS)}
LABELS = {model: about.what for model, about in MODELS.items()} | {REAL: REAL}


def curves(found: Results, data: str) -> Drawn:
    """Take the curves: by panel and model, a list of seeds, each steps and values."""
    return {p: _of_models(found, data, partial(_line, measure=p)) for p in PANELS}


def glances(found: Results, data: str) -> Drawn:
    """Take two figures per seed: by panel and model, a list of pairs."""
    drawn = {
        panel: _of_models(found, data, partial(_pair, paths=glance.paths))
        for panel, glance in GLANCES.items()
    }
    real = real_images(found, data)
    if real is not None:
        pair = _pair({"samples": real}, GLANCES["new images"].paths)
        drawn["new images"][REAL] = [pair]
    return {panel: models for panel, models in drawn.items() if models}


def _of_models(
    found: Results, data: str, take: Callable[[Record], list[Any]]
) -> dict[str, list[list[Any]]]:
    taken = {m: [take(record) for record in found.get((data, m), [])] for m in MODELS}
    some = {model: [part for part in parts if part] for model, parts in taken.items()}
    return {model: parts for model, parts in some.items() if parts}


def _line(record: Record, measure: str) -> list[list[float]]:
    """Take the steps at which a measure was taken, and its values; [] if never."""
    curve = record["curve"]
    pairs = zip(curve["step"], curve.get(measure) or [], strict=False)
    taken = [pair for pair in pairs if pair[1]]
    return [list(part) for part in zip(*taken, strict=True)]


def _pair(record: Record, paths: tuple[str, str]) -> list[float]:
    """Take two figures; [] where one of them is not there."""
    pair = [value for path in paths for value in values([record], path)]
    return pair if len(pair) == len(paths) else []


# ---- drawing ------------------------------------------------------------------------


def draw_curves(drawn: Drawn) -> Any:
    """Draw a panel per measure: a colour per model, a line per seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    for axes, (panel, (title, logarithmic)) in zip(
        figure.subplots(2, 2).flat, PANELS.items(), strict=True
    ):
        for model, lines in drawn[panel].items():
            for steps, measured in lines:
                axes.plot(steps, measured, color=_colour(model), lw=1, alpha=0.8)
        axes.set_yscale("log" if logarithmic else "linear")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("training step")
        _plain(axes)
    _legend(figure, drawn, ls="-")
    return figure


def draw_glances(drawn: Drawn) -> Any:
    """Draw a dot per seed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(5.5 * len(drawn), 4.6), layout="constrained")
    row = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (panel, models) in zip(row, drawn.items(), strict=True):
        glance = GLANCES[panel]
        for model, pairs in models.items():
            across_up = zip(*pairs, strict=True)
            axes.scatter(*across_up, color=_colour(model), alpha=0.8, zorder=3)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        highest = max(up for pairs in models.values() for _, up in pairs)
        axes.set_ylim(0, 1.1 * highest)  # dots may be close together, and high
        axes.set_title(f"{panel} (better: {glance.best})", fontsize=10)
        axes.set_xlabel(glance.across)
        axes.set_ylabel(glance.up)
        _plain(axes)
    _legend(figure, drawn, ls="", marker="o")
    return figure


def _colour(model: str) -> str:
    return COLOURS.get(model, "black")


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def _legend(figure: Any, drawn: Drawn, **style: str) -> None:
    from matplotlib.lines import Line2D

    names = [n for n in LABELS if any(n in models for models in drawn.values())]
    figure.legend(
        [Line2D([], [], color=_colour(name), **style) for name in names],
        [LABELS[name] for name in names],
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )


PLOTS: dict[str, tuple[Callable[[Results, str], Drawn], Callable[[Drawn], Any]]] = {
    "curves": (curves, draw_curves),
    "glance": (glances, draw_glances),
}
