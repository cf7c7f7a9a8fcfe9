"""`export`, and every command on what it wrote, in a folder or shipped by a name."""

import shutil
from pathlib import Path

import pytest
from cli.command_line import contents, fails, figures, succeeds
from training.kind_examples import OPTIONS, words_of, write_labelled

from tinyvq.training import shipped

KINDS = sorted(OPTIONS)
# Each command on a run; OUT is what it writes.
USES = {
    "sample": "sample prior --grid 2x3 --out OUT.png",
    "sample, a class": "sample prior --grid 2x3 --class 1 --nearest --out OUT.png",
    "sample of a VAE": "sample vae --grid 2x3 --out OUT.png",
    "sample of a GAN": "sample gan --grid 2x3 --out OUT.png",
    "sample of codes": "sample noise-vqgan --grid 2x3 --out OUT.png",
    "complete": "complete prior --images 2 --count 2 --out OUT.png",
    "complete, others": "complete prior --data images.npz --count 2 --out OUT.png",
    "interpolate": "interpolate vqvae --pairs 2 --out OUT.png",
    "interpolate, a prior": "interpolate prior --pairs 2 --out OUT.png",
    "augment": "augment prior --per-class 2 --out OUT.npz",
    "evaluate": "evaluate vqgan --json",
    "evaluate, a VAE": "evaluate vae --json",
    "evaluate, a prior": "evaluate prior --judge random-conv --json",
    "evaluate, a GAN": "evaluate gan --judge random-conv --json",
    "evaluate, codes of noise": "evaluate noise-vqgan --json",
    "reconstruct": "reconstruct vqvae --out OUT.png",
    "reconstruct, a VAE": "reconstruct vae --out OUT.png",
    "reconstruct, others": "reconstruct vqvae --data images.npz --out OUT.png",
    "encode": "encode vqvae images.npz --out OUT.npz",
    "decode": "decode vqvae codes.npz --out OUT",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of every kind under `runs`, and export each under `given`."""
    folder = tmp_path_factory.mktemp("folder")
    images = write_labelled(folder / "images.npz", size=12)
    runs = folder / "runs"
    for kind in ("vqvae", *[kind for kind in KINDS if kind != "vqvae"]):
        source = runs / "vqvae" if kind == "prior" else images
        succeeds(*words_of(kind, runs / kind, source))
    for kind in KINDS:
        succeeds("export", runs / kind, "--out", folder / "given" / kind)
    codes = folder / "codes.npz"
    succeeds("encode", runs / "vqvae", images, "--out", codes)
    return folder


def test_export_says_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = succeeds("export", folder / "runs" / "prior", "--out", out)
    size = sum(map(len, contents(out).values()))
    assert result.out == ""
    assert result.err == f"wrote {out}: a prior run of {size:,} bytes\n"
    half = tmp_path / "half"
    succeeds("export", folder / "runs" / "prior", "--out", half, "--half")
    assert sum(map(len, contents(half).values())) < 0.7 * size


@pytest.mark.parametrize("place", ["given", "shipped"])
@pytest.mark.parametrize("use", USES)
def test_a_command_does_with_it_what_it_does_with_the_run(
    use: str,
    place: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It names the images as images.npz, which are in the folder to stand in.
    for name in ("images.npz", "codes.npz"):
        shutil.copy(folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    kinds = {kind: str(folder / "given" / kind) for kind in KINDS}
    if place == "shipped":
        monkeypatch.setattr(shipped, "FOLDER", folder / "given")
        kinds = {kind: kind for kind in KINDS}
    command, kind, *words = USES[use].split()

    def does(run: str, out: str) -> tuple[str, dict[str, bytes]]:
        asked = [word.replace("OUT", out) for word in words]
        said = succeeds(command, run, *asked).out
        made = contents(tmp_path)
        return said, {
            name.replace(out, "OUT"): data
            for name, data in made.items()
            if name.startswith(out)
        }

    before = contents(folder)
    said, expected = does(str(folder / "runs" / kind), "expected")
    assert said or expected
    assert does(kinds[kind], "made") == (said, expected)
    assert contents(folder) == before


@pytest.mark.parametrize("place", ["given", "shipped"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_run_cannot_be_resumed(
    kind: str, place: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", folder / "given")
    run = kind if place == "shipped" else folder / "given" / kind
    before = contents(folder)
    said = fails("train", kind, "--out", run, "--resume")
    expected = f"error: {run} is an exported run: it holds weights alone and cannot be"
    assert said == f"{expected} resumed"
    assert contents(folder) == before


def test_an_exported_run_has_nothing_to_report(folder: Path, tmp_path: Path) -> None:
    run = folder / "given" / "vqvae"
    said = fails("report", run, "--out", tmp_path / "page.html")
    assert said == f"error: {run} is an exported run: it has no log to report on"
    assert list(tmp_path.iterdir()) == []


def test_a_prior_can_be_trained_on_a_shipped_tokenizer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(folder / "images.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", folder / "given")
    succeeds(*words_of("prior", Path("prior"), Path("vqvae"), steps=4))
    # It has its own copy, which a tinyvq without the shipped one will find.
    monkeypatch.setattr(shipped, "FOLDER", folder / "none")
    succeeds(*words_of("prior", Path("prior"), Path("vqvae")))
    found = figures(succeeds("evaluate", "prior", "--json"))
    assert found["images"] == 6


def test_images_that_are_not_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New images need none; what compares with them says which."""
    monkeypatch.chdir(tmp_path)
    prior = folder / "given" / "prior"
    succeeds("sample", prior, "--grid", "1x2", "--out", "new.png")
    for words in (["evaluate", prior], ["sample", prior, "--nearest", "--out", "x"]):
        said = fails(*words)
        assert said.startswith("error: images.npz is neither a file or folder nor a")
    assert [path.name for path in tmp_path.iterdir()] == ["new.png"]


def test_a_name_that_is_nowhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", folder / "given")
    said = fails("sample", "nothing-there")
    assert said == (
        "error: there is no nothing-there; the runs that come with tinyvq are "
        f"{', '.join(KINDS)}"
    )
    # Not where one of them would not do.
    for words in (["train", "vqvae", "--resume", "--out"], ["report"]):
        assert fails(*words, "nothing-there") == "error: there is no nothing-there"


@pytest.mark.parametrize(
    "place", ["folder", "file", "file/below", "/proc/x", "n" * 300]
)
def test_places_where_it_cannot_be_written(
    place: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    said = fails("export", folder / "runs" / "prior", "--out", tmp_path / place)
    assert said.startswith("error: cannot make the folder ")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize("run", ["missing", "empty"])
def test_what_is_no_run_cannot_be_exported(run: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = fails("export", tmp_path / run, "--out", tmp_path / "out")
    no_run = f"{tmp_path / 'empty'} is not a run folder: it has no config.json"
    why = {"missing": f"there is no {tmp_path / 'missing'}", "empty": no_run}
    assert said == f"error: {why[run]}"
    assert not (tmp_path / "out").exists()
