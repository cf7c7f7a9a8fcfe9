"""Bugs planted into the shipped CUDA kernels, each caught by the mode that is named.

A bug is a replacement of text that occurs once in a .cu file. What catches it is a
check of the emulator ("race", "uninitialised", "bounds", "alignment", "divergence",
"division", "orders"), or "parity": a wrong result, and nothing else.
"""

from pathlib import Path

import pytest
from emulated import needs_compiler
from planted_bug import Bug
from planted_in_products import (
    attention_bugs,
    attention_grad_bugs,
    narrow_convolution_bugs,
    narrow_weight_bugs,
    register_matmul_bugs,
    tiled_matmul_bugs,
)
from planted_in_sums import (
    banded_bugs,
    codebook_bugs,
    pointwise_bugs,
    reduction_bugs,
    spread_bugs,
)
from tinyvq_kernels import _cuda, emulator

BUGS = [
    *pointwise_bugs(),
    *reduction_bugs(),
    *spread_bugs(),
    *banded_bugs(),
    *codebook_bugs(),
    *tiled_matmul_bugs(),
    *register_matmul_bugs(),
    *attention_bugs(),
    *attention_grad_bugs(),
    *narrow_convolution_bugs(),
    *narrow_weight_bugs(),
]


def caught(bug: Bug) -> set[str]:
    """What is told by the mode that must catch it; by all modes of a wrong result."""
    modes = {"orders": ["orders"], "parity": ["checked", "orders"]}
    told: set[str] = set()
    results = None
    for mode in modes.get(bug.caught_by, ["checked"]):
        with emulator.emulation(mode) as report:
            variant = f"cuda_emulated_{bug.rung}"
            results = bug.case.run(variant, bug.case.cast("float32"))
        told |= report.kinds
    if bug.caught_by == "parity":
        assert results is not None
        try:
            bug.case.check(results, bug.case.cast("float32"))
        except AssertionError:
            told.add("parity")
    return told


@needs_compiler
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.rung}: {bug.name}")
def test_is_caught(bug: Bug, tmp_path: Path) -> None:
    assert caught(bug) == set()
    text = (_cuda.FOLDER / bug.file).read_text()
    assert text.count(bug.old) == 1
    changed = tmp_path / "changed.cu"
    changed.write_text(text.replace(bug.old, bug.new))
    with _cuda.use_source(bug.file, changed):
        told = caught(bug)
    if bug.caught_by == "parity":
        assert told == {"parity"}
    else:
        assert bug.caught_by in told


def test_each_check_catches_something() -> None:
    assert {bug.caught_by for bug in BUGS} == {*emulator.KINDS, "parity"}
    assert len(BUGS) >= 12
