"""The commands that make new images: train prior, sample, complete, and the others.

On images of one's own: test_ones_own_images.py.
"""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli.command_line import contents, fails, figures, succeeds, tinyvq
from cli.small_runs import SIDE, pairs_of, tiles
from training.kind_examples import words_of, write_labelled

from tinyvq.data import from_unit, load, read_npz, read_picture
from tinyvq.errors import ConfigError, DataError
from tinyvq.metrics import FeatureStatistics, frechet_distance
from tinyvq.models import JUDGES, VAE, NoiseVQGAN, features, judge
from tinyvq.training.evaluation import reconstructions
from tinyvq.training.generation import from_noise, nearest_images
from tinyvq.training.noise_evaluation import evaluate_codes
from tinyvq.training.prior import PriorOptions
from tinyvq.training.trained import (
    load_autoencoder,
    load_generator,
    load_prior,
    load_tokenizer,
)
from tinyvq.training.vqvae import VQVAEOptions

# sample


def test_sample_draws_a_grid_the_classes_from_column_to_column(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new.png"
    said = succeeds("sample", folder / "prior", "--grid", "2x6", "--out", out).err
    assert said == f"wrote {out}: 2×6 new images\n"
    made = tiles(read_picture(out), 2, 6, SIDE)
    again = tmp_path / "again.png"
    succeeds("sample", folder / "prior", "--grid", "2x6", "--out", again)
    assert again.read_bytes() == out.read_bytes()
    # Image i is the same in a larger grid; another seed draws others.
    succeeds("sample", folder / "prior", "--grid", "3x6", "--out", again)
    np.testing.assert_array_equal(tiles(read_picture(again), 3, 6, SIDE)[:2], made)
    words = ["sample", folder / "prior", "--grid", "2x6", "--out", again]
    succeeds(*words, "--seed", 1)
    assert again.read_bytes() != out.read_bytes()


def test_the_classes_of_a_grid(folder: Path) -> None:
    from tinyvq.cli._sample import labels_of_class

    trained = load_prior(folder / "prior")
    np.testing.assert_array_equal(labels_of_class(trained, None, 5), [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(labels_of_class(trained, "2", 3), [2, 2, 2])
    facts = {**trained.run.facts, "class_names": ["boot", "bag", "2"]}
    named = replace(trained, run=replace(trained.run, facts=facts))
    np.testing.assert_array_equal(labels_of_class(named, "bag", 2), [1, 1])
    with pytest.raises(
        ConfigError, match=r"0 \.\. 2, or one of boot, bag, 2, got shoe"
    ):
        labels_of_class(named, "shoe", 2)
    assert labels_of_class(load_prior(folder / "plain"), None, 2) is None


def test_sample_under_each_image_its_nearest_training_image(
    folder: Path, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new.png"
    words = ["sample", folder / "prior", "--grid", "1x5", "--out", out, "--nearest"]
    succeeds(*words)
    made, nearest = (part[..., None] for part in pairs_of(read_picture(out), 5))
    train = load(str(labelled)).split("train").images
    np.testing.assert_array_equal(nearest, train[nearest_images(made, train)])


def test_sample_of_a_vae_under_each_image_its_nearest(
    folder: Path, labelled: Path, tmp_path: Path
) -> None:
    """What is drawn of noise is drawn as ever, and compared as what a prior draws."""
    out, train = tmp_path / "new.png", load(str(labelled)).split("train").images
    words = ["sample", folder / "vae", "--grid", "1x5", "--out", out]
    succeeds(*words)
    (alone,) = tiles(read_picture(out), 1, 5, SIDE)
    for words_of_data in ([], ["--data", labelled]):
        succeeds(*words, "--nearest", *words_of_data)
        made, nearest = (part[..., None] for part in pairs_of(read_picture(out), 5))
        np.testing.assert_array_equal(made[..., 0], alone)
        among = load(str(labelled)).everything().images if words_of_data else train
        np.testing.assert_array_equal(nearest, among[nearest_images(made, among)])
    for option in (["--class", 1], ["--temperature", 0.5], ["--top-k", 3]):
        assert "draws from noise alone: --class" in fails(*words, *option)
    succeeds(*words, "--seed", 3)


def test_sample_filters_as_asked(folder: Path, tmp_path: Path) -> None:
    """The likeliest code alone, said in three ways."""
    pictures = set()
    for how in (["--temperature", 0], ["--top-k", 1], ["--top-p", 1e-9]):
        out = tmp_path / "new.png"
        succeeds("sample", folder / "prior", "--grid", "2x3", "--out", out, *how)
        made = tiles(read_picture(out), 2, 3, SIDE)
        np.testing.assert_array_equal(made[0], made[1])  # a class, a picture
        pictures.add(out.read_bytes())
    assert len(pictures) == 1


def test_sample_of_a_prior_without_classes_and_of_noise(
    folder: Path, tmp_path: Path
) -> None:
    for run in ("plain", "noise", "vae", "gan"):
        out = tmp_path / f"{run}.png"
        succeeds("sample", folder / run, "--grid", "2×4", "--out", out)
        made = tiles(read_picture(out), 2, 4, SIDE)
        assert len(np.unique(made.reshape(8, -1), axis=0)) > 1
        assert "--class" in fails(
            "sample", folder / run, "--class", 0, "--out", tmp_path / "none.png"
        )
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class", 3], "--class must be 0 .. 2, got 3"),
        (["--class", "boot"], "--class must be 0 .. 2, got boot"),
        (["--class", "-1"], "--class must be 0 .. 2, got -1"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    words: list[object], message: str, folder: Path, tmp_path: Path
) -> None:
    before = contents(folder)
    out = tmp_path / "new.png"
    assert message in fails("sample", folder / "prior", "--out", out, *words)
    assert not out.exists()
    assert contents(folder) == before


def test_a_tokenizer_alone_draws_nothing_new(folder: Path, tmp_path: Path) -> None:
    said = fails("sample", folder / "tokenizer", "--out", tmp_path / "new.png")
    assert "holds a vqvae run" in said
    assert f"tinyvq train prior --tokenizer {folder / 'tokenizer'} --out RUN" in said


def test_a_prior_of_another_codebook_is_refused(
    folder: Path, labelled: Path, tmp_path: Path
) -> None:
    run, other = tmp_path / "prior", tmp_path / "other"
    shutil.copytree(folder / "prior", run)
    succeeds(*words_of("vqvae", other, labelled, seed=9))
    shutil.rmtree(run / "tokenizer")
    shutil.copytree(other, run / "tokenizer")
    before = contents(run)
    message = "was trained on the codes of another tokenizer than the one in"
    for words in (
        ["sample", run, "--out", tmp_path / "new.png"],
        ["evaluate", run],
        words_of("prior", run, folder / "tokenizer"),
    ):
        assert message in fails(*words)
    assert contents(run) == before


def test_a_prior_needs_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    said = fails("train", "prior", "--out", tmp_path / "run")
    assert "give the run folder of a VQ-VAE or VQ-GAN, --tokenizer RUN" in said
    said = fails(*words_of("prior", tmp_path / "run", folder / "noise"))
    assert "holds a noise-vqgan run, a vqvae or vqgan run is needed" in said
    said = fails(*words_of("prior", tmp_path / "run", tmp_path / "nowhere"))
    assert said == f"error: there is no {tmp_path / 'nowhere'}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "heads"),
        ({"dropout": 1.0}, "p in [0, 1)"),
        ({"batch_size": 13}, "--batch-size 13 is more than the 12 training images"),
    ],
)
def test_an_option_that_a_prior_cannot_take_is_named(
    changes: dict[str, object], message: str, folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert message in fails(*words_of("prior", run, folder / "tokenizer", **changes))
    assert not run.exists()


# complete, interpolate, augment


def test_complete_keeps_what_is_given(
    folder: Path, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "completed.png"
    words = ["complete", folder / "prior", "--out", out, "--images", 2, "--count", 3]
    succeeds(*words)
    rows = tiles(read_picture(out), 2, 5, SIDE)
    test = load(str(labelled)).split("test").images[..., 0]
    for row in rows:
        assert any((row[0] == image).all() for image in test)
        # Half of three rows of codes is rounded to two: eight of twelve of pixels.
        np.testing.assert_array_equal(row[1, :8], row[0, :8])
        assert (row[1, 8:] == 128).all()
    succeeds(*words[:-1], 5)
    more = tiles(read_picture(out), 2, 7, SIDE)
    np.testing.assert_array_equal(more[:, :5], rows)  # and two that are new
    # With all rows given nothing is drawn: three times the reconstruction.
    succeeds(*words, "--keep", 1)
    whole = tiles(read_picture(out), 2, 5, SIDE)
    for row in whole:
        np.testing.assert_array_equal(row[2], row[3])
        np.testing.assert_array_equal(row[3], row[4])


def test_interpolate_goes_from_one_reconstruction_to_another(
    folder: Path, tmp_path: Path
) -> None:
    made = []
    for run in ("tokenizer", "prior"):  # a prior has a copy of it
        out = tmp_path / f"{run}.png"
        words = ["interpolate", folder / run, "--out", out, "--pairs", 2]
        succeeds(*words, "--steps", 4)
        made.append(tiles(read_picture(out), 2, 4, SIDE))
    np.testing.assert_array_equal(*made)
    model, _, _ = load_tokenizer(folder / "tokenizer")
    assert model.quantizer.num_codes == 6


def test_augment_writes_labelled_images(folder: Path, tmp_path: Path) -> None:
    packed, unpacked = tmp_path / "more.npz", tmp_path / "more"
    for out in (packed, unpacked):
        succeeds("augment", folder / "prior", "--per-class", 4, "--out", out)
    arrays = read_npz(packed)
    assert arrays["images"].shape == (12, SIDE, SIDE, 1)
    np.testing.assert_array_equal(np.bincount(arrays["labels"]), [4, 4, 4])
    assert sorted(path.name for path in unpacked.iterdir()) == ["00", "01", "02"]
    for label in range(3):
        mine = arrays["images"][arrays["labels"] == label]
        files = sorted((unpacked / f"{label:02d}").iterdir())
        assert len(files) == 4
        for image, path in zip(mine, files, strict=True):
            np.testing.assert_array_equal(read_picture(path)[..., :1], image)
    load(str(packed))  # can be trained on at once
    load(str(unpacked))
    before = contents(tmp_path)
    assert "is there already" in fails(
        "augment", folder / "prior", "--per-class", 1, "--out", unpacked
    )
    assert "trained without classes" in fails(
        "augment", folder / "plain", "--out", tmp_path / "none"
    )
    assert contents(tmp_path) == before


# evaluate, report


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluate_a_prior(split: str, folder: Path) -> None:
    words = ["evaluate", folder / "prior", "--split", split, "--json"]
    found = json.loads(succeeds(*words).out)
    assert found.keys() == {
        *("nats_per_token", "left_above_nats", "position_histogram_nats"),
        *("bits_per_dimension", "tokens_per_image", "images"),
    }
    assert (found["tokens_per_image"], found["images"]) == (
        9,
        {"train": 12, "val": 6, "test": 6}[split],
    )
    # Noise of 256 values needs 8 bits; no model of 12 images knows better.
    assert 7.5 < found["bits_per_dimension"] < 10
    assert 0 < found["nats_per_token"] < 3


def test_whoever_is_told_the_class_pays_for_it(folder: Path) -> None:
    """What is left of the bits of both priors is of the same pixels."""
    left = []
    for run, told in (("prior", math.log(3)), ("plain", 0.0)):
        found = json.loads(succeeds("evaluate", folder / run, "--json").out)
        whole = found["bits_per_dimension"] * SIDE**2 * math.log(2)
        left.append(whole - 9 * found["nats_per_token"] - told)
    assert left[0] == pytest.approx(left[1], rel=1e-6)  # of float32 nats


def test_evaluate_by_a_judge(folder: Path, labelled: Path, tmp_path: Path) -> None:
    found = {}
    for run in ("tokenizer", "prior", "plain"):
        words = ["evaluate", folder / run, "--judge", "random-conv", "--json"]
        found[run] = json.loads(succeeds(*words).out)["frechet_random-conv"]
        assert found[run] > 0
    assert found["prior"] != found["plain"]


def test_no_network_judges_what_was_trained_to_please_it(
    labelled: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    succeeds(*words_of("vqgan", run, labelled))
    config = json.loads((run / "config.json").read_text())
    config["options"]["perceptual_weight"] = 0.5
    (run / "config.json").write_text(json.dumps(config))
    said = fails("evaluate", run, "--judge", "squeezenet1.1")
    assert "squeezenet1.1 cannot judge this model, for a loss over its" in said
    succeeds("evaluate", run, "--judge", "random-conv")


def test_what_has_no_originals_says_what_is_needed(folder: Path) -> None:
    for run in ("noise", "gan"):
        for words in (["reconstruct", "--out", "x"], ["interpolate"]):
            said = fails(words[0], folder / run, *words[1:])
            assert "a vqvae, vqgan or vae run is needed" in said
    needed = "give a network to judge by, --judge NAME; there is: squeezenet1.1, "
    for words in (["gan"], ["gan", "--json"], ["noise", "--data", "nothing"]):
        said = fails("evaluate", folder / words[0], *words[1:])
        assert f"{folder / words[0]} makes images of noise: " in said
        assert needed in said


def distance(made: np.ndarray, images: np.ndarray) -> float:
    """The Fréchet distance of two sets, each described in one go."""
    found = []
    for each in (made, images):
        vectors = features("random-conv", each)
        found.append(FeatureStatistics("features", vectors.shape[1]))
        found[-1].add(vectors)
    return frechet_distance(*found)


def test_evaluate_a_gan_by_as_many_new_images_as_the_split_has(
    folder: Path, labelled: Path
) -> None:
    model, _, _ = load_generator(folder / "gan")
    for split, count in (("test", 6), ("train", 12)):
        words = ["evaluate", folder / "gan", "--judge", "random-conv", "--json"]
        found = figures(succeeds(*words, "--split", split))
        assert list(found) == ["frechet_random-conv", "images"]
        assert found["images"] == count
        images = load(str(labelled)).split(split).images
        # Rounding of batches of other sizes: F·2⁻⁵² of the spread, and its root.
        expected = distance(from_noise(model, count, 0), images)
        assert found["frechet_random-conv"] == pytest.approx(expected, rel=1e-6)


def test_evaluate_the_codes_of_a_noise_driven_vqgan(folder: Path) -> None:
    result = succeeds("evaluate", folder / "noise", "--json")
    found = figures(result)
    model, _, _ = load_generator(folder / "noise")
    assert isinstance(model, NoiseVQGAN)
    assert found == evaluate_codes(model).as_dict()
    assert (found["draws"], found["codes_total"]) == (1000, 6)
    assert 1 <= found["perplexity"] <= found["codes_used"] <= 6
    lines = succeeds("evaluate", folder / "noise").out.splitlines()
    assert [line.split()[0] for line in lines] == list(found)
    words = ["evaluate", folder / "noise", "--json", "--judge", "random-conv"]
    judged = figures(succeeds(*words))
    assert judged.pop("frechet_random-conv") > 0
    assert judged.pop("images") == 6
    assert judged == found


def test_evaluate_a_vae(folder: Path, labelled: Path) -> None:
    words = ["evaluate", folder / "vae", "--json"]
    found = json.loads(succeeds(*words).out)
    assert list(found) == [
        *["mse", "nmse", "psnr_db", "ssim", "kl", "images", "bits_per_dimension"]
    ]
    assert found["images"] == 6
    model, _, run = load_autoencoder(folder / "vae")
    assert found["nmse"] == found["mse"] / run.facts["pixel_variance"]
    judged = json.loads(succeeds(*words, "--judge", "random-conv").out)
    test = load(str(labelled)).split("test").images
    assert isinstance(model, VAE)
    made = from_unit(np.concatenate(list(reconstructions(model, test))))
    for name, images in (("", made), ("samples_", from_noise(model, 6, 0))):
        by_hand = pytest.approx(distance(images, test), rel=1e-6)
        assert judged.pop(f"frechet_{name}random-conv") == by_hand
    assert judged == found
    assert model.num_parameters() > 0


def test_a_vae_takes_other_images_of_its_own_size(folder: Path, tmp_path: Path) -> None:
    larger = write_labelled(tmp_path / "larger.npz", size=16)
    words = ["evaluate", folder / "vae", "--data", larger, "--json"]
    assert "has images of 16×16 pixels" in fails(*words)
    found = json.loads(succeeds(*words, "--fit").out)
    assert "bits_per_dimension" not in found  # whose scale is its own images'
    out = tmp_path / "grid.png"
    succeeds("reconstruct", folder / "vae", "--out", out, "--count", 3)
    assert out.exists()


@pytest.mark.parametrize("run", ["prior", "plain"])
def test_a_prior_encodes_decodes_and_reconstructs_by_its_tokenizer(
    run: str, folder: Path, labelled: Path, tmp_path: Path
) -> None:
    made = []
    for name in (run, "tokenizer"):
        out = tmp_path / name
        out.mkdir()
        succeeds("encode", folder / name, labelled, "--out", out / "codes.npz")
        words = ["decode", folder / name, tmp_path / run / "codes.npz"]
        succeeds(*words, "--out", out / "pictures")
        for data in ([], ["--data", labelled, "--split", "val"]):
            words = ["reconstruct", folder / name, *data, "--out"]
            succeeds(*words, out / f"grid{len(data)}.png")
        made.append(contents(out))
    assert made[0] == made[1]
    assert len(made[0]) == 24 + 3


@pytest.mark.parametrize("run", ["tokenizer", "prior", "noise"])
def test_a_judge_that_is_not_there_is_told_before_anything_is_measured(
    run: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking() -> None:
        raise DataError("pip install its weights")

    def too_early(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setitem(JUDGES, "random-conv", lacking)
    judge.cache_clear()
    for name in ("measure", "evaluate_prior", "evaluate_codes"):
        monkeypatch.setattr(f"tinyvq.cli._inspect.{name}", too_early)
    said = fails("evaluate", folder / run, "--judge", "random-conv")
    assert said == "error: pip install its weights"


def test_a_vae_has_no_codes(folder: Path, labelled: Path, tmp_path: Path) -> None:
    out, needed = tmp_path / "codes.npz", "a vqvae or vqgan run is needed"
    assert needed in fails("encode", folder / "vae", labelled, "--out", out)
    assert needed in fails(*words_of("prior", tmp_path / "run", folder / "vae"))
    assert list(tmp_path.iterdir()) == []


def test_interpolate_of_a_vae_in_steps_of_any_number(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "between.png"
    succeeds("interpolate", folder / "vae", "--out", out, "--pairs", 2, "--steps", 4)
    made = tiles(read_picture(out), 2, 4, SIDE)
    again = tmp_path / "again.png"
    succeeds("interpolate", folder / "vae", "--out", again, "--pairs", 2, "--steps", 7)
    finer = tiles(read_picture(again), 2, 7, SIDE)
    np.testing.assert_array_equal(made, finer[:, ::2])


@pytest.mark.parametrize("run", ["tokenizer", "prior", "noise", "vae", "gan"])
def test_report_is_one_page_with_all_pictures_inside(
    run: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    assert succeeds("report", folder / run, "--out", out).err == f"wrote {out}\n"
    page = out.read_text()
    pictures = page.count('src="data:image/png;base64,')
    assert page.count("<img") == pictures >= 4
    for outside in ("http:", "https:", 'src="/', "url(", "<script"):
        assert outside not in page.replace('xmlns="http:', "")


# demo


@pytest.mark.usefixtures("no_figures")
def test_demo_goes_all_the_way_and_checks_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labelled: Path
) -> None:
    from tinyvq.cli import _demo

    small = VQVAEOptions(
        data=str(labelled), steps=2, batch_size=4, hidden=4, code_dim=2, num_codes=6
    )
    monkeypatch.setattr(_demo, "TOKENIZER", small)
    prior = PriorOptions(steps=2, batch_size=4, width=4, heads=1, layers=1)
    monkeypatch.setattr(_demo, "PRIOR", prior)
    monkeypatch.setattr(_demo, "MOST_NMSE", 100.0)
    monkeypatch.setattr(_demo, "LEAST_CODES", 1)
    out = tmp_path / "demo"
    result = tinyvq("demo", "--out", out)
    # Two steps on noise: the prior cannot be better than counting, and that is said.
    assert result.status == 1
    assert "error: the demo fell short: " in result.err
    assert (
        "nats per token, expected at most 2.6 and less than counting has" in result.err
    )
    for name in (
        *("new.png", "prior/samples.png", "prior/nearest.png", "prior/report.html"),
        *("tokenizer/reconstructions.png", "tokenizer/report.html"),
    ):
        assert f"  {out / name}\n" in result.err
        assert (out / name).exists()
    assert "nmse" in result.out
    assert "nats_per_token" in result.out
    # And a run that is there already is not touched.
    again = tinyvq("demo", "--out", out)
    assert (again.status, again.out) == (1, "")
    assert "holds a run already" in again.err


def test_the_seed_and_the_number_fix_an_image_from_noise(folder: Path) -> None:
    from tinyvq.training.generation import SamplingOptions, draw_codes

    model, _, _ = load_generator(folder / "noise")
    np.testing.assert_array_equal(from_noise(model, 3, 5), from_noise(model, 7, 5)[:3])
    prior = load_prior(folder / "prior").prior
    how = SamplingOptions(seed=4)
    labels = np.arange(5) % 3
    few, more = (draw_codes(prior, labels[:n], n, how) for n in (2, 5))
    np.testing.assert_array_equal(few, more[:2])
    other = draw_codes(prior, labels, 5, replace(how, seed=5))
    assert (other != more).any()
