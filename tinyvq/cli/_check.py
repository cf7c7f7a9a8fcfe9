"""Prove the gradients; compile the kernels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated

from tinyvq_kernels import is_warm
from tyro.conf import Positional, arg

from tinyvq.cli._parse import check_counts, parse
from tinyvq.errors import ConfigError, GradientError
from tinyvq.losses import _specs as loss_specs
from tinyvq.messages import no_such, say, track
from tinyvq.ops import _specs as op_specs
from tinyvq.quantizers import _specs as quantizer_specs
from tinyvq.testing import OpSpec, verify
from tinyvq.training.progress import compile_kernels

Worst = dict[str, float | None]  # the largest errors of an op, by what they are of

ALL_SPECS: tuple[OpSpec, ...] = (
    *op_specs.SPECS,
    *quantizer_specs.SPECS,
    *loss_specs.SPECS,
)


@dataclass(frozen=True)
class Gradcheck:
    """Check every op, loss and quantizer: gradients against finite differences, values
    against plain NumPy, adjoints, memory layouts, float32 against float64.
    """

    names: Annotated[
        Positional[tuple[str, ...]], arg(metavar="[NAME ...]", help_behavior_hint="")
    ] = ()
    """Which ones; all by default."""
    cases: int = 10
    """Random calls of each."""
    seed: int = 0
    """Draws shapes, settings and values."""
    json: bool = False
    """Print one JSON object to standard output."""

    def __post_init__(self) -> None:
        check_counts(cases=self.cases)


def gradcheck(args: Sequence[str]) -> int:
    """Check every gradient; print a table of the worst errors."""
    listed = f"NAME is one of {', '.join(spec.name for spec in ALL_SPECS)}."
    what = f"{' '.join(cleandoc(Gradcheck.__doc__ or '').split())}\n\n{listed}"
    asked = parse(Gradcheck, args, "gradcheck", what=what)
    chosen = _chosen(asked.names)
    compile_kernels()
    rows = {}
    failures = []
    for spec in track(chosen, "checking", len(chosen)):
        try:
            rows[spec.name] = _worst(spec, asked.cases, asked.seed)
        except GradientError as problem:
            failures.append(f"{spec.name}: {problem}")
    if asked.json:
        print(json.dumps({"cases": asked.cases, "seed": asked.seed, "worst": rows}))
    else:
        _print_table(rows, asked.cases)
    for failure in failures:
        say(f"FAILED {failure}")
    if failures:
        raise GradientError(f"{len(failures)} of {len(chosen)} failed")
    return 0


def _chosen(names: Sequence[str]) -> list[OpSpec]:
    known = {spec.name: spec for spec in ALL_SPECS}
    for name in names:
        if name not in known:
            told = "`tinyvq gradcheck --help` names all"
            raise ConfigError(no_such("check", name, known, told))
    return [known[name] for name in names] if names else list(ALL_SPECS)


def _worst(spec: OpSpec, cases: int, seed: int) -> Worst:
    """Verify random calls of one op; return the largest error of each kind.

    adjoint  None where the op is linear in none of its inputs
    """
    reports = [verify(spec, spec.case(seed + i), seed + i) for i in range(cases)]
    adjoints = [r.adjoint for r in reports if r.adjoint is not None]
    return {
        "value": max(r.value for r in reports),
        "gradient": max(r.gradient for r in reports),
        "adjoint": max(adjoints, default=None),
        "value32": max(r.value32 for r in reports),
        "gradient32": max(r.gradient32 for r in reports),
    }


def _print_table(rows: dict[str, Worst], cases: int) -> None:
    heads = ("value", "gradient", "adjoint", "value", "gradient")
    print(f"largest error over {cases} random calls, relative to the largest value")
    print(f"{'':<36}{'float64':^30}{'float32':^20}")
    print(f"{'':<36}{''.join(f'{head:>10}' for head in heads)}")
    for name, worst in rows.items():
        errors = ("–" if error is None else f"{error:.1e}" for error in worst.values())
        print(f"{name:<36}{''.join(f'{error:>10}' for error in errors)}")
    print(
        f"{len(rows)} right: value against NumPy, gradient against differences, "
        "adjoint where linear"
    )


@dataclass(frozen=True)
class Compile:
    """Compile the kernels for this machine: once, tens of seconds."""


def compile_now(args: Sequence[str]) -> int:
    """Compile the kernels for this machine."""
    parse(Compile, args, "compile")
    if is_warm():
        say("the kernels are compiled already")
    compile_kernels()
    return 0
