"""`tinyvq report`: a run on one page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyvq.cli._parse import RunFolder, check_suffix, make_room, parse
from tinyvq.messages import say
from tinyvq.report import write_page
from tinyvq.training import shipped
from tinyvq.training.trained import ALL_KINDS, open_kind


@dataclass(frozen=True)
class Report:
    """Write a run's curves, pictures and configuration as one HTML page."""

    run: RunFolder
    """The run folder."""
    out: Path | None = None
    """The page to write; by default report.html in the run folder."""

    def __post_init__(self) -> None:
        check_suffix(self.out, ".html", ".htm")


def report(args: Sequence[str]) -> int:
    """Write a run's page."""
    asked = parse(Report, args, "report")
    shipped.check_there(asked.run)
    _, run = open_kind(asked.run, ALL_KINDS)
    if asked.out is not None:
        make_room(asked.out)
    say(f"wrote {write_page(run, asked.out)}")
    return 0
