"""Other images than those a run was trained on, for every command that takes some.

And the runs that come with tinyvq, where there is no network: their images are not here
then, but others will do.
"""

import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.command_line import (
    BAD_DATA,
    fails,
    figures,
    noise,
    pictures,
    splits,
    succeeds,
    text_picture,
    tinyvq,
)
from cli.small_runs import SIDE, pairs_of, tiles
from required import library
from training.run_examples import train_words

from tinyvq.data import CATALOG, from_unit, load, pick, read_picture
from tinyvq.training import generation
from tinyvq.training.evaluation import reconstructions
from tinyvq.training.generation import nearest_images
from tinyvq.training.prior_evaluation import evaluate_prior
from tinyvq.training.trained import load_prior, load_tokenizer

Image = library("PIL.Image")

COMMANDS = {
    "evaluate": ["evaluate", "RUN", "--json"],
    "evaluate, judged": ["evaluate", "RUN", "--json", "--judge", "random-conv"],
    "complete": ["complete", "RUN", "--out", "OUT", "--count", 2],
    "interpolate": ["interpolate", "RUN", "--out", "OUT", "--steps", 3],
    "nearest": ["sample", "RUN", "--nearest", "--grid", "1x3", "--out", "OUT"],
}


def words_of(command: str, run: Path | str, out: Path) -> list[object]:
    places = {"RUN": run, "OUT": out}
    return [places.get(str(word), word) for word in COMMANDS[command]]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Write three grey pictures of the size that the small runs take."""
    return pictures(tmp_path / "own", SIDE, SIDE, SIDE)


def grey(folder: Path) -> np.ndarray:
    """Read the pictures of a folder, in the order of their names -> (N,H,W)."""
    return np.stack([read_picture(p)[..., 0] for p in sorted(folder.iterdir())])


# Each command takes them.


def test_complete_ones_own_images(folder: Path, own: Path, tmp_path: Path) -> None:
    out = tmp_path / "completed.png"
    words = ["complete", folder / "prior", "--data", own, "--count", 3, "--out", out]
    assert succeeds(*words).err == f"wrote {out}: 3 images, 3 completions each\n"
    rows = tiles(read_picture(out), 3, 5, SIDE)
    np.testing.assert_array_equal(rows[:, 0], grey(own))  # all of them, in order
    kept = 2 * SIDE // 3  # two of three rows of codes
    np.testing.assert_array_equal(rows[:, 1, :kept], rows[:, 0, :kept])
    assert (rows[:, 1, kept:] == 128).all()
    succeeds(*words, "--keep", 1)  # what is completed begins with the codes of theirs
    model, _, _ = load_tokenizer(folder / "tokenizer")
    (made,) = reconstructions(model, grey(own)[..., None])
    whole = tiles(read_picture(out), 3, 5, SIDE)
    for i in range(3):
        np.testing.assert_array_equal(whole[i, 2], from_unit(made[i])[..., 0])


def test_interpolate_ones_own_images_from_each_to_the_next(
    folder: Path, own: Path, tmp_path: Path
) -> None:
    out = tmp_path / "between.png"
    for run, kind in (("tokenizer", "vqvae"), ("prior", "prior"), ("vae", "vae")):
        words = ["interpolate", folder / run, "--data", own, "--out", out]
        said = succeeds(*words, "--steps", 4).err
        assert said == f"wrote {out}: 2 pairs, 4 images each\n", kind
        rows = tiles(read_picture(out), 2, 4, SIDE)
        np.testing.assert_array_equal(rows[0, -1], rows[1, 0])
        if run != "vae":
            model, _, _ = load_tokenizer(folder / "tokenizer")
            (made,) = reconstructions(model, grey(own)[..., None])
            ends = from_unit(made)[..., 0]  # (3,H,W)
            np.testing.assert_array_equal(rows[:, 0], ends[:2])
            np.testing.assert_array_equal(rows[:, -1], ends[1:])
    succeeds(*words, "--pairs", 1, "--steps", 5)
    tiles(read_picture(out), 1, 5, SIDE)


def test_sample_looks_for_the_nearest_among_all_of_them(
    folder: Path, own: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new.png"
    words = ["sample", folder / "prior", "--grid", "1x6", "--out", out]
    succeeds(*words, "--nearest", "--data", own)
    made, nearest = pairs_of(read_picture(out), 6)
    among = grey(own)
    found = nearest_images(made[..., None], among[..., None])
    np.testing.assert_array_equal(nearest, among[found])
    # What is drawn is drawn as ever.
    succeeds(*words)
    (alone,) = tiles(read_picture(out), 1, 6, SIDE)
    np.testing.assert_array_equal(alone, made)
    # Whatever split an image is in.
    Image.fromarray(alone[3]).save(pictures(own / "test", SIDE) / "new.png")
    pictures(own / "train", SIDE)
    for path in own.glob("*.png"):
        path.unlink()
    succeeds(*words, "--nearest", "--data", own)
    _, nearest = pairs_of(read_picture(out), 6)
    np.testing.assert_array_equal(nearest[3], alone[3])
    assert fails(*words, "--data", own) == (
        "error: --data is where --nearest looks: give that, too"
    )


def test_reconstruct_shows_all_of_a_folder_and_the_test_images_of_a_set(
    folder: Path, own: Path, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grid.png"
    words = ["reconstruct", folder / "tokenizer", "--out", out, "--data"]
    test = load(str(labelled)).split("test").images[..., 0]
    for source, expected in ((own, grey(own)), (labelled, test)):
        succeeds(*words, source)
        picture = read_picture(out)[..., 0]
        columns = len(expected)
        factor = picture.shape[1] // (columns * (SIDE + 4) - 4)
        small = picture[::factor, ::factor]
        for i, image in enumerate(expected):
            left = i * (SIDE + 4)
            np.testing.assert_array_equal(small[:SIDE, left : left + SIDE], image)


def test_a_folder_that_a_run_was_trained_on_keeps_its_test_images_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many = pictures(tmp_path / "many", *[SIDE] * 60)
    sides = {name: len(split) for name, split in load("many").splits.items()}
    assert all(sides.values())
    succeeds(*train_words(Path("run"), Path("many"), steps=1))
    succeeds(*train_words(Path("other"), splits(tmp_path / "a.npz", SIDE), steps=1))
    for run, data, count in (
        *[("run", None, sides["test"]), ("run", many, sides["test"])],
        *[("run", "./many/", sides["test"]), ("other", "many", 60)],
    ):
        words = ["evaluate", run, *([] if data is None else ["--data", data]), "--json"]
        assert figures(succeeds(*words))["images"] == count
        for split in ("train", "val", "test"):
            found = figures(succeeds(*words, "--split", split))
            assert found["images"] == sides[split]
    # Nor from elsewhere, under another name, or fitted.
    monkeypatch.chdir("run")
    many.rename(tmp_path / "moved")
    for more in ([], ["--fit"]):
        words = ["evaluate", tmp_path / "run", "--data", "../moved", "--json", *more]
        assert figures(succeeds(*words))["images"] == sides["test"]


# A prior's classes.


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_prior_is_measured_on_other_images_as_on_its_own(
    split: str, folder: Path, labelled: Path
) -> None:
    for run in ("prior", "plain"):
        words = ["evaluate", folder / run, "--split", split, "--data", labelled]
        found = figures(succeeds(*words, "--json"))
        trained = load_prior(folder / run)
        expected = evaluate_prior(trained, trained.images(), split).as_dict()  # type: ignore[arg-type]
        names = ["nats_per_token", "tokens_per_image", "images"]
        assert list(found) == names  # the rest is made of its own images
        assert found == {name: expected[name] for name in names}
    judged = figures(succeeds(*words, "--json", "--judge", "random-conv"))
    assert judged.pop("frechet_random-conv") > 0
    assert judged == found


def test_a_prior_is_not_measured_on_classes_that_it_does_not_know(
    folder: Path, labelled: Path, own: Path, tmp_path: Path
) -> None:
    source = tmp_path / "other.npz"
    test = load(str(labelled)).split("test").images
    np.savez(source, test=test, test_labels=[0, 1, 2, 3, 0, 1])
    said = fails("evaluate", folder / "prior", "--data", source)
    assert said == (
        f"error: {source} has labels up to 3, the prior in {folder / 'prior'} knows "
        "0 .. 2"
    )
    succeeds("evaluate", folder / "plain", "--data", source)
    for words in ([], ["--judge", "random-conv"]):  # without labels it is
        succeeds("evaluate", folder / "prior", "--data", own, *words)


@pytest.fixture
def labels_given(monkeypatch: pytest.MonkeyPatch) -> list[list[int] | None]:
    """Note the labels that completions are drawn by, or None where they are open."""
    noted: list[list[int] | None] = []
    real = generation.complete

    def complete(prior: Any, model: Any, images: Any, labels: Any, *more: Any) -> Any:
        noted.append(None if labels is None else labels.tolist())
        return real(prior, model, images, labels, *more)

    monkeypatch.setattr(
        generation, "complete", lambda *a, on_progress: complete(*a, on_progress)
    )
    return noted


def test_the_classes_that_images_are_completed_as(
    folder: Path,
    labelled: Path,
    own: Path,
    tmp_path: Path,
    labels_given: list[list[int] | None],
) -> None:
    """The one asked for; else each image's own; else they are left open."""
    out = tmp_path / "completed.png"
    words = ["complete", folder / "prior", "--out", out, "--count", 2, "--data"]
    test = load(str(labelled)).split("test")
    others = tmp_path / "others.npz"
    np.savez(others, test=test.images, test_labels=[0, 1, 2, 3, 0, 1])
    its_own = np.tile(test.labels[pick(6, 6)], 2).tolist()
    for more, expected in (
        *[([labelled], its_own), ([labelled, "--class", 1], 12 * [1])],
        *[([own], None), ([own, "--class", 2], 6 * [2]), ([others], None)],
    ):
        succeeds(*words, *more)
        assert labels_given.pop() == expected
    assert "--class must be 0 .. 2, got 3" in fails(*words, own, "--class", 3)
    words[1] = folder / "plain"
    said = fails(*words, own, "--class", 0)
    assert "was trained without classes: drop --class" in said
    succeeds(*words, labelled)
    assert labels_given == [None]


# What does not suit.


@pytest.mark.parametrize("command", COMMANDS)
def test_images_that_do_not_suit_are_refused_unless_fitted(
    command: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    # A prior draws grids of one size, whatever sizes its tokenizer takes.
    for size, channels, what in ((16, 1, "grey"), (SIDE, 3, "colour")):
        other = splits(tmp_path / "other.npz", size, channels)
        words = [*words_of(command, folder / "prior", out), "--data", other]
        assert fails(*words) == (
            f"error: {other} has images of {size}×{size} pixels, {what}, the model in "
            f"{folder / 'prior'} was trained on images of 12×12 pixels, grey; --fit "
            "resizes, crops and recolours"
        )
        assert not out.exists()
    succeeds(*words, "--fit")
    assert out.exists() == (not command.startswith("evaluate"))


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_images_of_ones_own(command: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    words = words_of(command, folder / "prior", out)
    said = fails(*words, "--data", text_picture(tmp_path))
    assert BAD_DATA[text_picture] in said
    mixed = pictures(tmp_path / "mixed", 16, 20)
    said = fails(*words, "--data", mixed)
    assert "000.png is 16×16, 001.png 20×20; " in said
    assert "with a trained run --fit does" in said
    assert not out.exists()
    succeeds(*words, "--data", mixed, "--fit")


def test_an_interpolation_needs_two_images(
    folder: Path, labelled: Path, tmp_path: Path
) -> None:
    single = pictures(tmp_path / "single", SIDE)
    out = tmp_path / "out.png"
    words = ["interpolate", folder / "tokenizer", "--out", out, "--data", single]
    assert fails(*words) == (
        "error: an interpolation goes from one image to another: "
        f"{single} gives only one"
    )
    assert not out.exists()
    # Of a run's own images, as many pairs as there are.
    images = noise(19, SIDE)
    odd = tmp_path / "odd.npz"
    np.savez(odd, train=images[:6], val=images[6:12], test=images[12:])  # seven
    succeeds(*train_words(tmp_path / "run", odd, steps=1))
    said = succeeds("interpolate", tmp_path / "run", "--out", out, "--pairs", 50).err
    assert said == f"wrote {out}: 3 pairs, 10 images each\n"


def test_a_gan_is_judged_by_images_that_suit(folder: Path, tmp_path: Path) -> None:
    for run in ("gan", "noise"):
        words = ["evaluate", folder / run, "--judge", "random-conv", "--json"]
        other = splits(tmp_path / "other.npz", 16)
        said = fails(*words, "--data", other)
        assert "has images of 16×16 pixels, grey, the model in " in said
        assert figures(succeeds(*words, "--data", other, "--fit"))["images"] == 6


# The runs that come along, offline.


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with no Fashion-MNIST here and no way to it."""
    known = CATALOG["fashion-mnist"]
    # Port 1 is one that only root could listen on, and nothing does.
    nowhere = dataclasses.replace(known, url="http://127.0.0.1:1/", packages=())
    monkeypatch.setitem(CATALOG, "fashion-mnist", nowhere)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TINYVQ_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHIPPED = [
    *[("evaluate", "fashion-vqvae"), ("evaluate", "fashion-prior")],
    *[("complete", "fashion-prior"), ("nearest", "fashion-prior")],
    *[("interpolate", "fashion-vqvae"), ("interpolate", "fashion-prior")],
]


# Pooch leaves the socket of a download that failed to the garbage collector.
@pytest.mark.filterwarnings(
    r"ignore:.*socket\.socket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize(("command", "run"), SHIPPED)
def test_a_shipped_run_says_what_will_do_where_its_images_are_not(
    command: str, run: str, offline: Path
) -> None:
    result = tinyvq(*words_of(command, run, offline / "out.png"))
    assert (result.status, result.out) == (1, "")
    fetching, cause, advice = result.err.splitlines()
    assert fetching.startswith("fetching fashion-mnist from http://127.0.0.1:1/ into ")
    assert cause.startswith("error: cannot fetch http://127.0.0.1:1/train-images-")
    assert advice == (
        "if you have its files in FOLDER/fashion-mnist, set TINYVQ_DATA=FOLDER; "
        "fashion-mnist-5k, a part of it, comes with tinyvq; --data takes other images, "
        "by name or folder"
    )
    gc.collect()  # those sockets, now and not in another test


@pytest.mark.parametrize(("command", "run"), SHIPPED)
def test_a_shipped_run_works_with_the_images_that_come_along(
    command: str, run: str, offline: Path
) -> None:
    out = offline / "out.png"
    result = succeeds(*words_of(command, run, out), "--data", "fashion-mnist-5k")
    assert "fetching" not in result.err
    if command == "evaluate":
        assert figures(result)["images"] == 500
    else:
        assert read_picture(out).size > 0


def test_a_shipped_prior_knows_test_images_by_their_classes(offline: Path) -> None:
    words = ["evaluate", "fashion-prior", "--data"]
    found = figures(succeeds(*words, "fashion-mnist-5k", "--json"))
    assert found["nats_per_token"] < 2.35
    # Without labels, a prior that tells nothing of the class loses log 10 / 49.
    test = load("fashion-mnist-5k").split("test")
    np.savez("bare.npz", test=test.images)
    bare = figures(succeeds(*words, "bare.npz", "--json"))
    more = bare["nats_per_token"] - found["nats_per_token"]
    assert 0 < more < np.log(10) / 49
    # Classes by name, whatever their order.
    for name, label in (("bag", 8), ("ankle boot", 9)):
        (offline / "named" / name).mkdir(parents=True)
        for i, image in enumerate(test.images[test.labels == label][:10]):
            Image.fromarray(image[..., 0]).save(offline / "named" / name / f"{i}.png")
    named = figures(succeeds(*words, "named", "--json"))
    chosen = [
        np.flatnonzero(test.labels == label)[:10] for label in (9, 8)
    ]  # by their paths
    part = test.take(np.concatenate(chosen))
    np.savez("part.npz", test=part.images, test_labels=part.labels)
    assert figures(succeeds(*words, "part.npz", "--json")) == named
    (offline / "named" / "bag").rename(offline / "named" / "hat")
    assert "named has the class hat, the prior in " in fails(*words, "named")


def test_a_class_makes_a_difference_to_what_is_completed(offline: Path) -> None:
    words = ["complete", "fashion-prior", "--data", "fashion-mnist-5k", "--images", 2]
    made = []
    for name in ("bag", "8", "ankle boot"):
        out = offline / f"{name}.png"
        succeeds(*words, "--count", 2, "--class", name, "--out", out)
        made.append(out.read_bytes())
    assert made[0] == made[1] != made[2]


def test_any_pictures_will_do_for_a_shipped_run(offline: Path) -> None:
    folder = offline / "pictures"
    folder.mkdir()
    for i, image in enumerate(noise(3, 40, 3)):
        Image.fromarray(image[:, : 30 + i]).save(folder / f"{i}.png")
    for command, run in SHIPPED:
        succeeds(
            *words_of(command, run, offline / "out.png"), "--data", folder, "--fit"
        )
