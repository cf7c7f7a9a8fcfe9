"""What a prior that knows classes makes of images whose class it is not told."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from models.prior_examples import NAMES, make
from training.kind_examples import words_of, write_labelled

from tinyvq.cli import main
from tinyvq.data import ImageData, Split
from tinyvq.errors import DataError, NonFiniteError
from tinyvq.training import generation
from tinyvq.training.prior import CodedSplit, facts_of, nats_per_token
from tinyvq.training.prior_classes import drawn_classes, nats_by_class
from tinyvq.training.trained import TrainedPrior, load_prior

Codes = npt.NDArray[np.int64]
GRID, CODES, CLASSES = (1, 3), 4, 3
each_prior = pytest.mark.parametrize("name", NAMES)


def every_grid() -> Codes:
    """List all grids of codes that there are -> (64,1,3)."""
    found = list(itertools.product(range(CODES), repeat=3))
    return np.array(found).reshape(-1, *GRID)


def example(name: str, classes: int = CLASSES) -> Any:
    settings = {"num_codes": CODES, "num_classes": classes, "dtype": "float64"}
    return make(name, GRID, **settings)


@each_prior
def test_the_likelihoods_of_all_that_could_be_add_up_to_one(name: str) -> None:
    nats = nats_by_class(example(name), every_grid())
    assert nats.shape == (CODES**3, CLASSES)
    # 64 products of three probabilities, in float64.
    np.testing.assert_allclose(np.exp(-nats).sum(axis=0), 1, rtol=1e-12)
    assert (np.abs(nats[:, 0] - nats[:, 1]) > 0.1).any()


@each_prior
@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_the_likelihood_of_the_first_codes_is_a_sum_over_the_others(
    name: str, first: int
) -> None:
    prior, grids = example(name), every_grid()
    whole = np.exp(-nats_by_class(prior, grids))
    part = np.exp(-nats_by_class(prior, grids, first))
    for i, grid in enumerate(grids):
        alike = (grids[:, 0, :first] == grid[0, :first]).all(axis=1)
        np.testing.assert_allclose(part[i], whole[alike].sum(axis=0), rtol=1e-12)


@each_prior
def test_nats_with_labels_are_those_of_their_classes(name: str) -> None:
    prior, grids = example(name), every_grid()[:10]
    labels = np.arange(10) % CLASSES
    by_class = nats_by_class(prior, grids)[np.arange(10), labels].mean() / 3
    found = nats_per_token(prior, CodedSplit(grids, labels))
    assert found == pytest.approx(by_class, rel=1e-12)


@each_prior
def test_nats_without_labels_leave_the_class_open(name: str) -> None:
    prior, grids = example(name), every_grid()
    likely = np.exp(-nats_by_class(prior, grids)).mean(axis=1)  # Σ_c p(grid | c) / K
    assert likely.sum() == pytest.approx(1, rel=1e-12)
    found = nats_per_token(prior, CodedSplit(grids, None))
    assert found == pytest.approx(-np.log(likely).mean() / 3, rel=1e-12)
    # A prior of one class, or of none, is told nothing by a label.
    for classes in (0, 1):
        alone = example(name, classes)
        labels = np.zeros(len(grids), np.int64)
        expected = nats_per_token(alone, CodedSplit(grids, labels))
        bare = nats_per_token(alone, CodedSplit(grids, None))
        assert bare == pytest.approx(expected, rel=1e-12)


def test_many_grids_are_judged_batch_by_batch() -> None:
    prior = example("transformer")
    grids = np.concatenate([every_grid()] * 4)  # more than two batches
    nats = nats_by_class(prior, grids)
    np.testing.assert_allclose(nats.reshape(4, -1), [nats[:64].ravel()] * 4, rtol=1e-12)


# Classes for completions.


def test_a_class_is_drawn_by_how_likely_it_makes_what_is_kept() -> None:
    """In 6,000 draws a share is within five standard deviations, 0.033."""
    settings = {"num_codes": CODES, "num_classes": CLASSES, "dtype": "float64"}
    prior = make("transformer", (3, 1), **settings)
    grid = np.array([[2], [0], [3]])
    given = np.stack([grid] * 6000)
    for rows in (0, 1, 2, 3):
        drawn = drawn_classes(prior, given, rows, 0, 1.0)
        likely = np.exp(-nats_by_class(prior, grid[None], rows)[0])
        share = np.bincount(drawn, minlength=CLASSES) / len(given)
        np.testing.assert_allclose(share, likely / likely.sum(), atol=0.033, rtol=0)
    assert set(drawn_classes(prior, given, 3, 0, 0.0)) == {likely.argmax()}


def test_the_seed_and_the_place_fix_a_class() -> None:
    prior = example("transformer")
    given = every_grid()
    few, more = (drawn_classes(prior, given[:n], 1, 0, 1.0) for n in (9, 64))
    np.testing.assert_array_equal(few, more[:9])
    other = drawn_classes(prior, given, 1, 1, 1.0)
    assert (other != more).any()


def test_a_spoilt_prior_draws_no_class() -> None:
    prior = example("transformer")
    with prior.parameters()[-1].mutate() as array:
        array[...] = np.nan
    with pytest.raises(NonFiniteError, match="its weights are spoilt"):
        drawn_classes(prior, every_grid(), 1, 0, 1.0)


# Labels, as the prior numbers them.


@pytest.fixture(scope="module")
def trained(
    command_line: None, tmp_path_factory: pytest.TempPathFactory
) -> TrainedPrior:
    folder = tmp_path_factory.mktemp("runs")
    images = write_labelled(folder / "images.npz")
    assert main(words_of("vqvae", folder / "tokenizer", images)) == 0
    assert main(words_of("prior", folder / "prior", folder / "tokenizer")) == 0
    return load_prior(folder / "prior")


def test_a_completion_goes_by_the_half_that_is_kept(
    trained: TrainedPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def note(prior: Any, codes: Codes, *more: Any) -> Codes:
        asked.append((len(codes), *more))
        return drawn_classes(prior, codes, *more)

    monkeypatch.setattr(generation, "drawn_classes", note)
    images = np.zeros((4, 12, 12, 1), np.uint8)  # of 3×3 codes
    how = generation.SamplingOptions(seed=7, temperature=0.5)
    for labels in (None, np.zeros(4, np.int64)):
        generation.complete(trained.prior, trained.tokenizer, images, labels, 0.6, how)
    assert asked == [(4, 6, 7, 0.5)]


def named(trained: TrainedPrior, *names: str) -> TrainedPrior:
    facts = {**trained.run.facts, "class_names": list(names)}
    return replace(trained, run=replace(trained.run, facts=facts))


def labels_of(
    trained: TrainedPrior, labels: list[int] | None, *names: str
) -> list[int] | None:
    of_split = None if labels is None else np.array(labels)
    pixels = np.zeros((4, 12, 12, 1), np.uint8)
    split = Split(pixels, of_split)
    found = trained.labels_of(ImageData("here", {"test": split}, names), split)
    return None if found is None else cast(list[int], found.tolist())


def test_labels_are_matched_by_their_names(trained: TrainedPrior) -> None:
    knows = named(trained, "boot", "bag", "coat")
    assert labels_of(knows, [0, 1, 1, 0], "bag", "coat") == [1, 2, 2, 1]
    assert labels_of(knows, [0, 1, 2, 0], "boot", "bag", "coat") == [0, 1, 2, 0]
    with pytest.raises(DataError, match=r"^here has the class hat, the prior in .* kn"):
        labels_of(knows, [0, 1, 1, 0], "bag", "hat")


def test_labels_are_matched_by_the_folders_that_augment_writes(
    trained: TrainedPrior,
) -> None:
    names = ("T-shirt/top", "ankle boot", "..")
    knows = named(trained, *names)
    folders = ["00-T-shirt-top", "ankle boot", "02"]
    assert knows.folder_names == folders
    for theirs in (sorted(folders), sorted(names)):
        labels = labels_of(knows, [0, 1, 2, 2], *theirs)
        known = [
            (folders if theirs[0] == "00-T-shirt-top" else names).index(n)
            for n in theirs
        ]
        assert labels == [known[i] for i in (0, 1, 2, 2)]
    assert named(trained, "Test", ".cat", "a\0b").folder_names == [
        *["00-Test", "01-cat", "02-a-b"]
    ]
    assert trained.folder_names == ["00", "01", "02"]
    assert labels_of(trained, [0, 1, 0, 1], "01", "02") == [1, 2, 1, 2]


def test_labels_without_names_are_numbers(trained: TrainedPrior) -> None:
    for knows in (trained, named(trained, "boot", "bag", "coat")):
        assert labels_of(knows, [2, 0, 1, 1]) == [2, 0, 1, 1]
        with pytest.raises(DataError, match=r"has labels up to 3, .* knows 0 \.\. 2"):
            labels_of(knows, [3, 0, 1, 1])
    assert labels_of(trained, [2, 0, 1, 1], "a", "b", "c") == [2, 0, 1, 1]


def test_classes_without_a_training_image_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def codes_of(*labels: int) -> CodedSplit:
        return CodedSplit(np.zeros((len(labels), 1, 1), np.int64), np.array(labels))

    def said(train: CodedSplit, use: bool = True, names: tuple[str, ...] = ()) -> str:
        codes = {"train": train, "val": codes_of(0, 3, 4)}
        splits = {
            name: Split(np.zeros((len(split), 4, 4, 1), np.uint8), split.labels)
            for name, split in codes.items()
        }
        images = ImageData("here", splits, names)
        assert facts_of(model, images, codes, use)["num_classes"] == (5 if use else 0)
        return capsys.readouterr().err

    quantizer = SimpleNamespace(num_codes=CODES)
    model: Any = SimpleNamespace(quantizer=quantizer, fingerprint=lambda: "")
    told = "2 of 5 classes have no training image, and what is drawn of them means "
    assert said(codes_of(1, 0, 4)) == f"{told}nothing: 2, 3\n"
    names = ("a", "b", "c", "d", "e")
    assert said(codes_of(1, 0, 4), names=names) == f"{told}nothing: c, d\n"
    assert said(codes_of(0, 1, 2, 3, 4)) == said(codes_of(1, 0, 4), use=False) == ""


def test_there_may_be_no_labels(trained: TrainedPrior, tmp_path: Path) -> None:
    assert labels_of(trained, None) is None
    prior = replace(trained, prior=example("transformer", classes=0))
    assert labels_of(prior, [9, 0, 1, 1], "hat") is None
