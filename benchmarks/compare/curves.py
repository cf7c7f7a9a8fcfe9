"""The curves of the comparison: how each model learned, and what held its adversary."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.compare.pieces import MODELS

Record = dict[str, Any]
PANELS = {  # what is drawn: its title, and whether the axis is logarithmic
    "nmse": ("squared error over the images' variance", True),
    "discriminator_loss": ("discriminator's loss", False),
    "adaptive_weight": ("adaptive weight of the VQ-GAN's adversary", True),
    "gradient_norm": ("length of the gradients", True),
}


def curves(runs: Mapping[str, Sequence[Record]]) -> bytes:
    """Draw a panel a measure: a colour a model, a line a seed -> a PNG.

    runs  the records of each model, by its name in MODELS
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    colours = {model: f"C{i}" for i, model in enumerate(MODELS)}
    drawn: set[str] = set()
    for axes, (measure, (title, logarithmic)) in zip(
        figure.subplots(2, 2).flat, PANELS.items(), strict=True
    ):
        for model, records in runs.items():
            for record in records:
                steps, values = _line(record["curve"], measure)
                if steps:
                    axes.plot(steps, values, color=colours[model], lw=1, alpha=0.8)
                    drawn.add(model)
        axes.set_yscale("log" if logarithmic else "linear")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("training step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.legend(
        [Line2D([], [], color=colours[m]) for m in MODELS if m in drawn],
        [MODELS[m].what for m in MODELS if m in drawn],
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _line(curve: Record, measure: str) -> tuple[list[int], list[float]]:
    """Take the steps at which a measure was taken, and its values."""
    values = curve.get(measure) or []
    pairs = [(s, v) for s, v in zip(curve["step"], values, strict=False) if v]
    return [step for step, _ in pairs], [float(value) for _, value in pairs]
