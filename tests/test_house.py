"""The house is built as CONTRIBUTING.md draws it, and its rooms are small.

Lengths are those of the packages; a file of tests may be longer. Docstrings are held by
the linter.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from required import LIBRARIES, PEERS

ROOT = Path(__file__).parent.parent
SOURCES = [*ROOT.glob("tinyvq/**/*.py"), *ROOT.glob("kernels/tinyvq_kernels/**/*.py")]

# Beside each other in the drawing, and yet one uses the other.
BESIDE = {
    ("training", "metrics"): "validation is measured while training",
    ("ops/_specs", "testing"): "what an op is, said once for all its tests",
}
# The package itself: it re-exports what stands in it, and is asked for its version.
TOP = {"__init__", "__main__"}

MAX_FILE, MAX_FUNCTION = 400, 60
LONG_FILES: dict[str, str] = {}
HEAVY = {*LIBRARIES, *PEERS, "hypothesis", "pytest"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def drawing() -> dict[str, int]:
    """Read the drawing: each room and its floor, the highest first."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"^## The house\n.*?\n\n((?:    .*\n)+)", text, re.M | re.S)
    floors = {}
    for floor, line in enumerate(block.splitlines()):
        for name in re.findall(r"(?:^|\s)([\w/]+?)(?:/|\.py)(?=\s|$)", line):
            floors[name.removeprefix("kernels/")] = floor
    return floors


def room(module: str) -> str:
    """Name the room of a module: tinyvq.ops._specs -> ops."""
    package, *rest = module.split(".")
    if package == "tinyvq_kernels":
        return package
    return rest[0] if rest else "__init__"


def corner(module: str) -> str:
    """Name the corner of a room: tinyvq.ops._specs._losses -> ops/_specs."""
    return "/".join(module.split(".")[1:3])


def module_of(path: Path) -> str:
    place = path.relative_to(ROOT / "kernels" if "kernels/" in str(path) else ROOT)
    return ".".join(place.with_suffix("").parts)


class Imports(ast.NodeVisitor):
    """Collects what a file imports, wherever in it; not what only types need."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute here"
        # `from tinyvq import ops` means tinyvq.ops; a name is cut off by `room`.
        self.found += [f"{node.module}.{alias.name}" for alias in node.names]


def imports_of(text: str) -> list[str]:
    """List the modules of ours that a file uses."""
    visitor = Imports()
    visitor.visit(ast.parse(text))
    ours = ("tinyvq", "tinyvq_kernels")
    return [name for name in visitor.found if name.split(".")[0] in ours]


def uses() -> Iterator[tuple[str, str]]:
    """Yield (module, room that it uses) for everything that crosses a wall."""
    names = {path.stem for path in (ROOT / "tinyvq").iterdir()}
    for path in SOURCES:
        module = module_of(path)
        for used in imports_of(path.read_text()):
            there = room(used)
            if there not in {*names, "tinyvq_kernels"}:
                there = "__init__"  # `from tinyvq import Tensor`
            if there != room(module):
                yield module, there


def allowed(module: str, there: str, floors: dict[str, int]) -> bool:
    here = room(module)
    if here in TOP:
        return True
    if there == "__init__":  # the package as a whole: for those at its top alone
        return here in ("cli", "training")
    below = floors[there] > floors[here]
    return below or (here, there) in BESIDE or (corner(module), there) in BESIDE


def test_the_drawing_shows_every_room() -> None:
    floors = drawing()
    rooms = {
        path.stem
        for path in (ROOT / "tinyvq").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert floors.keys() == (rooms - TOP) | {"tinyvq_kernels"}
    assert floors["cli"] < floors["training"] < floors["nn"] < floors["tensor"]
    assert floors["tinyvq_kernels"] == max(floors.values())


def test_a_file_uses_only_what_stands_below_it() -> None:
    floors = drawing()
    wrong = [use for use in uses() if not allowed(*use, floors)]
    assert wrong == []


def test_every_exception_is_needed() -> None:
    floors = drawing()
    needed = set()
    for module, there in uses():
        crosses = room(module) not in TOP and there != "__init__"
        if crosses and floors[there] <= floors[room(module)]:
            needed |= {(room(module), there), (corner(module), there)} & BESIDE.keys()
    assert needed == BESIDE.keys()


@pytest.mark.parametrize(
    ("module", "text", "fine"),
    [
        ("tinyvq.nn._layers", "from tinyvq import ops", True),
        ("tinyvq.nn._layers", "from tinyvq.models import VQVAE", False),
        ("tinyvq.nn._layers", "def f():\n    import tinyvq.models", False),
        ("tinyvq.nn._layers", "if TYPE_CHECKING:\n    from tinyvq import models", True),
        ("tinyvq.metrics._pixels", "from tinyvq.training import loop", False),
        ("tinyvq.ops._losses", "from tinyvq.testing import OpSpec", False),
        ("tinyvq.ops._specs", "from tinyvq.testing import OpSpec", True),
        ("tinyvq.testing._spec", "from tinyvq import ops", False),
        ("tinyvq_kernels.gemm", "from tinyvq.errors import ShapeError", False),
        ("tinyvq.function", "from tinyvq.tensor import Tensor", False),
        ("tinyvq.report._runs", "from tinyvq.cli import main", False),
        ("tinyvq.nn._layers", "from tinyvq import Tensor", False),
    ],
)
def test_the_rule_sees_what_is_wrong(module: str, text: str, fine: bool) -> None:
    floors = drawing()
    (used,) = imports_of(text) or ["tinyvq.errors"]
    there = room(used)
    there = there if there in floors else "__init__"
    assert allowed(module, there, floors) == fine


def run_python(program: str) -> str:
    """Run a program in a fresh process that has what this one has."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    "statement",
    ["import tinyvq", "import tinyvq.data", "import tinyvq.metrics, tinyvq.training"],
)
def test_an_import_needs_numpy_and_numba_alone(statement: str) -> None:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    loaded = {name.split(".")[0] for name in run_python(program).split()}
    assert "numba" in loaded
    assert loaded & HEAVY <= {"scipy"}  # which Numba loads where it is installed


WORK = """
import numpy as np
from tinyvq import Tensor, data, models, ops, optim, testing

images = data.load("fashion-mnist-5k").split("train").images
batch = Tensor(data.to_unit(images[data.batch_indices(len(images), 4, 1, seed=0)]))
model = models.VQVAE.preset(
    "conv", channels=1, hidden=8, residual_hidden=4, code_dim=4, num_codes=8
)
output = model(batch)
output.loss.backward()
optim.Adam(model.parameters(), lr=1e-3).step()
model.quantizer.update(output.stats)
testing.check_grads(ops.tanh, np.ones((2, 3)))
print(model.decode(model.encode(batch)).shape)
"""


def test_the_core_works_where_nothing_else_can_be_imported() -> None:
    block = f"import sys\nsys.modules.update(dict.fromkeys({sorted(HEAVY)}))\n"
    assert run_python(block + WORK) == "(4, 28, 28, 1)\n"


def test_files_are_short() -> None:
    long = {
        relative(path): count
        for path in SOURCES
        if (count := len(path.read_text().splitlines())) > MAX_FILE
    }
    assert long.keys() <= LONG_FILES.keys(), long


def test_functions_are_short() -> None:
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MAX_FUNCTION:
                    long[f"{relative(path)}: {node.name}"] = length
    assert long == {}


def test_a_module_never_bears_the_name_of_what_its_package_re_exports() -> None:
    """Or `from tinyvq.data import load` would give now one, now the other."""
    clashes = []
    for package in [path for path in SOURCES if path.name == "__init__.py"]:
        modules = {path.stem for path in package.parent.iterdir()}
        for node in ast.parse(package.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                clashes += [
                    f"{relative(package)}: {alias.name}"
                    for alias in node.names
                    if (alias.asname or alias.name) in modules
                    and not is_module(f"{node.module}.{alias.name}")
                ]
    assert clashes == []


def is_module(name: str) -> bool:
    path = Path(*name.split("."))
    return any(
        (root / path).is_dir() or (root / path).with_suffix(".py").exists()
        for root in (ROOT, ROOT / "kernels")
    )


def test_there_is_no_room_for_odds_and_ends() -> None:
    odd = {"utils", "util", "helpers", "common", "misc"}
    assert {path.stem for path in SOURCES} & odd == set()


def test_the_kernels_page_names_each_folder_and_what_there_is_to_read() -> None:
    page = (ROOT / "kernels" / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", page, re.MULTILINE)
    rooms = {p.parent.name for p in ROOT.glob("kernels/tinyvq_kernels/*/__init__.py")}
    assert {folder for folder, _ in rows} == rooms
    for folder, to_read in rows:
        for file in re.findall(r"`([\w./]+\.\w+)`", to_read):
            assert (ROOT / "kernels" / "tinyvq_kernels" / folder / file).exists()


def test_both_packages_are_typed() -> None:
    assert (ROOT / "tinyvq" / "py.typed").exists()
    assert (ROOT / "kernels" / "tinyvq_kernels" / "py.typed").exists()
    assert not (ROOT / "kernels" / "__init__.py").exists()
