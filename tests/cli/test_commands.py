"""Every command, end to end on small data: what it makes, says and answers."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from cli.command_line import figures, pictures, splits, succeeds, tinyvq
from required import library
from training.run_examples import config_of, resume_words, train_words, untimed

from tinyvq.cli import COMMANDS
from tinyvq.data import from_unit, load, pick, read_picture
from tinyvq.training.evaluation import evaluate, reconstruct
from tinyvq.training.trained import load_tokenizer
from tinyvq.training.vqvae import VQVAEOptions

Image = library("PIL.Image")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# train


def test_train_leaves_a_run_folder(trained: Path) -> None:
    assert names(trained) == [
        *["checkpoints", "codebook.png", "config.json", "curve.png"],
        *["metrics.jsonl", "reconstructions.png", "samples"],
    ]
    assert names(trained / "samples") == ["step-00000004.png", "step-00000008.png"]
    steps = (6, 8)
    ends = ("json", "safetensors")
    assert names(trained / "checkpoints") == [
        f"step-{step:08d}.{end}" for step in steps for end in ends
    ]


def test_the_configuration_holds_every_option(trained: Path, images: Path) -> None:
    config = config_of(trained)
    options = VQVAEOptions(**config["options"])
    assert (options.data, options.steps, options.num_codes) == (str(images), 8, 6)
    assert config["options"].keys() == VQVAEOptions().__dict__.keys()
    assert config["kind"] == "vqvae"
    assert config["facts"]["image_shape"] == [16, 16, 1]


def test_the_metrics_of_a_run(trained: Path) -> None:
    records = untimed(trained)
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    always = {"step", "loss", "nmse", "batch_perplexity", "batch_codes_used"}
    always |= {"codes_restarted", "gradient_norm", "lr"}
    sometimes = {"val_nmse", "val_perplexity", "val_codes_used"}
    for record in records:
        looked = record["step"] % 4 == 0
        assert record.keys() == (always | sometimes if looked else always)
        assert all(np.isfinite(value) for value in record.values())


@pytest.mark.usefixtures("no_figures")
def test_train_says_what_it_does_on_standard_error(
    images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    result = succeeds(*train_words(run, images))
    assert result.out == ""
    progress, done = result.err.splitlines()
    assert re.fullmatch(
        r"step 8/8  loss [\d.]+  nmse [\d.]+  perplexity [\d.]+  images/s [\d.]+  "
        r"0:00 left",
        progress,
    )
    assert done == f"done: {run} (reconstructions.png, curve.png, codebook.png)"
    again = succeeds(*resume_words(run, images))
    assert again.err.splitlines() == [done]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("quantizer", ["ema", "gradient", "soft"])
@pytest.mark.parametrize("model", ["conv", "dense"])
def test_each_model_trains_with_each_quantizer(
    images: Path, tmp_path: Path, model: str, quantizer: str
) -> None:
    run = tmp_path / "run"
    changes = {"steps": 2, "model": model, "quantizer": quantizer}
    succeeds(*train_words(run, images, **changes))
    found = figures(succeeds("evaluate", run, "--json"))
    positions = 16 if model == "conv" else 1
    assert found["bits_per_image"] == pytest.approx(positions * np.log2(6), rel=1e-12)


@pytest.mark.usefixtures("no_figures")
def test_a_folder_of_pictures_is_fitted_as_asked(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        pictures(tmp_path / "pictures" / name, *[20, 24, 33, 17] * 2)
    words = train_words(
        tmp_path / "run", tmp_path / "pictures", image_size=12, channels=3, steps=2
    )
    succeeds(*words)
    assert config_of(tmp_path / "run")["facts"]["image_shape"] == [12, 12, 3]
    found = figures(succeeds("evaluate", tmp_path / "run", "--json"))
    assert found["images"] == 8


# evaluate


def test_evaluate_prints_one_json_object_alone(trained: Path, images: Path) -> None:
    result = succeeds("evaluate", trained, "--json")
    found = figures(result)
    assert list(found) == [
        *["mse", "nmse", "psnr_db", "ssim", "perplexity", "corrected_perplexity"],
        *["codes_used", "codes_total", "positions", "bits_per_image", "images"],
    ]
    assert result.err == ""
    model, _, run = load_tokenizer(trained)
    test = load(str(images)).split("test").images
    assert found == evaluate(model, test).as_dict()
    assert found["nmse"] == found["mse"] / run.facts["pixel_variance"]


def test_evaluate_takes_the_split_that_is_asked_for(trained: Path) -> None:
    found = {
        split: figures(succeeds("evaluate", trained, "--split", split, "--json"))
        for split in ("train", "val", "test")
    }
    assert [found[split]["images"] for split in found] == [12, 6, 6]
    assert len({figure["mse"] for figure in found.values()}) == 3
    assert found["test"] == figures(succeeds("evaluate", trained, "--json"))


def test_evaluate_prints_a_figure_a_line(trained: Path) -> None:
    found = figures(succeeds("evaluate", trained, "--json"))
    lines = succeeds("evaluate", trained).out.splitlines()
    shown = dict(line.split() for line in lines)
    assert shown.keys() == found.keys()
    for name, value in found.items():
        assert float(shown[name]) == pytest.approx(value, abs=5e-5)  # four decimals


def test_evaluate_measures_other_images(trained: Path, tmp_path: Path) -> None:
    larger = splits(tmp_path / "larger.npz", size=20)  # the network takes any size
    found = figures(succeeds("evaluate", trained, "--data", larger, "--json"))
    assert found["bits_per_image"] == pytest.approx(25 * np.log2(6), rel=1e-12)


def test_evaluate_fits_other_images(trained: Path, tmp_path: Path) -> None:
    colour = splits(tmp_path / "colour.npz", size=23, channels=3)
    found = figures(succeeds("evaluate", trained, "--data", colour, "--fit", "--json"))
    assert found["images"] == 6


# reconstruct


def test_reconstruct_draws_the_images_asked_for(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grid.png"
    result = succeeds("reconstruct", trained, "--out", out, "--count", 3)
    assert (result.out, result.err) == ("", f"wrote {out}\n")
    picture = read_picture(out)
    # Three columns of 16 pixels with gaps of 4; rows: 16, a line of 1, 16; and all
    # that enlarged.
    factor = picture.shape[1] // (3 * 16 + 2 * 4)
    assert picture.shape[:2] == (33 * factor, 56 * factor)
    small = picture[::factor, ::factor, :1]
    found = load(str(images)).split("test").images
    chosen = found[pick(len(found), 3)]
    model, _, _ = load_tokenizer(trained)
    (made,) = [batch for _, batch, _ in reconstruct(model, chosen)]
    for i in range(3):
        left = i * 20
        above, below = small[:16, left : left + 16], small[17:, left : left + 16]
        np.testing.assert_array_equal(above, chosen[i])
        np.testing.assert_array_equal(below, from_unit(made[i]))


def test_reconstruct_draws_no_more_than_there_are(
    trained: Path, tmp_path: Path
) -> None:
    for count in (6, 1000):
        out = tmp_path / f"{count}.png"
        succeeds("reconstruct", trained, "--out", out, "--count", count)
    assert (tmp_path / "6.png").read_bytes() == (tmp_path / "1000.png").read_bytes()


# encode and decode


def decode(run: Path, codes: Path, folder: Path) -> dict[str, np.ndarray]:
    """Decode into a folder; the pictures by their names."""
    assert succeeds("decode", run, codes, "--out", folder).out == ""
    return {
        path.relative_to(folder).as_posix(): read_picture(path)
        for path in sorted(folder.rglob("*.*"))
    }


def test_decode_of_encode_is_reconstruct(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    codes = tmp_path / "codes.npz"
    result = succeeds("encode", trained, images, "--out", codes)
    assert result.err == f"wrote {codes}: 24 images as (4, 4) codes each\n"
    found = decode(trained, codes, tmp_path / "made")
    assert list(found) == [f"{i:05d}.png" for i in range(24)]
    model, _, _ = load_tokenizer(trained)
    whole = load(str(images)).everything().images
    (made,) = [batch for _, batch, _ in reconstruct(model, whole)]
    # The same codes through the same decoder: the same bytes.
    np.testing.assert_array_equal(np.stack(list(found.values())), from_unit(made))


def test_codes_are_small_and_tell_their_model(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    succeeds("encode", trained, images, "--out", tmp_path / "codes.npz")
    with np.load(tmp_path / "codes.npz") as codes:
        assert sorted(codes.files) == ["indices", "model"]
        assert codes["indices"].dtype == np.uint8
        assert codes["indices"].shape == (24, 4, 4)
        model, _, _ = load_tokenizer(trained)
        assert str(codes["model"]) == model.fingerprint()


def test_pictures_keep_their_names_and_labels(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    for label in ("cats", "dogs"):
        pictures(source / label, 16, 16)
    pictures(source / "dogs", 16, suffix=".jpg")  # beside 000.png a 000.jpg
    codes = tmp_path / "codes.npz"
    succeeds("encode", trained, source, "--out", codes)
    with np.load(codes) as arrays:
        assert arrays["labels"].tolist() == [0, 0, 1, 1, 1]
        listed = ["cats/000.png", "cats/001.png", "dogs/000.jpg", "dogs/000.png"]
        assert arrays["names"].tolist() == [*listed, "dogs/001.png"]
    made = list(decode(trained, codes, tmp_path / "made"))
    # No picture takes another's place.
    assert made == [
        *["cats/000.png", "cats/001.png", "dogs/000.jpg.png", "dogs/000.png.png"],
        "dogs/001.png",
    ]


def test_any_indices_can_be_decoded(trained: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", indices=np.full((2, 3, 5), 4, np.int16))
    made = decode(trained, tmp_path / "mine.npz", tmp_path / "made")
    assert [picture.shape for picture in made.values()] == [(12, 20, 1)] * 2
    np.testing.assert_array_equal(made["00000.png"], made["00001.png"])


def test_ten_codes_make_ten_pictures(dense: Path, images: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes.npz"
    result = succeeds("encode", dense, images, "--out", codes)
    assert "24 images as (1, 1) codes each" in result.err
    made = decode(dense, codes, tmp_path / "made")
    assert len(made) == 24
    assert len({picture.tobytes() for picture in made.values()}) <= 6


# gradcheck, compile, demo


def test_gradcheck_of_some_ops() -> None:
    found = json.loads(
        succeeds("gradcheck", "add", "vq_loss", "--cases", 2, "--json").out
    )
    assert found["cases"] == 2
    assert list(found["worst"]) == ["add", "vq_loss"]
    for worst in found["worst"].values():
        kinds = {"value", "gradient", "adjoint", "value32", "gradient32"}
        assert worst.keys() == kinds
    lines = succeeds("gradcheck", "add", "--cases", 2).out.splitlines()
    assert lines[3].split()[0] == "add"
    assert lines[-1].startswith("1 right: ")


def test_gradcheck_of_a_wrong_gradient_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinyvq.ops import _activations

    right = _activations.ReLU.backward

    def wrong(self: object, ctx: object, gy: np.ndarray) -> object:
        (gx,) = right(self, ctx, gy)  # type: ignore[arg-type]
        return (gx * 1.01,)

    monkeypatch.setattr(_activations.ReLU, "backward", wrong)
    result = tinyvq("gradcheck", "relu", "add", "--cases", 3)
    assert result.status == 1
    assert "FAILED relu: " in result.err
    assert result.err.splitlines()[-1] == "error: 1 of 2 failed"
    assert "Traceback" not in result.err


def test_compile_of_compiled_kernels() -> None:
    succeeds("compile")
    assert succeeds("compile").err == "the kernels are compiled already\n"


def test_every_command_is_tested_here() -> None:
    """A new command needs a test, and its place in this list."""
    flat = [
        name if isinstance(found, tuple) else f"{name} {inner}"
        for name, found in COMMANDS.items()
        for inner in ([""] if isinstance(found, tuple) else found)
    ]
    assert [name.strip() for name in flat] == [
        *["demo", "train vqvae", "train vqgan", "train prior"],
        *["train vae", "train gan", "train noise-vqgan"],  # test_new_images.py
        *["sample", "complete", "interpolate", "augment"],  # test_new_images.py
        *["evaluate", "reconstruct", "report", "encode", "decode"],
        "export",  # test_exported_runs.py
        *["data list", "data fetch", "gradcheck"],
        *["profile vqvae", "profile vqgan"],  # test_profile_command.py
        *["emulate", "bench", "compile"],  # test_emulate_command.py
    ]


def test_pictures_are_png(trained: Path) -> None:
    for path in trained.rglob("*.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            picture.load()
