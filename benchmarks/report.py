"""Write the tables and plots of benchmarks/README.md from the committed result files.

`python -m benchmarks.report` writes; `--check` exits with 1 where a table, or what a
plot shows, is not what it would be.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.__main__ import AREAS
from benchmarks.gpu.tables import TABLES, of_gpus
from benchmarks.harness import OURS, UNITS
from benchmarks.markdown import NOT_YET, mean_line, source, table
from benchmarks.plots import PLOTS, png, shows
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
        *(run["environment"] for run in runs)
    )


def priors_table() -> str:
    """Nats a token that each prior, and counting, needs on each split."""
    result = json.loads((RESULTS / "priors.json").read_text())
    splits = ("train", "val", "test")
    rows = [
        (row["name"], *(f"{row['nats_per_token'][split]:.4f}" for split in splits))
        for row in result["rows"]
    ]
    return table(("nats per token", *splits), rows) + source(result["environment"])


Record = dict[str, Any]
RATIO = "best peer / tinyvq"
MEANS = ("nearest_code", "convolutions")  # areas whose ratios have a mean


def measured() -> Record:
    """Read what `tinyvq bench --save` wrote; nothing where there is no such file."""
    path = RESULTS / "cpu.json"
    return json.loads(path.read_text()) if path.exists() else {"cases": {}}


def machine() -> str:
    """Say where all the areas were measured, and what is the most that was seen there.

    A run that did not measure the roofs is told to be one.
    """
    found = measured()
    if not found["cases"]:
        return NOT_YET
    roofs = found.get("roofs")
    told = (
        f"The roofs: {roofs['peak_gflops_a_second']:,.0f} GFLOP/s in registers, "
        f"{roofs['sgemm_gflops_a_second']:,.0f} GFLOP/s in NumPy's product of matrices "
        f"(2048³, float32), {roofs['copy_gb_a_second']:.1f} GB/s copied."
        if roofs
        else "The roofs: not measured yet."
    )
    return f"{source(found['environment']).lstrip()}\n{told}\n"


def rounds() -> str:
    """Say of how many readings the figures are medians."""
    found = measured()["cases"].values()
    counts = {r["rounds"] for r in found if "rounds" in r}
    if not counts:
        return NOT_YET
    low, high = min(counts), max(counts)
    told = f"{low}" if low == high else f"{low} to {high}"
    return f"Each figure is the median of {told} readings.\n"


def area_table(area: str) -> str:
    """Medians of all contenders, case by case, and the best peer's over ours.

    Behind a median stands its share of the roof, where FLOPs and roof are known.
    """
    found = measured()
    records = [r for name, r in found["cases"].items() if name.startswith(f"{area}/")]
    if not records:
        return NOT_YET
    roof = found.get("roofs", {}).get("peak_gflops_a_second")
    names = list(dict.fromkeys(name for r in records for name in r["contenders"]))
    names.sort(key=lambda name: name != OURS)
    peers = any("ratio" in r for r in records)  # or all are held against promises
    last, of_record = (RATIO, ratio) if peers else ("promised", promise)
    rows = [
        [
            r["what"],
            *(median(r["contenders"].get(name), roof) for name in names),
            of_record(r),
        ]
        for r in records
    ]
    text = table(["median of", *names, last], rows)
    left_out = dict.fromkeys(
        f"{name} is left out: {why}."
        for r in records
        for name, why in r.get("left_out", {}).items()
    )
    if area in MEANS:
        text += mean_line([r["ratio"] for r in records])
    return text + "".join(f"\n{line}\n" for line in left_out)


def median(entry: Record | None, roof: float | None = None) -> str:
    """Write a contender's median, with its rate where codes are drawn.

    roof  what its GFLOP/s are written as a share of
    """
    if entry is None:
        return "–"
    unit = unit_of(entry)
    text = amount(entry[f"median_{unit}"], unit)
    if "tokens_a_second" in entry:
        text += f", {entry['tokens_a_second']:,.0f} codes/s"
    if roof and "gflops_a_second" in entry:
        text += f", {entry['gflops_a_second'] / roof:.0%}"
    return text


def unit_of(entry: Record) -> str:
    """Find the unit of a contender's median."""
    (unit,) = (unit for unit in UNITS if f"median_{unit}" in entry)
    return unit


def amount(value: float, unit: str) -> str:
    """Write a figure with three digits; of page faults, no share below hundredths."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    if unit == "faults":
        digits = 2 if 0 < value < 10 else 0
    return f"{value:,.{digits}f} {UNITS[unit]}"


def promise(record: Record) -> str:
    """Write what is promised of ours, in its unit, and where that is not kept."""
    ours = record["contenders"][OURS]
    unit, promised = unit_of(ours), record["promised"]
    broken = ", which is not kept" if ours[f"median_{unit}"] > promised else ""
    return f"at most {promised:g} {UNITS[unit]}{broken}"


def ratio(record: Record) -> str:
    """Write a ratio, its quartiles, and whose it is; or what is promised instead."""
    if "ratio" not in record:
        return f"promised: {promise(record)}" if "promised" in record else "–"
    low, high = record["ratio_quartiles"]
    best = record.get("fastest_peer") or record["leanest_peer"]
    return f"{record['ratio']:.2f} ({low:.2f}-{high:.2f}), {best}"


SECTIONS: dict[str, Callable[[], str]] = {
    "curves": curves_table,
    "priors": priors_table,
    "rounds": rounds,
    "machine": machine,
    **{area: partial(area_table, area) for area in AREAS},
    **{f"gpu {part}": partial(of_gpus, part) for part in TABLES},
}


def render(text: str) -> str:
    """Put each section's table between its two marks."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}{make()}{end}{after}"
    return text


def read(name: str) -> Record:
    """Read a result file."""
    content: Record = json.loads((RESULTS / name).read_text())
    return content


def plots_are_current() -> bool:
    """Tell whether all plots show what the result files say."""
    return all(
        shows((RESULTS / name).read_bytes(), plot.take(read(plot.result)))
        for name, plot in PLOTS.items()
    )


def draw_plots() -> None:
    """Draw all plots."""
    for name, plot in PLOTS.items():
        drawn = plot.take(read(plot.result))
        (RESULTS / name).write_bytes(png(plot.draw(drawn), drawn))


def main() -> int:
    """Write the tables and plots, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    now = README.read_text()
    wanted = render(now)
    if check:
        return int(now != wanted or not plots_are_current())
    README.write_text(wanted)
    draw_plots()
    return 0


if __name__ == "__main__":
    sys.exit(main())
