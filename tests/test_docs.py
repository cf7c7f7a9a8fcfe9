"""Every Python block of the documents runs, each document from top to bottom."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "benchmarks" / "README.md", ROOT / "kernels" / "README.md"]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *PAGES]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)")
PATH = re.compile(r"`((?:tinyvq|kernels|tests|benchmarks|docs)/[\w./-]+)`")


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)
def test_python_blocks_run(document: Path) -> None:
    names: dict[str, object] = {"__name__": "document"}
    text = document.read_text()
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        code = "\n" * line + block[1]  # so that an error names the document's line
        exec(compile(code, str(document), "exec"), names)


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    for target in LINK.findall(text):
        assert (document.parent / target).exists(), target
    for path in PATH.findall(text):
        assert (ROOT / path).exists(), path


def test_each_picture_is_shown_somewhere() -> None:
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for target in LINK.findall(document.read_text())
    }
    rows = "-row.png"  # what the pictures of the comparison are made of
    drawn = [p for p in ROOT.glob("docs/**/*.png") if not p.name.endswith(rows)]
    assert set(drawn) <= shown
