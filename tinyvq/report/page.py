"""A run on one page: an HTML file with all its pictures inside, to be kept or sent.

It is made of what the run folder holds, so it can be made at any time, also of a run
that still trains, and needs neither the data nor the network.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from tinyvq.errors import RunError
from tinyvq.files import names_in, read_bytes, write_atomically
from tinyvq.report._runs import draw_curve
from tinyvq.training.metrics_log import read
from tinyvq.training.run import Run

WAYPOINTS = 4  # samples from the way that are shown
_PICTURE_LIMIT = 64 * 2**20  # bytes

# The pictures that a finished run has, and what each shows.
PICTURES = {
    "samples.png": "New images",
    "nearest.png": "New images, each above the training image that is nearest to it by "
    "pixels: a copy would show",
    "reconstructions.png": "Validation images, each above its reconstruction",
    "codebook.png": "The codes that validation images use",
}

STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.quiet { color: var(--quiet); }
img { max-width: 100%; height: auto; display: block; }
.pixels { image-rendering: pixelated; }
figure { margin: 1rem 0; } figcaption { color: var(--quiet); margin-top: .3rem; }
.figures { display: flex; flex-wrap: wrap; gap: .6rem 2rem; margin: 1rem 0; }
.figures div { display: flex; flex-direction: column-reverse; }
.figures dt { color: var(--quiet); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-size: .9rem; }
td { border-top: 1px solid var(--line); padding: .15rem 1rem .15rem 0;
     vertical-align: top; overflow-wrap: anywhere; }
"""


def write_page(run: Run, out: Path | None = None) -> Path:
    """Write a run's report; return where it is (report.html in the run folder)."""
    if run.exported:
        raise RunError(f"{run.folder} is an exported run: it has no log to report on")
    records = read(run.metrics) if run.metrics.exists() else []
    if not records:
        raise RunError(f"{run.folder} has logged nothing yet; train it first")
    draw_curve(run)
    last = records[-1]
    body = [
        f"<h1>{escape(run.folder.name)}</h1>",
        f'<p class="quiet">{escape(_summary(run, last))}</p>',
        _figures(_latest(records)),
        *_pictures(run),
        "<h2>On the way</h2>",
        *_waypoints(run),
        "<h2>Curves</h2>",
        _figure(run.folder / "curve.png", f"{len(records)} logged steps", "curves"),
        "<h2>Configuration</h2>",
        _table(run.options),
        "<h2>Data</h2>",
        _table(run.facts),
        "<h2>Environment</h2>",
        _table(run.versions),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.folder.name)} · tinyvq</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n"
        "</html>\n"
    )
    out = out or run.folder / "report.html"
    write_atomically(out, page.encode(errors="replace"))  # of names that are no text
    return out


def _summary(run: Run, last: Mapping[str, Any]) -> str:
    asked = max(run.options["steps"], last["step"])  # a resumed run may have got more
    return f"a {run.kind} run · step {last['step']:,} of {asked:,}"


def _latest(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Find the newest value of each measure."""
    found: dict[str, Any] = {}
    for record in records:
        found |= {k: v for k, v in record.items() if v is not None and k != "step"}
    return found


def _figures(measures: Mapping[str, Any]) -> str:
    items = [
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{_number(value)}</dd></div>"
        for name, value in measures.items()
        if isinstance(value, int | float)
    ]
    return f'<dl class="figures">{"".join(items)}</dl>'


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _pictures(run: Run) -> list[str]:
    """Show the pictures that a finished run has."""
    there = names_in(run.folder)
    return [
        _figure(run.folder / name, what, what, pixels=True)
        for name, what in PICTURES.items()
        if name in there
    ]


def _waypoints(run: Run) -> list[str]:
    """Show samples from the way, evenly spread, the last one included."""
    there = (re.fullmatch(r"step-(\d{8,12})\.png", n) for n in names_in(run.samples))
    found = sorted((int(match[1]), match[0]) for match in there if match)
    if not found:
        return ['<p class="quiet">no samples yet</p>']
    count = min(WAYPOINTS, len(found))
    chosen = [found[(i + 1) * len(found) // count - 1] for i in range(count)]
    return [
        _figure(run.samples / name, f"step {step:,}", name, pixels=True)
        for step, name in chosen
    ]


def _figure(path: Path, caption: str, alt: str, pixels: bool = False) -> str:
    data = base64.b64encode(read_bytes(path, _PICTURE_LIMIT)).decode()
    kind = ' class="pixels"' if pixels else ""
    return (
        f'<figure><img{kind} alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(values: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(_text(value))}</td>"
        "</tr>"
        for name, value in values.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, str | int) for v in value):
        return (
            " × ".join(map(str, value))
            if len(value) <= 3
            else ", ".join(map(str, value))
        )
    return value if isinstance(value, str) else json.dumps(value)
