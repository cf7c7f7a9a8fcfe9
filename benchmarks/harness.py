"""Time tinyvq and its peers fairly: checked first, then by turns in one process.

A `Case` makes `Work`: the same job as a function of each contender, and a check that
all of them do that job. `measure` runs them by turns, with an idle gap before each, for
the thread pools of OpenBLAS and OpenMP spin a while after their call and would be
charged to the next one. What counts is the ratio of medians; the machine is shared and
an absolute time means little.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IDLE = 0.02  # seconds before each call; OpenMP's pools spin for a few milliseconds
OURS = "tinyvq"


@dataclass(frozen=True)
class Work:
    """One job, by several contenders.

    contenders  what each does, once; "tinyvq" is ours
    check       raises unless all of them give the same
    flops       of one run, for the rate; 0 where a rate means nothing
    """

    contenders: Mapping[str, Callable[[], Any]]
    check: Callable[[], None]
    flops: float = 0.0


@dataclass(frozen=True)
class Case:
    """A benchmark by name.

    build  makes the work; its argument is whether a toy size will do (for the tests)
    """

    name: str
    what: str
    build: Callable[[bool], Work]


@dataclass
class Timing:
    """Seconds of one contender's calls; the first one, which may compile, apart."""

    first: float
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of all but the first."""
        return float(np.median(self.seconds))


def measure(work: Work, rounds: int) -> dict[str, Timing]:
    """Check the work, then time all contenders by turns, `rounds` times."""
    timings = {name: Timing(_time(run)) for name, run in work.contenders.items()}
    work.check()
    for run in work.contenders.values():
        run()  # pools are up, caches are warm
    names = list(work.contenders)
    for k in range(rounds):
        shift = k % len(names)
        for name in names[shift:] + names[:shift]:  # each comes first in its turn
            time.sleep(IDLE)
            timings[name].seconds.append(_time(work.contenders[name]))
    return timings


def summarise(work: Work, timings: Mapping[str, Timing]) -> dict[str, Any]:
    """Make the record of a case: medians, spread, and the ratio to the fastest peer."""
    record: dict[str, Any] = {"contenders": {}}
    for name, timing in timings.items():
        low, high = np.percentile(timing.seconds, [25, 75])
        entry = {
            "median_ms": round(1e3 * timing.median, 4),
            "quartiles_ms": [round(1e3 * low, 4), round(1e3 * high, 4)],
            "first_ms": round(1e3 * timing.first, 2),
        }
        if work.flops:
            entry["gflops_a_second"] = round(work.flops / timing.median / 1e9, 1)
        record["contenders"][name] = entry
    peers = {name: t for name, t in timings.items() if name != OURS}
    if peers and OURS in timings:
        fastest = min(peers, key=lambda name: peers[name].median)
        pairs = np.array(peers[fastest].seconds) / np.array(timings[OURS].seconds)
        record["fastest_peer"] = fastest
        record["ratio"] = round(peers[fastest].median / timings[OURS].median, 3)
        record["ratio_quartiles"] = [
            round(float(q), 3) for q in np.percentile(pairs, [25, 75])
        ]
    return record


def _time(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
