"""Write the tables and plots of benchmarks/README.md from the committed result files.

`python -m benchmarks.report` writes; `--check` exits with 1 where a table is not what
it would be.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.__main__ import AREAS
from benchmarks.gpu.tables import TABLES, of_gpus
from benchmarks.harness import OURS
from benchmarks.markdown import NOT_YET, source, table
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


Record = dict[str, Any]
MEANS = ("nearest_code", "convolutions")  # areas whose ratios have a mean
UNITS = {"median_ms": "ms", "median_mb": "MB"}


def measured() -> Record:
    """Read what `tinyvq bench --save` wrote; nothing where there is no such file."""
    path = RESULTS / "cpu.json"
    return json.loads(path.read_text()) if path.exists() else {"cases": {}}


def machine() -> str:
    """Say where all the areas were measured."""
    found = measured()
    return source(found["environment"]).lstrip() if found["cases"] else NOT_YET


def area_table(area: str) -> str:
    """Medians of all contenders, case by case, and the best peer's over ours."""
    cases = measured()["cases"]
    records = [r for name, r in cases.items() if name.startswith(f"{area}/")]
    if not records:
        return NOT_YET
    names = list(dict.fromkeys(name for r in records for name in r["contenders"]))
    names.sort(key=lambda name: name != OURS)
    rows = [
        [r["what"], *(median(r["contenders"].get(name)) for name in names), ratio(r)]
        for r in records
    ]
    text = table(["median of", *names, "best peer / tinyvq"], rows)
    left_out = dict.fromkeys(
        f"{name} is left out: {why}."
        for r in records
        for name, why in r.get("left_out", {}).items()
    )
    if area in MEANS:
        ratios = [r["ratio"] for r in records]
        mean = float(np.exp(np.log(ratios).mean()))
        text += f"\nGeometric mean of the ratios: {mean:.2f} ({len(ratios)} cases).\n"
    return text + "".join(f"\n{line}\n" for line in left_out)


def median(entry: Record | None) -> str:
    """Write a contender's median, with the rate where codes are drawn."""
    if entry is None:
        return "–"
    (key,) = UNITS.keys() & entry.keys()
    value = entry[key]
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    text = f"{value:,.{digits}f} {UNITS[key]}"
    if "tokens_a_second" in entry:
        text += f", {entry['tokens_a_second']:,.0f} codes/s"
    return text


def ratio(record: Record) -> str:
    """Write a ratio, its quartiles, and whose it is."""
    low, high = record["ratio_quartiles"]
    best = record.get("fastest_peer") or record["leanest_peer"]
    return f"{record['ratio']:.2f} ({low:.2f}-{high:.2f}), {best}"


SECTIONS = {
    "curves": curves_table,
    "priors": priors_table,
    "machine": machine,
    **{area: partial(area_table, area) for area in AREAS},
    **{f"gpu {part}": partial(of_gpus, part) for part in TABLES},
}
PLOTS = {"curves.png": curves_plot}


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
