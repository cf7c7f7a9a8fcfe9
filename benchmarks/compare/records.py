"""The result files of the comparison, and figures looked up in them."""

import json
from collections.abc import Iterable
from typing import Any

from benchmarks.record import RESULTS

FOLDER = RESULTS / "compare"
Record = dict[str, Any]
Results = dict[tuple[str, str], list[Record]]  # by data set and model, seed by seed


def results() -> Results:
    """Read all result files of models."""
    found: Results = {}
    for path in sorted(FOLDER.glob("*.json")):
        record = json.loads(path.read_text())
        if "model" in record:
            found.setdefault((record["data"], record["model"]), []).append(record)
    return found


def at(record: Record, path: str) -> float | None:
    """Look a figure up by its path, "samples.frechet"; None where there is none."""
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return None if value is None else float(value)


def values(records: Iterable[Record], path: str) -> list[float]:
    """Collect a figure over seeds."""
    return [value for r in records if (value := at(r, path)) is not None]


def of_seed(records: Iterable[Record], seed: int) -> Record | None:
    """Find the record of a seed."""
    return next((r for r in records if r["seed"] == seed), None)


def real_images(found: Results, data: str) -> Record | None:
    """Find what real images score as new ones: the same beside each model."""
    for (of, _), records in found.items():
        for record in records:
            floor: Record | None = record.get("samples", {}).get("floor")
            if of == data and floor:
                return floor
    return None


def number(value: float) -> str:
    """Write three figures; whole numbers whole."""
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def spread(found: list[float]) -> str:
    """Write a mean, and the least and the most where they differ."""
    if not found:
        return "–"
    mean = number(sum(found) / len(found))
    if min(found) == max(found):
        return mean
    least, most = number(min(found)), number(max(found))
    return f"{mean} ({least}{' to ' if min(found) < 0 else '-'}{most})"
