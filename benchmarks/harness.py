"""Measure tinyvq and its peers fairly: checked first, then by turns in one process.

A `Case` makes `Work`: the same job as a function of each contender, and a check that
all of them do that job, by what their first calls have returned. `measure` runs them by
turns, in another order each round. Before each is an idle gap, for the thread pools of
OpenBLAS and OpenMP spin a while after their call and would be charged to the next one,
and a call that does not count, for caches and pools are another's by then. What counts
is the median of the ratios, round by round; the machine is shared and an absolute time
means little.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from tinyvq_kernels import keep_freed_memory

TURN = 0.05  # seconds that a turn of the fastest takes, about, ...
MOST_CALLS = 30  # ... in no more calls than this
IDLE = 0.02  # seconds before each turn; OpenMP's pools spin for a few milliseconds
HEAP = 2**28  # bytes that contenders find: less than is kept, more than any needs
OURS = "tinyvq"
UNITS = {"ms": "ms", "s": "s", "mb": "MB", "faults": "faults"}  # as they are written

Run = Callable[[], Any]


class LeftOutError(Exception):
    """A contender cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Work:
    """One job, by several contenders.

    contenders  what each does, once; "tinyvq" is ours. The first call of one that
                cannot be had here raises LeftOutError
    check       takes what the first calls returned, by contender; raises AssertionError
                unless all of them did the job
    unit        "ms": calls are timed. Others, seconds, megabytes or page faults: a call
                measures a fresh process and returns what it read there as an attribute
                `reading`
    flops       of one run, for the rate; 0 where a rate means nothing
    tokens      drawn by one run, likewise
    most_rounds   for what takes so long that a few must do
    """

    contenders: Mapping[str, Run]
    check: Callable[[Mapping[str, Any]], None]
    unit: Literal["ms", "s", "mb", "faults"] = "ms"
    flops: float = 0.0
    tokens: int = 0
    most_rounds: int = sys.maxsize

    @property
    def timed(self) -> bool:
        """Whether calls are timed, and do not measure themselves."""
        return self.unit == "ms"


@dataclass(frozen=True)
class Case:
    """A benchmark by name.

    build    makes the work; its argument is whether a toy size will do (for the tests)
    promise  the most that tinyvq may take, in the unit, where it promises something
    """

    name: str
    what: str
    build: Callable[[bool], Work]
    promise: float | None = None


@dataclass
class Readings:
    """Milliseconds, or what else the unit is, of one contender's calls.

    first   of the first call, which may compile
    values  of all calls that count
    """

    first: float
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of all that count."""
        return float(np.median(self.values))


@dataclass(frozen=True)
class Measured:
    """What `measure` found: readings by contender, and who was left out, and why."""

    readings: Mapping[str, Readings]
    left_out: Mapping[str, str]


def measure(work: Work, rounds: int) -> Measured:
    """Check the work, then measure all contenders by turns, `rounds` times.

    A turn is several calls where one is short, after one that does not count, so that
    what it takes to wake a thread pool is not what is measured. What is read in a fresh
    process each time is read once a turn, and there the first call counts.
    """
    rounds = min(rounds, work.most_rounds)
    keep_freed_memory()  # of all contenders, as tinyvq does in training
    _ask_for_huge_pages()
    readings, left_out, results = {}, {}, {}
    for name, run in work.contenders.items():
        try:
            value, results[name] = _read(work, run)
        except LeftOutError as why:
            left_out[name] = str(why)
            continue
        readings[name] = Readings(value)
    work.check(results)
    names = list(readings)
    if not work.timed:
        for reading in readings.values():
            reading.values.append(reading.first)
        rounds -= 1
    calls = _calls_a_turn(work, names) if work.timed else 1
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for name in order.permutation(names):
            time.sleep(IDLE)
            run = work.contenders[name]
            if work.timed:
                run()
            turn = [_read(work, run)[0] for _ in range(calls)]
            readings[name].values.append(float(np.mean(turn)))
    return Measured(readings, left_out)


def _ask_for_huge_pages() -> None:
    """Let all contenders find memory in huge pages, as NumPy asks for its own.

    What it asks for stays so when it is freed, and is what all allocate from. Without,
    faiss takes 13 ms or 7 for the same search, by what ran before it.
    """
    np.ones(HEAP // 8)


def _calls_a_turn(work: Work, names: list[str]) -> int:
    """Count how often the fastest fits into a turn; now pools are up, caches warm."""
    warm = [_read(work, work.contenders[name])[0] for name in names]
    return max(1, min(MOST_CALLS, round(1e3 * TURN / min(warm))))


def summarise(work: Work, measured: Measured) -> dict[str, Any]:
    """Make the record of a case: medians, spread, and the ratio to the fastest peer.

    The ratio is the median of a peer's reading over ours of the same round: above 1
    where ours takes less. Page faults, of which there should be none, have no ratio.
    """
    readings, unit = measured.readings, work.unit
    rounds = max(len(reading.values) for reading in readings.values())
    record: dict[str, Any] = {"rounds": rounds, "contenders": {}}
    for name, reading in readings.items():
        low, high = np.percentile(reading.values, [25, 75])
        entry = {
            f"median_{unit}": round(reading.median, 4),
            f"quartiles_{unit}": [round(low, 4), round(high, 4)],
        }
        if work.timed:
            entry["first_ms"] = round(reading.first, 2)
        if work.flops:
            entry["gflops_a_second"] = round(work.flops / reading.median / 1e6, 1)
        if work.tokens:
            entry["tokens_a_second"] = round(1e3 * work.tokens / reading.median, 1)
        record["contenders"][name] = entry
    peers = {name: r for name, r in readings.items() if name != OURS}
    if peers and OURS in readings and unit != "faults":
        best = min(peers, key=lambda name: peers[name].median)
        pairs = np.array(peers[best].values) / np.array(readings[OURS].values)
        record["fastest_peer" if work.timed else "leanest_peer"] = best
        low, middle, high = np.percentile(pairs, [25, 50, 75]).round(3).tolist()
        record["ratio"], record["ratio_quartiles"] = middle, [low, high]
    if measured.left_out:
        record["left_out"] = dict(measured.left_out)
    return record


def or_left_out(run: Run) -> Run:
    """Leave a contender out where it fails, say one that has to compile first."""

    def attempt() -> Any:
        try:
            return run()
        except Exception as problem:
            lines = f"{type(problem).__name__}: {problem}".splitlines()
            raise LeftOutError(lines[0]) from problem

    return attempt


def not_at_toy_size() -> Any:
    """Stand for a contender that takes long to prepare, where only tests look."""
    raise LeftOutError("not at a toy size")


def assert_close(results: Mapping[str, Any], tolerance: float) -> None:
    """Raise AssertionError unless all numbers are ours, but for rounding.

    results    by contender, arrays of one shape, numbers or tuples of them
    tolerance  of the largest value of ours
    """
    ours = np.asarray(results[OURS], np.float64)
    assert np.isfinite(ours).all(), f"{OURS} makes NaN or infinity"
    most = tolerance * np.abs(ours).max()
    for name, result in results.items():
        theirs = np.asarray(result, np.float64)
        assert theirs.shape == ours.shape, f"{name}: {theirs.shape}, not {ours.shape}"
        error = np.abs(theirs - ours).max()
        assert error <= most, f"{name} is off by {error:.2g}; {most:.2g} is allowed"


def _read(work: Work, run: Run) -> tuple[float, Any]:
    """Run once; return what was read, in the unit, and what the run returned."""
    began = time.perf_counter()
    result = run()
    if work.timed:
        return 1e3 * (time.perf_counter() - began), result
    return float(result.reading), result
