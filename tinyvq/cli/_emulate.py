"""`tinyvq emulate ...`: CUDA kernels on the CPU, watched."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tinyvq_kernels
from tinyvq_kernels import emulator, use_kernels, use_source
from tyro.conf import Positional, arg

from tinyvq.cli._parse import parse
from tinyvq.errors import ConfigError
from tinyvq.function import Array
from tinyvq.messages import no_such, say
from tinyvq.rng import Stream

PREFIX = "cuda_emulated_"
MODES = {"races": "checked", "memory": "checked", "orders": "orders", "all": "all"}
# What ends a launch is told whatever was asked for.
ENDS = {"bounds", "alignment", "divergence", "division"}
ASKED = {
    "races": {"race", *ENDS},
    "memory": {"uninitialised", *ENDS},
    "orders": {"orders", *ENDS},
    "all": set(emulator.KINDS),
}


@dataclass(frozen=True)
class Emulate:
    """Run an operation's CUDA kernels on the CPU, and watch what their threads do:
    races, reads of what nobody wrote, accesses outside of an array. Needs g++.
    """

    op: Annotated[Positional[str], arg(metavar="OP")]
    """The operation, such as matmul."""
    variant: Annotated[str | None, arg(metavar="RUNG")] = None
    """One rung of its ladder, such as tiled; all by default."""
    check: Literal["races", "memory", "orders", "all"] = "all"
    """What is looked for; orders runs the threads in other orders."""
    source: Annotated[Path | None, arg(metavar="FILE")] = None
    """A .cu file to run in the place of the shipped one of the same name."""
    json: bool = False
    """Print one JSON object to standard output."""


@dataclass(frozen=True)
class Ran:
    """A rung: what its launches were, and what was found."""

    rung: str
    launches: list[emulator.Launch]
    findings: list[emulator.Finding]


def emulate(args: Sequence[str]) -> int:
    """Run each emulatable rung of an operation at a small odd size."""
    asked = parse(Emulate, args, "emulate")
    rungs = _rungs(asked)
    arrays, call = CALLS[asked.op]()
    ran = []
    try:
        with _source(asked.source):
            for rung in rungs:
                ran.append(_run(asked, rung, arrays, call))
    except (emulator.CompilerMissing, emulator.CompilationFailed) as problem:
        raise ConfigError(str(problem)) from None
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    if asked.json:
        rows = [asdict(one) for one in ran]
        print(json.dumps({"op": asked.op, "arrays": shapes, "rungs": rows}))
    else:
        print("\n".join(_table(asked.op, shapes, ran)))
    findings = [found for one in ran for found in one.findings]
    for found in findings:
        say(str(found))
    return 1 if findings else 0


def _rungs(asked: Emulate) -> list[str]:
    """Name the rungs to run; raise ConfigError for what there is not."""
    ladders: dict[str, list[str]] = {}
    for kernel in tinyvq_kernels.kernels():
        if kernel.variant.startswith(PREFIX) and kernel.op in CALLS:
            rung = kernel.variant.removeprefix(PREFIX)
            ladders.setdefault(kernel.op, []).append(rung)
    if asked.op not in ladders:
        raise ConfigError(no_such("CUDA kernel", asked.op, sorted(ladders)))
    rungs = ladders[asked.op]
    if asked.variant is not None and asked.variant not in rungs:
        raise ConfigError(no_such(f"rung of {asked.op}", asked.variant, rungs))
    return rungs if asked.variant is None else [asked.variant]


@contextmanager
def _source(file: Path | None) -> Iterator[None]:
    """Put a file in the place of the shipped one that bears its name."""
    if file is None:
        yield
        return
    folder = Path(tinyvq_kernels.__file__).parent
    shipped = {
        path.name: path.relative_to(folder).as_posix() for path in folder.glob("*/*.cu")
    }
    if not file.is_file():
        raise ConfigError(f"there is no file {file}")
    if file.name not in shipped:
        raise ConfigError(
            f"{file} bears the name of no shipped file; there is: "
            f"{', '.join(sorted(shipped))}"
        )
    with use_source(shipped[file.name], file):
        yield


def _run(
    asked: Emulate,
    rung: str,
    arrays: dict[str, Any],
    call: Callable[..., object],
) -> Ran:
    given = [array.copy() for array in arrays.values()]
    with (
        emulator.emulation(MODES[asked.check]) as report,
        use_kernels(**{asked.op: PREFIX + rung}),
    ):
        call(*given)
    shown = {} if asked.source is None else {asked.source.name: str(asked.source)}

    def place(file: str) -> str:
        """Name a file as its reader does: the one that was given by its own path."""
        return shown.get(Path(file).name, file)

    return Ran(
        rung,
        [replace(launch, file=place(launch.file)) for launch in report.launches],
        [
            replace(found, file=place(found.file))
            for found in report.findings
            if found.kind in ASKED[asked.check]
        ],
    )


HEADS = (
    *("rung", "kernel", "blocks", "threads", "shared", "barriers", "shared", "global"),
    *("", "", "", "a block", "bytes", "a block", "reads/writes", "reads/writes"),
)


def _table(op: str, shapes: dict[str, list[int]], ran: list[Ran]) -> list[str]:
    """Write a line per launch."""
    told = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    rows: list[Sequence[str]] = [HEADS[:8], HEADS[8:]]
    for one in ran:
        for launch in one.launches:
            counts = (launch.blocks, launch.threads, launch.shared_bytes)
            shared = f"{launch.shared_reads}/{launch.shared_writes}"
            all_blocks = f"{launch.global_reads}/{launch.global_writes}"
            words = (*counts, launch.barriers, shared, all_blocks)
            rows.append((one.rung, launch.kernel, *map(str, words)))
    widths = [max(12, *(len(row[0]) for row in rows))]
    widths += [max(22, *(len(row[1]) for row in rows))]
    lines = [_line(row, *widths) for row in rows]
    count = sum(len(one.findings) for one in ran)
    found = f"{count} found" if count else "nothing found"
    return [f"{op} of {told}, float32", "", *lines, "", found]


def _line(words: Sequence[str], wide: int, wider: int) -> str:
    rung, kernel, blocks, threads, shared, barriers, *accesses = words
    return (
        f"{rung:<{wide}} {kernel:<{wider}} "
        f"{blocks:>6} {threads:>7} {shared:>7} {barriers:>8} "
        + " ".join(f"{access:>13}" for access in accesses)
    ).rstrip()


# A call of each operation, at sizes that no tile divides, of images with few channels:
# arrays by name, and the call.
Call = tuple[dict[str, Any], Callable[..., object]]


def _draw(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {
        name: Stream(0, f"emulate {name}").normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def _calls_of_values() -> dict[str, Callable[[], Call]]:
    def one(op: str, *names: str) -> Callable[[], Call]:
        shapes = dict.fromkeys(names, (3, 5, 7))
        return lambda: (_draw(**shapes), getattr(tinyvq_kernels, op))

    return {
        "relu": one("relu", "x"),
        "relu_grad": one("relu_grad", "y", "gy"),
        "silu": one("silu", "x"),
        "silu_grad": one("silu_grad", "x", "gy"),
    }


def _matmul() -> Call:
    return _draw(a=(2, 37, 29), b=(2, 29, 19)), tinyvq_kernels.matmul


def _pixel_sums() -> Call:
    return _draw(x=(5, 1201, 3)), tinyvq_kernels.pixel_sums


def _nearest_code() -> Call:
    return _draw(z=(67, 5), codes=(37, 5)), tinyvq_kernels.nearest_code


def _code_sums() -> Call:
    arrays = _draw(z=(67, 5))
    arrays["indices"] = Stream(0, "emulate indices").integers(9, 67)
    return arrays, lambda z, indices: tinyvq_kernels.code_sums(z, indices, 9)


def _running_means() -> Call:
    arrays = _draw(sums=(9, 5), total=(9, 5), average=(), codes=(9, 5))
    arrays["counts"] = Stream(0, "emulate counts").integers(3, 9)
    arrays["size"] = np.ones(9, np.float32)

    def call(
        sums: Array, total: Array, average: Array, codes: Array, *per_code: Array
    ) -> None:
        counts, size = per_code
        tinyvq_kernels.running_means(
            *(sums, counts, size, total, average, codes), rows=17, decay=0.9
        )

    return arrays, call


def _conv2d() -> Call:
    arrays = _draw(x=(2, 9, 7, 3), w=(3, 3, 3, 6), b=(6,))
    return arrays, lambda x, w, b: tinyvq_kernels.conv2d(x, w, b, stride=2, padding=1)


def _conv2d_input_grad() -> Call:
    return _draw(
        gy=(2, 5, 4, 8), w=(3, 3, 3, 8)
    ), lambda gy, w: tinyvq_kernels.conv2d_input_grad(
        gy, w, (9, 7), stride=2, padding=1
    )


def _conv2d_weight_grad() -> Call:
    return _draw(
        x=(2, 9, 7, 3), gy=(2, 5, 4, 6)
    ), lambda x, gy: tinyvq_kernels.conv2d_weight_grad(
        x, gy, (3, 3), stride=2, padding=1
    )


def _group_norm() -> Call:
    arrays = _draw(x=(2, 37, 6), weight=(6,), bias=(6,))
    return arrays, lambda x, weight, bias: tinyvq_kernels.group_norm(
        x, weight, bias, 3, 1e-6
    )


def _group_norm_grad() -> Call:
    arrays = _draw(x=(2, 37, 6), gy=(2, 37, 6), mean=(2, 3), rstd=(2, 3), weight=(6,))
    return arrays, tinyvq_kernels.group_norm_grad


def _attention() -> Call:
    arrays = _draw(q=(2, 37, 9), k=(2, 67, 9), v=(2, 67, 10))
    return arrays, lambda q, k, v: tinyvq_kernels.attention(q, k, v, True)


def _attention_grad() -> Call:
    arrays = _draw(q=(2, 37, 9), k=(2, 67, 9), v=(2, 67, 10), lse=(2, 37))
    arrays |= _draw(gy=(2, 37, 10))
    return arrays, lambda q, k, v, lse, gy: tinyvq_kernels.attention_grad(
        q, k, v, lse, gy, True
    )


def _adam() -> Call:
    settings: dict[str, Any] = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    arrays = _draw(p=(1021,), g=(1021,), m=(1021,))
    arrays["v"] = arrays["m"] ** 2
    numbers = tinyvq_kernels.adam_numbers([1], **settings)
    return arrays, lambda p, g, m, v: tinyvq_kernels.adam(
        [p], [g], [m], [v], numbers=numbers
    )


def _square_sum() -> Call:
    return _draw(x=(4099,)), lambda x: tinyvq_kernels.square_sum([x])


CALLS: dict[str, Callable[[], Call]] = {
    **_calls_of_values(),
    "matmul": _matmul,
    "pixel_sums": _pixel_sums,
    "nearest_code": _nearest_code,
    "code_sums": _code_sums,
    "running_means": _running_means,
    "conv2d": _conv2d,
    "conv2d_input_grad": _conv2d_input_grad,
    "conv2d_weight_grad": _conv2d_weight_grad,
    "group_norm": _group_norm,
    "group_norm_grad": _group_norm_grad,
    "attention": _attention,
    "attention_grad": _attention_grad,
    "adam": _adam,
    "square_sum": _square_sum,
}
