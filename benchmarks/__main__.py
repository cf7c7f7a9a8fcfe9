"""`tinyvq bench` and `python -m benchmarks`: time the cases asked for."""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS, Case, measure, summarise
from benchmarks.record import RESULTS, environment, write_json

AREAS = ("nearest_code", "vqvae_step")
RESULT = RESULTS / "cpu.json"


def cases(wanted: list[str]) -> list[Case]:
    """List the cases whose names begin with one of `wanted`; all if there is none.

    Only the areas asked for are imported, for each needs peers of its own.
    """
    found: list[Case] = []
    for area in AREAS:
        if not wanted or any(w.split("/")[0] == area for w in wanted):
            found += import_module(f"benchmarks.bench_{area}").CASES
    chosen = [c for c in found if not wanted or c.name.startswith(tuple(wanted))]
    if not chosen:
        sys.exit(f"error: no case {' '.join(wanted)}; the areas are {', '.join(AREAS)}")
    return chosen


def run(case: Case, *, rounds: int, toy: bool) -> dict[str, Any]:
    """Check and time one case; print a line a contender to standard error."""
    work = case.build(toy)
    record = {"what": case.what, **summarise(work, measure(work, rounds))}
    print(f"{case.name}: {case.what}", file=sys.stderr)
    for name, entry in record["contenders"].items():
        rate = entry.get("gflops_a_second")
        shown = f"  {rate:7.1f} GFLOP/s" if rate else ""
        print(f"  {name:<28}{entry['median_ms']:>10.2f} ms{shown}", file=sys.stderr)
    if "ratio" in record:
        low, high = record["ratio_quartiles"]
        print(
            f"  {record['fastest_peer']} takes {record['ratio']:.2f} times as long as "
            f"{OURS} ({low:.2f}-{high:.2f})",
            file=sys.stderr,
        )
    return record


def main(argv: list[str] | None = None) -> int:
    """Run benchmarks."""
    parser = argparse.ArgumentParser(
        prog="tinyvq bench", description=__doc__.splitlines()[0]
    )
    parser.add_argument("cases", nargs="*", help="names, or how they begin")
    parser.add_argument("--json", action="store_true", help="one object to stdout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--toy", action="store_true", help="tiny sizes, for a test")
    parser.add_argument("--save", nargs="?", type=Path, const=RESULT, default=None)
    asked = parser.parse_args(argv)
    records = {
        case.name: run(case, rounds=asked.rounds, toy=asked.toy)
        for case in cases(asked.cases)
    }
    result = {"environment": environment(), "cases": records}
    if asked.save:
        write_json(asked.save, result)
    if asked.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
