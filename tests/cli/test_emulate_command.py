"""`tinyvq emulate`: its table, its object, what it finds and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import tinyvq_kernels
from cli.command_line import fails, figures, succeeds, tinyvq
from kernels.emulated import needs_compiler
from required import library
from tinyvq_kernels import emulator
from tinyvq_kernels.emulator import build

library("tyro")

from tinyvq.cli import _emulate  # noqa: E402

pytestmark = needs_compiler
ROOT = Path(__file__).parent.parent.parent
SHIPPED = Path(tinyvq_kernels.__file__).parent / "gemm" / "matmul.cu"
BARRIER = "        __syncthreads();  // the tiles are whole\n"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The matrix product, tiled, without the barrier ahead of its products."""
    file = tmp_path / "matmul.cu"
    file.write_text(SHIPPED.read_text().replace(BARRIER, "", 1))
    return file


def emulated() -> dict[str, list[str]]:
    ladders: dict[str, list[str]] = {}
    for kernel in tinyvq_kernels.kernels():
        op, _, rung = kernel.variant.partition("cuda_emulated_")
        if not op and rung:
            ladders.setdefault(kernel.op, []).append(rung)
    return ladders


def test_every_operation_with_a_cuda_kernel_can_be_run() -> None:
    assert emulated().keys() <= _emulate.CALLS.keys()


@pytest.mark.parametrize("op", emulated())
def test_nothing_is_found_in_what_is_shipped(op: str) -> None:
    result = succeeds("emulate", op)
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0].startswith(f"{op} of ")
    assert lines[0].endswith(", float32")
    assert lines[-1] == "nothing found"
    rungs = {line.split()[0] for line in lines[4:-2]}
    assert rungs == set(emulated()[op])


def test_the_object_has_every_launch() -> None:
    found: dict[str, Any] = figures(succeeds("emulate", "matmul", "--json"))
    assert (found["op"], found["arrays"]["a"]) == ("matmul", [2, 37, 29])
    (tiled,) = [rung for rung in found["rungs"] if rung["rung"] == "tiled"]
    (launch,) = tiled["launches"]
    # c (2,37,19) in tiles of 16×16; two tiles of 16×16 floats; two barriers for each
    # of two tiles along 29.
    assert launch == {
        **{"kernel": "matmul_tiled", "file": "gemm/matmul.cu"},
        **{"grid": [2 * 3 * 2, 1, 1], "block": [16, 16, 1]},
        **{"shared_bytes": 2 * 16 * 16 * 4, "barriers": 4},
        **{"shared_reads": 12 * 256 * 2 * 32, "shared_writes": 12 * 256 * 4},
        **{"global_reads": 2 * 37 * 29 * 2 + 2 * 29 * 19 * 3},
        **{"global_writes": 2 * 37 * 19},
    }
    assert tiled["findings"] == []


def test_a_barrier_that_was_removed_is_missed(broken: Path) -> None:
    result = tinyvq("emulate", "matmul", "--source", broken)
    assert result.status == 1
    assert result.out.splitlines()[-1] == "7 found"
    told = result.err.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        *["uninitialised"] * 2,
        *["race"] * 4,
        "orders",
    ]
    assert all(f"matmul_tiled, {broken}:" in line for line in told[:-1])
    assert f"matmul_tiled, {broken}: " in told[-1]


def test_the_document_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but where it breaks lines."""
    monkeypatch.chdir(tmp_path)
    text = " ".join((ROOT / "docs" / "cuda.md").read_text().split())
    broken = tmp_path / "matmul.cu"
    lines = SHIPPED.read_text().splitlines(keepends=True)
    kept = [line for line in lines if "nobody needs them any more" not in line]
    broken.write_text("".join(kept))
    words = ("emulate", "matmul", "--variant", "tiled", "--source", broken.name)
    told = tinyvq(*words)
    assert told.status == 1
    for shown in (f"{told.out} {told.err}", succeeds("emulate", "matmul").out):
        assert " ".join(shown.split()) in text


@pytest.mark.parametrize(
    ("check", "kinds"),
    [("races", {"race"}), ("memory", {"uninitialised"}), ("orders", {"orders"})],
)
def test_one_check_alone(broken: Path, check: str, kinds: set[str]) -> None:
    words = ("emulate", "matmul", "--source", broken, "--check", check, "--json")
    result = tinyvq(*words, "--variant", "tiled")
    assert result.status == 1
    found: dict[str, Any] = figures(result)
    (rung,) = found["rungs"]
    assert {finding["kind"] for finding in rung["findings"]} == kinds
    assert {found["file"] for found in rung["findings"]} == {str(broken)}
    assert {launch["file"] for launch in rung["launches"]} == {str(broken)}
    succeeds(*words, "--variant", "plain")


def test_what_there_is_not(tmp_path: Path) -> None:
    said = fails("emulate", "nothing")
    ops = ", ".join(sorted(emulated()))
    assert said == f"error: there is no CUDA kernel nothing; there is: {ops}"
    said = fails("emulate", "matmull")
    assert said == "error: there is no CUDA kernel matmull; do you mean matmul?"
    words = ("emulate", "matmul", "--variant")
    rungs = ", ".join(emulated()["matmul"])
    said = fails(*words, "nothing")
    assert said == f"error: there is no rung of matmul nothing; there is: {rungs}"
    said = fails(*words, "titled")
    assert said == "error: there is no rung of matmul titled; do you mean tiled?"
    missing = tmp_path / "matmul.cu"
    said = fails("emulate", "matmul", "--source", missing)
    assert said == f"error: there is no file {missing}"
    other = tmp_path / "other.cu"
    other.write_text("")
    said = fails("emulate", "matmul", "--source", other)
    assert said.startswith(f"error: {other} bears the name of no shipped file; there")
    assert tinyvq("emulate", "matmul", "--check", "all of it").status == 2


def test_a_source_that_does_not_compile(broken: Path) -> None:
    broken.write_text(broken.read_text() + "nothing\n")
    result = tinyvq("emulate", "matmul", "--source", broken)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: matmul.cu does not compile:\n")
    assert "nothing" in result.err


def forget() -> None:
    """Forget what this process has compiled, and with what."""
    emulator.device.program.cache_clear()
    build._version.cache_clear()
    build.compiler.cache_clear()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    forget()
    try:
        said = fails("emulate", "matmul")
    finally:
        monkeypatch.undo()
        forget()
    assert said == (
        "error: the CUDA emulator compiles kernels with g++, and there is no "
        "'no-such-compiler' on this machine's PATH (on Debian: apt install g++)"
    )
