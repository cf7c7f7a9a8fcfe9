"""Sets by name: where they are looked for, and how they are fetched."""

import dataclasses
import gc
import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data.data_examples import idx, pixels, problem
from data.image_server import Served, serving
from required import library

from tinyvq.data import CATALOG, _catalog, fetch, load, locate

# Pooch leaves the socket of a download that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:.*socket\.socket:pytest.PytestUnraisableExceptionWarning"
)

needs_pooch = pytest.mark.usefixtures("pooch")

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
TRAIN, TEST, VAL = 12, 5, 4


def content(seed: int = 0) -> dict[str, bytes]:
    """A small set: each label is its image's position."""
    arrays = [pixels(TRAIN, 4, 4, seed=seed), np.arange(TRAIN, dtype=np.uint8)]
    arrays += [pixels(TEST, 4, 4, seed=seed + 1), np.arange(TEST, dtype=np.uint8)]
    packed = [gzip.compress(idx(array), mtime=0) for array in arrays]
    return dict(zip(FILES, packed, strict=True))


def put(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True)
    for name, data in content(seed).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def pooch() -> None:
    library("pooch")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The set mnist is small, served from here, and nowhere on this machine."""
    with serving(content()) as server:
        md5 = {n: hashlib.md5(data).hexdigest() for n, data in server.files.items()}
        known = dataclasses.replace(
            CATALOG["mnist"],
            url=server.url,
            md5=md5,
            packages=(tmp_path / "packages" / "mnist",),
        )
        monkeypatch.setitem(CATALOG, "mnist", known)
        monkeypatch.setattr(_catalog, "VAL_IMAGES", VAL)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("TINYVQ_DATA", raising=False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
    gc.collect()  # those sockets, now and not in another test


def cached(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "tinyvq" / "data" / "mnist"


def test_places_are_tried_in_their_order(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYVQ_DATA", str(tmp_path / "own"))
    assert locate("mnist") is None
    places = [cached(tmp_path), tmp_path / "packages/mnist", tmp_path / "own/mnist"]
    for seed, place in enumerate(places):  # each goes before the one before it
        put(place, seed)
        assert locate("mnist") == place
        data = load("mnist")
        assert data.source == f"mnist in {place}"
        expected = pixels(TEST, 4, 4, seed=seed + 1)[..., None]
        np.testing.assert_array_equal(data.split("test").images, expected)
    assert served.asked == []


def test_without_the_variable_the_users_folder_is_not_looked_for(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "mnist", 0)
    assert locate("mnist") is None
    monkeypatch.setenv("TINYVQ_DATA", "")
    assert locate("mnist") is None
    monkeypatch.setenv("TINYVQ_DATA", ".")
    assert locate("mnist") == Path("mnist")


@pytest.mark.parametrize("missing", FILES)
def test_a_folder_that_is_not_complete_is_passed_over_and_reported(
    tmp_path: Path,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    monkeypatch.setenv("TINYVQ_DATA", str(tmp_path / "own"))
    own = put(tmp_path / "own" / "mnist", 0)
    (own / missing).unlink()
    package = put(tmp_path / "packages" / "mnist", 1)
    assert locate("mnist") == package
    name = missing.removesuffix(".gz")
    assert capsys.readouterr().err == (
        f"passing over {own}, for it has no {name} (.gz)\n"
    )


def test_files_may_be_unpacked_and_written_with_a_dot(
    tmp_path: Path, served: Served
) -> None:
    package = put(tmp_path / "packages" / "mnist", 0)
    expected = load("mnist").split("test")
    for name in FILES:
        data = gzip.decompress((package / name).read_bytes())
        (package / name).unlink()
        dotted = name.removesuffix(".gz").replace("-idx", ".idx")
        (package / dotted).write_bytes(data)
    found = load("mnist").split("test")
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_the_last_images_of_train_are_val(tmp_path: Path, served: Served) -> None:
    put(tmp_path / "packages" / "mnist", 0)
    data = load("mnist")
    images = pixels(TRAIN, 4, 4)[..., None]
    for name, part in (("train", slice(0, 8)), ("val", slice(8, 12))):
        np.testing.assert_array_equal(data.split(name).images, images[part])
        np.testing.assert_array_equal(data.split(name).labels, np.arange(TRAIN)[part])
    assert data.class_names == tuple("0123456789")


@needs_pooch
def test_a_set_is_fetched_where_it_is_nowhere(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load("mnist")
    assert sorted(served.asked) == sorted(FILES)
    assert data.source == f"mnist in {cached(tmp_path)}"
    expected = pixels(TEST, 4, 4, seed=1)[..., None]
    np.testing.assert_array_equal(data.split("test").images, expected)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"fetching mnist from {served.url} into {cached(tmp_path)} (")


@needs_pooch
def test_a_second_fetch_downloads_nothing(tmp_path: Path, served: Served) -> None:
    assert fetch("mnist") == cached(tmp_path)
    served.asked.clear()
    assert fetch("mnist") == locate("mnist") == cached(tmp_path)
    load("mnist")
    assert served.asked == []


@needs_pooch
def test_a_fetch_downloads_what_is_missing_or_damaged(
    tmp_path: Path, served: Served
) -> None:
    fetch("mnist")
    served.asked.clear()
    (cached(tmp_path) / FILES[1]).unlink()
    (cached(tmp_path) / FILES[2]).write_bytes(b"damaged")
    fetch("mnist")
    assert served.asked == [FILES[1], FILES[2]]
    for name in FILES:
        assert (cached(tmp_path) / name).read_bytes() == served.files[name]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


@needs_pooch
def test_a_wrong_checksum_is_an_error_and_nothing_is_kept(
    tmp_path: Path, served: Served
) -> None:
    served.files[FILES[1]] += b"!"
    message = problem(fetch, "mnist")
    first, second = message.splitlines()
    assert first == (
        f"cannot fetch {served.url}{FILES[1]}: its checksum is not the one expected; "
        "nothing of it was kept"
    )
    assert second == "if you have its files in FOLDER/mnist, set TINYVQ_DATA=FOLDER"
    assert names(cached(tmp_path)) == [FILES[0]]
    assert locate("mnist") is None


@needs_pooch
def test_a_server_without_the_file_is_told_as_such(
    tmp_path: Path, served: Served
) -> None:
    served.gone.add(FILES[0])
    message = problem(load, "mnist")
    first = f"cannot fetch {served.url}{FILES[0]}: the server answered 404"
    assert message.splitlines()[0] == first
    assert names(cached(tmp_path)) == []


@needs_pooch
def test_a_connection_that_breaks_off_leaves_nothing(
    tmp_path: Path, served: Served
) -> None:
    served.cut.add(FILES[2])
    message = problem(load, "mnist")
    url = f"{served.url}{FILES[2]}"
    assert message.startswith(f"cannot fetch {url}: no answer, or not a whole one (")
    assert names(cached(tmp_path)) == sorted(FILES[:2])
    served.cut.clear()
    served.asked.clear()
    load("mnist")
    assert served.asked == list(FILES[2:])


@needs_pooch
def test_no_server_is_told_as_such(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 1 is one that only root could listen on, and nothing does.
    known = dataclasses.replace(CATALOG["mnist"], url="http://127.0.0.1:1/")
    monkeypatch.setitem(CATALOG, "mnist", known)
    message = problem(load, "mnist")
    assert message.splitlines()[0] == (
        f"cannot fetch http://127.0.0.1:1/{FILES[0]}: no answer, or not a whole one "
        "(ConnectionError)"
    )


@needs_pooch
def test_what_comes_along_of_a_set_is_named_where_it_cannot_be_had(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dataclasses.replace(
        CATALOG["fashion-mnist"], url="http://127.0.0.1:1/", packages=()
    )
    monkeypatch.setitem(CATALOG, "fashion-mnist", known)
    for call in (load, fetch):
        assert problem(call, "fashion-mnist").splitlines()[1] == (
            "if you have its files in FOLDER/fashion-mnist, set TINYVQ_DATA=FOLDER; "
            "fashion-mnist-5k, a part of it, comes with tinyvq"
        )


@needs_pooch
def test_a_place_that_cannot_be_written_is_told_as_such(
    tmp_path: Path, served: Served
) -> None:
    """A file stands where the folder should be made, so that root fails, too."""
    (tmp_path / "cache").write_bytes(b"")
    message = problem(load, "mnist")
    assert message.startswith(f"cannot fetch {served.url}{FILES[0]}: {tmp_path}/cache")
    assert "Not a directory" in message or "File exists" in message
    assert served.asked == []


def test_a_damaged_file_of_the_users_is_named(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYVQ_DATA", str(tmp_path))
    own = put(tmp_path / "mnist", 0)
    path = own / FILES[0]
    path.write_bytes(path.read_bytes()[:-9])
    assert problem(load, "mnist").startswith(f"{path} is damaged: ")


def test_images_of_the_users_that_differ_in_size_are_refused(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYVQ_DATA", str(tmp_path))
    own = put(tmp_path / "mnist", 0)
    (own / FILES[2]).write_bytes(idx(pixels(TEST, 4, 6)))
    assert "images differ in shape between splits" in problem(load, "mnist")


def test_a_name_that_is_not_known_is_an_error() -> None:
    names_known = "fashion-mnist-5k, fashion-mnist, mnist, emoji, photos"
    for call in (locate, fetch):
        expected = f"there is no set cifar; the names are {names_known}"
        assert problem(call, "cifar") == expected


def test_without_a_home_what_is_here_is_found_and_the_rest_told(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    expected = "there is no home folder for mnist to be kept in: set XDG_CACHE_HOME"
    assert problem(load, "mnist") == problem(fetch, "mnist") == expected
    put(tmp_path / "packages" / "mnist", seed=1)
    assert len(load("mnist").split("test")) == TEST


def test_what_is_part_of_another_set_comes_along() -> None:
    """Which images these are: test_shipped_images.py."""
    parts = {name: known.part_of for name, known in CATALOG.items() if known.part_of}
    assert parts == {"fashion-mnist-5k": "fashion-mnist"}
    assert all(locate(name) == _catalog.SHIPPED for name in parts)


def test_what_is_shipped_is_not_fetched(tmp_path: Path, served: Served) -> None:
    assert fetch("fashion-mnist-5k") == locate("fashion-mnist-5k") == _catalog.SHIPPED


def test_every_set_has_a_licence_and_can_be_had_in_one_way() -> None:
    for name, known in CATALOG.items():
        assert known.what
        assert known.licence
        assert (known.url != "") + (known.recipe is not None) == (
            name != "fashion-mnist-5k"
        )
        assert (known.url == "") == (not known.md5)


def test_sets_to_download_have_a_checksum_of_each_file() -> None:
    for known in (CATALOG["fashion-mnist"], CATALOG["mnist"]):
        assert len(known.class_names) == 10
        assert known.url.startswith("https://")
        assert known.url.endswith("/")
        assert list(known.md5) == list(FILES)
        assert all(len(bytes.fromhex(md5)) == 16 for md5 in known.md5.values())
