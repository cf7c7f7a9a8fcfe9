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


def source(*environments: dict[str, Any]) -> str:
    """Say where figures were taken: a line per machine, with all commits."""
    commits: dict[str, list[str]] = {}
    for environment in environments:
        of_machine = commits.setdefault(_machine(environment), [])
        if environment["commit"] not in of_machine:
            of_machine.append(environment["commit"])
    return "".join(
        f"\n{machine}; commit{'s' * (len(found) > 1)} {', '.join(found)}.\n"
        for machine, found in commits.items()
    )


def _machine(environment: dict[str, Any]) -> str:
    """Write what figures depend on but for the commit."""
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    threads = environment.get("threads")
    used = f", {threads} thread{'s' * (threads > 1)}" if threads else ""
    return (
        f"{environment['cpu']}, {environment['cores']} cores{used}, "
        f"{environment['system']}; {versions}"
    )
