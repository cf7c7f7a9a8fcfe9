"""Tables of results as Markdown, and where their figures were taken."""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

NOT_YET = "Not measured yet.\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def geometric_mean(ratios: Iterable[float]) -> float:
    """Average ratios: as far above one as below leaves 1."""
    return float(np.exp(np.log(list(ratios)).mean()))


def mean_line(ratios: Collection[float], what: str = "") -> str:
    """Say what ratios are on average; `what` they are of, with a space before it."""
    mean = geometric_mean(ratios)
    return f"\nGeometric mean of the ratios{what}: {mean:.2f} ({len(ratios)} cases).\n"


def source(environment: dict[str, Any]) -> str:
    """Say where figures were taken."""
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    threads = environment.get("threads")
    used = f", {threads} thread{'s' * (threads > 1)}" if threads else ""
    return (
        f"\n{environment['cpu']}, {environment['cores']} cores{used}, "
        f"{environment['system']}; {versions}; commit {environment['commit']}.\n"
    )
