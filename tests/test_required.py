"""A test without what it needs is skipped with a reason, or fails where told to."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from required import LIBRARIES, PEERS, absent, library

ROOT = Path(__file__).parents[1]
MODULES = {  # of packages that are named otherwise
    **{"pillow": "PIL", "fonttools": "fontTools", "faiss-cpu": "faiss"},
    **{"scikit-learn": "sklearn", "scikit-image": "skimage"},
    "vector-quantize-pytorch": "vector_quantize_pytorch",
}
# Skips of what no package and no file could mend.
OF_THE_MACHINE = {
    "tests/memory.py": "a system that does not tell the peak of memory",
    "tests/benchmarks/test_every_case.py": "the same",
    "tests/test_leaks.py": "one thread alone",
    "tests/training/test_same_bits.py": "one thread alone",
}
# The convention itself; a mark must know at once, before its test is called.
OF_THE_CONVENTION = {"tests/required.py", "tests/kernels/emulated.py"}
OUTCOMES = (pytest.skip.Exception, pytest.fail.Exception)


def modules_of(requirements: list[str]) -> set[str]:
    names = {re.split(r"[<>=~! ]", text)[0] for text in requirements}
    return {MODULES.get(name, name) for name in names}


def test_the_lists_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = modules_of(project["dependencies"])
    assert needed == {"numpy", "numba", *LIBRARIES}
    peers = modules_of(project["optional-dependencies"]["peers"])
    assert peers | {"scipy"} == set(PEERS)


@pytest.mark.parametrize("demand", ["", "0", "1"])
def test_what_is_absent_is_a_skip_or_a_failure(
    demand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYVQ_REQUIRE_THING", demand)
    with pytest.raises(OUTCOMES, match="no thing: buy one") as caught:
        absent("THING", "no thing: buy one")
    assert caught.type is OUTCOMES[demand == "1"]


def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)  # an import of None fails
    for demand in "01":
        monkeypatch.setenv("TINYVQ_REQUIRE_LIBRARIES", demand)
        with pytest.raises(OUTCOMES, match="PIL is not installed") as caught:
            library("PIL.Image")
        assert caught.type is OUTCOMES[demand == "1"]


def skips(path: Path) -> bool:
    """Tell whether a file skips tests by pytest's own means."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ("skip", "skipif", "importorskip")
        and ast.unparse(node.value) in ("pytest", "pytest.mark")
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_no_test_is_skipped_by_other_means() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("tests/**/*.py")
        if path != Path(__file__) and skips(path)
    }
    assert found == OF_THE_MACHINE.keys() | OF_THE_CONVENTION


def test_all_that_can_be_demanded_is_in_the_table() -> None:
    asked = {
        what
        for path in ROOT.glob("tests/**/*.py")
        for what in re.findall(r'(?:absent|demanded)\(\s*"([A-Z_]+)"', path.read_text())
    }
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (`[A-Z].*?) \|", text, re.MULTILINE)
    told = {what for row in rows for what in re.findall(r"`([A-Z_]+)`", row)}
    assert asked - {"THING"} == told


def test_every_make_target_that_tests_demands_the_libraries() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    recipes = [line for line in makefile.splitlines() if "-m pytest" in line]
    alone = [line for line in recipes if "-p core_alone" in line]
    assert len(alone) == 1
    assert len(recipes) == 4
    for line in recipes:
        assert ("TINYVQ_REQUIRE_LIBRARIES=1" in line) == (line not in alone)


def run_pytest(*words: str, demand: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the core's packages alone."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "core_alone", *words),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path]),
            "TINYVQ_REQUIRE_LIBRARIES": demand,
            "TINYVQ_REQUIRE_TORCH": demand,
        },
        check=False,
        capture_output=True,
        text=True,
    )


def test_with_the_core_alone_every_test_is_found_or_told_why_not() -> None:
    done = run_pytest("--collect-only", demand="0")
    assert done.returncode == 0, done.stdout
    found = set(re.findall(r"^(tests/[\w/]+\.py)::", done.stdout, re.MULTILINE))
    assert {f"tests/{path}" for path in CORE} <= found
    reasons = set(re.findall(r"required\.py:\d+: (.*)", done.stdout))
    missing = {reason.removesuffix(" is not installed") for reason in reasons}
    assert missing <= {*LIBRARIES, *PEERS}


# Some of each room.
CORE = (
    *["test_tensor.py", "test_function.py", "test_optim.py", "test_rng.py"],
    *["ops/test_specs.py", "nn/test_layers.py", "kernels/test_parity.py"],
    *["quantizers/test_vector_quantizer.py", "losses/test_loss_specs.py"],
    *["testing/test_check_grads.py", "models/test_vqvae_model.py"],
    *["data/test_batches.py", "metrics/test_pixel_metrics.py"],
    *["training/test_guard.py", "test_house.py"],
)


@pytest.mark.parametrize("path", ["tests/data/test_pictures.py", "tests/report"])
def test_libraries_that_are_demanded_are_not_passed_over(path: str) -> None:
    done = run_pytest("-x", path, demand="1")
    assert done.returncode in (1, 2)
    assert "(and TINYVQ_REQUIRE_LIBRARIES=1)" in done.stdout
