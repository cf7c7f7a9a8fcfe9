"""`tinyvq bench` and `python -m benchmarks`: time the cases asked for."""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS, UNITS, Case, measure, summarise
from benchmarks.record import RESULTS, environment, held_back, write_json
from benchmarks.roofs import highest, measure_roofs
from tinyvq.messages import no_such, say

AREAS = (
    "nearest_code",
    "convolutions",
    "vqvae_step",
    "vqgan_step",
    "sampling",
    "memory",
    "startup",
    "scaling",
    "ladders",
)
RESULT = RESULTS / "cpu.json"


def cases(wanted: list[str]) -> list[Case]:
    """List the cases whose names begin with one of `wanted`; all if there is none.

    Only the areas asked for are imported, for each needs peers of its own.
    """
    found: list[Case] = []
    for area in AREAS:
        if not wanted or any(w.split("/")[0] == area for w in wanted):
            found += import_module(f"benchmarks.bench_{area}").CASES
    for word in wanted:
        if not any(case.name.startswith(word) for case in found):
            names = (*AREAS, *(case.name for case in found))
            told = f"the areas are {', '.join(AREAS)}"
            sys.exit(f"error: {no_such('case', word, names, told)}")
    return [c for c in found if not wanted or c.name.startswith(tuple(wanted))]


def run(case: Case, *, rounds: int, toy: bool) -> dict[str, Any]:
    """Check and measure one case; print a line a contender to standard error."""
    work = case.build(toy)
    record = {"what": case.what, **summarise(work, measure(work, rounds))}
    if case.promise is not None:
        record["promised"] = case.promise
    print(f"{case.name}: {case.what}", file=sys.stderr)
    for name, entry in record["contenders"].items():
        median = entry[f"median_{work.unit}"]
        shown = f"  {name:<32}{median:>10.2f} {UNITS[work.unit]}"
        for rate, rate_unit in (("gflops", "GFLOP/s"), ("tokens", "tokens/s")):
            if f"{rate}_a_second" in entry:
                shown += f"  {entry[f'{rate}_a_second']:9.1f} {rate_unit}"
        print(shown, file=sys.stderr)
    for name, why in record.get("left_out", {}).items():
        print(f"  {name} is left out: {why}", file=sys.stderr)
    if "ratio" in record:
        low, high = record["ratio_quartiles"]
        best = record.get("fastest_peer") or record["leanest_peer"]
        takes = "as long" if work.timed else "as much"
        print(
            f"  {best} takes {record['ratio']:.2f} times {takes} as {OURS} "
            f"({low:.2f}-{high:.2f})",
            file=sys.stderr,
        )
    return record


def save(path: Path, result: dict[str, Any]) -> None:
    """Write a result; cases and roofs that were measured before in this place stay."""
    if path.exists():
        before = json.loads(path.read_text())
        if before["environment"] == result["environment"]:
            result = {
                **result,
                "roofs": highest(before.get("roofs", {}), result["roofs"]),
                "cases": before["cases"] | result["cases"],
            }
    write_json(path, result)


def main(argv: list[str] | None = None) -> int:
    """Run benchmarks."""
    parser = argparse.ArgumentParser(
        prog="tinyvq bench", description=__doc__.splitlines()[0]
    )
    parser.add_argument("cases", nargs="*", help="names, or how they begin")
    parser.add_argument("--json", action="store_true", help="one object to stdout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--toy", action="store_true", help="tiny sizes, for a test")
    parser.add_argument(
        "--save",
        nargs="?",
        type=Path,
        const=RESULT,
        default=None,
        help="into a file, after each case; by default benchmarks/results/cpu.json",
    )
    asked = parser.parse_args(argv)
    if asked.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {asked.rounds}")
    if asked.toy and asked.save:
        parser.error("--toy measures nothing that is worth saving")
    if held := held_back():
        told = f"{held} holds a library back: unset it, or the figures are of that"
        if asked.save:
            parser.error(told)
        say(f"warning: {told}")
    chosen = cases(asked.cases)
    result: dict[str, Any] = {
        "environment": environment(),
        "roofs": measure_roofs(),
        "cases": {},
    }
    for name, roof in result["roofs"].items():
        print(f"{name}: {roof:.1f}", file=sys.stderr)
    for case in chosen:
        result["cases"][case.name] = run(case, rounds=asked.rounds, toy=asked.toy)
        if asked.save:
            save(asked.save, result)
    if asked.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
