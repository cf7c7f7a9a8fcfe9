"""Tables of results as Markdown, and where their figures were taken."""

from collections.abc import Iterable
from typing import Any

NOT_YET = "Not measured yet.\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def source(environment: dict[str, Any]) -> str:
    """Say where figures were taken."""
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    threads = environment.get("threads")
    used = f", {threads} thread{'s' * (threads > 1)}" if threads else ""
    return (
        f"\n{environment['cpu']}, {environment['cores']} cores{used}, "
        f"{environment['system']}; {versions}; commit {environment['commit']}.\n"
    )
