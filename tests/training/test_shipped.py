"""A shipped run is known by its name; the ones that come along are fit to be given."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from required import absent
from training.checkpoint_examples import names
from training.kind_examples import words_of, write_labelled

from tinyvq.cli import main
from tinyvq.data import CATALOG, load, locate, read_picture
from tinyvq.errors import RunError
from tinyvq.training import shipped
from tinyvq.training.export import export
from tinyvq.training.run import Run, open_run
from tinyvq.training.trained import (
    GENERATORS,
    load_autoencoder,
    load_prior,
    load_tokenizer,
    was_trained_on,
)

pytestmark = pytest.mark.usefixtures("command_line")

MOST_BYTES = 8 * 2**20  # of one shipped run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export small runs into a folder like the one in the package."""
    folder = tmp_path_factory.mktemp("runs")
    images = write_labelled(folder / "images.npz", size=12)
    assert main(words_of("vqvae", folder / "vqvae", images)) == 0
    # Until batch norm's running statistics have settled, all that is drawn is grey.
    assert main(words_of("gan", folder / "gan", images, steps=60)) == 0
    assert main(words_of("prior", folder / "prior", folder / "vqvae")) == 0
    for kind in ("vqvae", "gan", "prior"):
        export(folder / kind, folder / "shipped" / f"small-{kind}")
    (folder / "shipped" / "README.md").write_text("what they are")
    return folder / "shipped"


@pytest.fixture
def small(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    """Let small runs be the shipped ones, and stand in an empty folder."""
    monkeypatch.setattr(shipped, "FOLDER", made)
    monkeypatch.chdir(tmp_path)
    return contents(made)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# The ones that come along.


def assert_fit_to_be_given(name: str, out: Path) -> None:
    """Check a shipped run: exported, small, and of some use at once."""
    run = open_run(Path(name))
    assert run.folder == shipped.FOLDER / name
    _assert_exported(run)
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    if run.kind == "prior":
        tokenizer = open_run(run.folder / "tokenizer")
        _assert_exported(tokenizer, beside=())
        load_prior(Path(name))
    if run.kind == "prior" or run.kind in GENERATORS:
        assert main(["sample", name, "--grid", "2x3", "--out", str(out)]) == 0
        assert np.unique(read_picture(out)).size > 2
    else:
        model, _, _ = load_autoencoder(Path(name))
        assert all(np.isfinite(array).all() for array in model.state_dict().values())


def _assert_exported(run: Run, beside: tuple[str, ...] = ("tokenizer",)) -> None:
    assert run.exported
    own = beside if run.kind == "prior" else ()
    assert names(run.folder) == ["checkpoints", "config.json", *own]
    assert len(names(run.checkpoints)) == 2
    assert "/" not in json.dumps([run.options, run.facts["data_source"]])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["vqvae", "gan", "prior"])
def test_a_small_run_is_fit_to_be_given(kind: str, tmp_path: Path) -> None:
    assert_fit_to_be_given(f"small-{kind}", tmp_path / "new.png")


def test_every_run_that_comes_along_is_fit_to_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And was learned from images that may be had by name."""
    monkeypatch.chdir(tmp_path)
    before = contents(shipped.FOLDER)
    for name in shipped.names():
        assert_fit_to_be_given(name, tmp_path / "new.png")
        run = open_run(Path(name))
        assert run.facts["data_source"] in CATALOG
    folders = {path.name for path in shipped.FOLDER.iterdir() if path.is_dir()}
    assert folders == set(shipped.names())
    assert contents(shipped.FOLDER) == before
    licences = (shipped.FOLDER / "README.md").read_text()
    assert "Fashion-MNIST, MIT,\nCopyright (c) 2017 Zalando SE" in licences


def test_every_run_that_comes_along_knows_its_images() -> None:
    for name in shipped.names():
        run = open_run(Path(name))
        source = run.facts["data_source"]
        if locate(source) is None:
            absent("FASHION_MNIST", f"{source} is not here: tinyvq data fetch {source}")
        assert was_trained_on(run, load(source)), name


@pytest.mark.parametrize("damage", ["not exported", "log", "weights", "place"])
def test_what_is_not_fit_to_be_given_is_noticed(
    damage: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = Path(shutil.copytree(made, tmp_path / "spoilt"))
    run = spoilt / "small-prior"
    config = json.loads((run / "config.json").read_text())
    if damage == "not exported":
        del config["exported"]
    elif damage == "place":
        config["options"]["tokenizer"] = "/home/me/tokenizer"
    elif damage == "log":
        (run / "metrics.jsonl").touch()
    else:
        (weights,) = (run / "tokenizer" / "checkpoints").glob("*.safetensors")
        weights.write_bytes(weights.read_bytes()[:-1])
    (run / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(shipped, "FOLDER", spoilt)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ValueError)):
        assert_fit_to_be_given("small-prior", tmp_path / "new.png")


# Names.


def test_a_name_finds_a_shipped_run(small: dict[str, bytes]) -> None:
    assert shipped.names() == ["small-gan", "small-prior", "small-vqvae"]
    model, _, run = load_tokenizer(Path("small-vqvae"))
    assert run.folder == shipped.FOLDER / "small-vqvae"
    assert load_prior(Path("small-prior")).tokenizer.fingerprint() == (
        model.fingerprint()
    )
    assert contents(shipped.FOLDER) == small


@pytest.mark.usefixtures("small")
def test_what_exists_comes_first(tmp_path: Path) -> None:
    mine = tmp_path / "small-vqvae"
    shutil.copytree(shipped.FOLDER / "small-gan", mine)
    assert open_run(Path("small-vqvae")).kind == "gan"
    shutil.rmtree(mine)
    assert open_run(Path("small-vqvae")).kind == "vqvae"
    mine.mkdir()  # what is there and no run is no reason to take another
    with pytest.raises(RunError, match=r"^small-vqvae is not .* no config\.json$"):
        open_run(Path("small-vqvae"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "place", ["./small-vqvae/.", "small-vqvae/config.json", "SMALL-VQVAE", "README.md"]
)
def test_only_the_very_name_finds_it(place: str) -> None:
    if place == "./small-vqvae/.":  # which is the same path
        assert open_run(Path(place)).kind == "vqvae"
        return
    with pytest.raises(RunError, match=f"^there is no {place}"):
        open_run(Path(place))


@pytest.mark.usefixtures("small")
def test_an_error_tells_the_names_where_a_name_may_be_meant(tmp_path: Path) -> None:
    message = "the runs that come with tinyvq are small-gan, "
    with pytest.raises(RunError) as caught:
        open_run(Path("nothing-there"))
    assert f"there is no nothing-there; {message}" in str(caught.value)
    for path in (tmp_path / "nothing", Path("runs/nothing")):
        with pytest.raises(RunError, match=f"^there is no {path}$"):
            open_run(path)


def test_without_shipped_runs_there_is_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        monkeypatch.setattr(shipped, "FOLDER", folder)
        assert shipped.names() == []
        with pytest.raises(RunError, match=r"^there is no nothing-there$"):
            open_run(Path("nothing-there"))
