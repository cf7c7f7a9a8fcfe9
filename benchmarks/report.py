"""Write the tables and plots of benchmarks/README.md from the committed result files.

`python -m benchmarks.report` writes; `--check` exits with 1 where a table is not what
it would be.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS

README = Path(__file__).parent / "README.md"


def curves_table() -> str:
    """Error and codes used at each mark, the mean over seeds and the spread."""
    runs = json.loads((RESULTS / "curves.json").read_text())["runs"]
    marks = [mark["step"] for mark in runs[0]["marks"]]
    rows = []
    for name in dict.fromkeys(run["contender"] for run in runs):
        mine = [run["marks"] for run in runs if run["contender"] == name]
        errors = np.array([[mark["test_nmse"] for mark in m] for m in mine])
        used = [m[-1]["test_codes_used"] for m in mine]
        cells = [
            f"{errors[:, i].mean():.4f} ({errors[:, i].min():.4f}-"
            f"{errors[:, i].max():.4f})"
            for i in range(len(marks))
        ]
        rows.append((name, *cells, f"{np.mean(used):.0f}", str(len(mine))))
    steps = [f"{step} steps" for step in marks]
    return table(("test nmse of", *steps, "codes used", "seeds"), rows) + source(
        runs[0]["environment"]
    )


def priors_table() -> str:
    """Nats a token that each prior, and counting, needs on each split."""
    result = json.loads((RESULTS / "priors.json").read_text())
    splits = ("train", "val", "test")
    rows = [
        (row["name"], *(f"{row['nats_per_token'][split]:.4f}" for split in splits))
        for row in result["rows"]
    ]
    return table(("nats a token", *splits), rows) + source(result["environment"])


def curves_plot() -> bytes:
    """Draw the same as lines."""
    import io

    from matplotlib.figure import Figure

    runs = json.loads((RESULTS / "curves.json").read_text())["runs"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(run["contender"] for run in runs):
        mine = [run["marks"] for run in runs if run["contender"] == name]
        steps = [mark["step"] for mark in mine[0]]
        errors = np.array([[mark["test_nmse"] for mark in m] for m in mine])
        ours = name.startswith("tinyvq")
        (line,) = axes.plot(
            steps, errors.mean(axis=0), "o-", lw=2.5 if ours else 1.2, label=name
        )
        axes.fill_between(
            steps,
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
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


SECTIONS = {"curves": curves_table, "priors": priors_table}
PLOTS = {"curves.png": curves_plot}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def source(environment: dict[str, Any]) -> str:
    """Say where figures were taken."""
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    return (
        f"\n{environment['cpu']}, {environment['cores']} cores, "
        f"{environment['system']}; {versions}; commit {environment['commit']}.\n"
    )


def render(text: str) -> str:
    """Put each section's table between its two marks."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}{make()}{end}{after}"
    return text


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    now = README.read_text()
    wanted = render(now)
    if check:
        return int(now != wanted)
    README.write_text(wanted)
    for name, draw in PLOTS.items():
        (RESULTS / name).write_bytes(draw())
    return 0


if __name__ == "__main__":
    sys.exit(main())
