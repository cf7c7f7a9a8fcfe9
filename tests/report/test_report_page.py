"""A run's page, as its file and as a browser shows it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from required import absent
from training.kind_examples import words_of, write_labelled

from tinyvq.cli import main
from tinyvq.errors import RunError
from tinyvq.report import write_page
from tinyvq.training.run import create, open_run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
# Counts what a reader would see: pictures that have loaded, and nothing too wide.
PROBE = """<script>addEventListener("load", () => {
  const all = [...document.images];
  document.body.innerHTML = JSON.stringify({
    pictures: all.length, loaded: all.filter(i => i.naturalWidth > 0).length,
    wide: document.documentElement.scrollWidth > innerWidth,
    text: document.body.innerText});
});</script>"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    images = write_labelled(folder / "images.npz")
    assert main(words_of("vqgan", folder / "vqgan", images)) == 0
    assert main(words_of("prior", folder / "prior", folder / "vqgan")) == 0
    return folder


@pytest.mark.parametrize("kind", ["vqgan", "prior"])
def test_the_page_says_what_the_run_is(kind: str, runs: Path) -> None:
    run = open_run(runs / kind)
    page = write_page(run).read_text()
    assert f"a {kind} run · step 8 of 8" in page
    for name, value in {**run.options, **run.versions}.items():
        assert name.replace("_", " ") in page
        assert str(value if isinstance(value, str) else json.dumps(value)) in page
    if kind == "vqgan":
        assert "adaptive weight" in page
    else:
        assert "the training image that is nearest to it" in page
    # The same run gives the same page, to the byte.
    before = (runs / kind / "report.html").read_bytes()
    assert write_page(run).read_bytes() == before


def test_names_cannot_break_the_page(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "<script>alert(1)"
    shutil.copytree(runs / "prior", run)
    page = write_page(open_run(run)).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_run_that_has_logged_nothing_is_told(tmp_path: Path) -> None:
    run = create(tmp_path / "run", "vqvae", {"steps": 1}, {})
    with pytest.raises(RunError, match="has logged nothing yet; train it first"):
        write_page(run)


@pytest.mark.parametrize("kind", ["vqgan", "prior"])
def test_a_browser_shows_the_whole_page(kind: str, runs: Path, tmp_path: Path) -> None:
    if BROWSER is None:
        absent("BROWSER", "no Chromium on this machine")
    page = write_page(open_run(runs / kind), tmp_path / "page.html")
    page.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    shown = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu"),
            *("--window-size=900,900", f"--user-data-dir={tmp_path / 'profile'}"),
            # No network: what is not in the file is not there.
            *("--proxy-server=127.0.0.1:9", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
    ).stdout
    (body,) = re.findall(r"<body>(.*)</body>", shown, re.DOTALL)
    seen = json.loads(body.replace("&lt;", "<").replace("&gt;", ">"))
    assert seen["pictures"] == seen["loaded"] >= 5
    assert not seen["wide"]
    for heading in ("Curves", "Configuration", "Data", "Environment"):
        assert heading in seen["text"]
