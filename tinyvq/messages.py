"""What tinyvq tells its user while it works, on standard error.

Standard output is left to results, so that `--json` can be piped.
"""

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


def say(text: str) -> None:
    """Print a message, if anybody listens.

    The reader of a pipe may be gone (`2>&1 | tee log`, where Ctrl-C stops tee, too): a
    message that cannot be printed must not end the work.
    """
    if sys.stderr is not None:  # it may be closed: 2>&-
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Tell whether standard error is a terminal that can draw a line anew."""
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return sys.stderr is not None and sys.stderr.isatty() and not dumb


def either(names: Iterable[str]) -> str:
    """Name some of which one is meant: "vqvae, vqgan or vae"."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def no_such(what: str, word: str, names: Iterable[str], told: str = "") -> str:
    """Write that a name is not known, and which of those that are may be meant.

    what  the names are of: "command"
    told  where no name is near: where to find them; all of them by default
    """
    names = list(names)
    near = [name for name in names if name.startswith(word)]
    alike = difflib.get_close_matches(word, names, n=3, cutoff=0.7)
    near += [name for name in alike if name not in near]
    if near:
        return f"there is no {what} {word}; do you mean {either(near[:5])}?"
    return f"there is no {what} {word}; {told or 'there is: ' + ', '.join(names)}"


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield items under a progress bar on a terminal, silently elsewhere."""
    if not on_terminal():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(
        items, what, total=total, console=Console(stderr=True), transient=True
    )


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for work that reports `done` and `total` itself; silent elsewhere."""
    if not on_terminal():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
