"""The options of a VQ-VAE, its facts, its measures, and the warning of collapse."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.run_examples import config_of, train_words, write_images

from tinyvq import data, metrics
from tinyvq.cli import main
from tinyvq.data import ImageData, Split, batch_indices, to_unit
from tinyvq.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ModuleError,
    RunError,
)
from tinyvq.models import VQVAE
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training import checkpoint, codebook_use
from tinyvq.training.image_task import VALIDATION_IMAGES
from tinyvq.training.run import create
from tinyvq.training.tokenizer import facts_of, load_images
from tinyvq.training.trained import load_tokenizer, open_tokenizer
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

SMALL = {"hidden": 4, "code_dim": 2, "num_codes": 6, "batch_size": 4}


def task_of(images: Path, **options: Any) -> VQVAETask:
    found = data.load(str(images))
    return VQVAETask(VQVAEOptions(**SMALL | options), found, facts_of(found))


# Options.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("steps", 0), ("batch_size", 0), ("batch_size", -1), ("log_every", 0)],
        *[("validate_every", 0), ("checkpoint_every", 0), ("picture_every", 0)],
        *[("image_size", 0), ("hidden", 0), ("num_codes", 0), ("code_dim", -3)],
        *[("warmup", -1), ("cooldown", -1), ("lr", 0.0), ("lr", -1.0)],
        *[(name, float("nan")) for name in ("lr", "decay", "temperature")],
        *[(name, float("inf")) for name in ("lr", "kl_weight", "commitment")],
    ],
)
def test_an_option_out_of_its_range_is_named_as_it_is_typed(
    name: str, value: float
) -> None:
    with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} must be "):
        VQVAEOptions(**{name: value})


def test_a_cosine_does_not_cool_down_as_well() -> None:
    with pytest.raises(ConfigError, match=r"^--cooldown needs --no-cosine"):
        VQVAEOptions(cosine=True, cooldown=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay"),
        ({"restart_below": 1.5}, "restart_below"),
        ({"commitment": -0.1}, "commitment"),
        ({"quantizer": "soft", "temperature": 0.0}, "temperature"),
        ({"quantizer": "soft", "kl_weight": -1.0}, "kl_weight"),
    ],
)
def test_a_setting_that_the_quantizer_refuses_is_named(
    images: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        task_of(images, **options)


def test_the_schedule_is_that_of_the_options() -> None:
    options = VQVAEOptions(
        steps=7, log_every=1, validate_every=2, checkpoint_every=3, picture_every=4
    )
    assert dataclasses.astuple(options.schedule()) == (7, 1, 2, 3, 4)


# Facts.


def test_the_facts_are_those_of_the_training_images(images: Path) -> None:
    found = data.load(str(images))
    facts = facts_of(found)
    train = found.split("train").images
    assert facts["image_shape"] == [8, 8, 1]
    assert facts["images"] == {"train": 12, "val": 6, "test": 6}
    # Whole numbers, rounded once; NumPy rounds at every sum.
    assert facts["pixel_variance"] == pytest.approx(np.var(train / 255), rel=1e-13)
    assert json.loads(json.dumps(facts)) == facts


def changed(found: ImageData, split: str, images: Any) -> ImageData:
    return dataclasses.replace(found, splits={**found.splits, split: Split(images)})


def test_the_digest_sees_every_image_that_a_run_reads(images: Path) -> None:
    found = data.load(str(images))
    seen = {facts_of(found)["data_digest"]}
    for split in ("train", "val"):
        flipped = found.split(split).images.copy()
        flipped[-1, -1, -1, 0] ^= 1
        seen.add(facts_of(changed(found, split, flipped))["data_digest"])
        turned = found.split(split).images[::-1]
        seen.add(facts_of(changed(found, split, turned))["data_digest"])
        wide = found.split(split).images.reshape(-1, 4, 16, 1)
        seen.add(facts_of(changed(found, split, wide))["data_digest"])
    assert len(seen) == 7
    test = changed(found, "test", found.split("test").images[::-1])
    assert facts_of(test)["data_digest"] in seen  # no run reads it


def test_images_without_any_difference_are_refused(images: Path) -> None:
    found = data.load(str(images))
    grey = np.full((12, 8, 8, 1), 7, np.uint8)  # 7/255 is not its own mean: it rounds
    with pytest.raises(DataError, match="all training pixels are alike"):
        facts_of(changed(found, "train", grey))


def test_a_set_without_a_split_that_training_reads_is_refused(tmp_path: Path) -> None:
    train = Stream(0).integers(256, (12, 8, 8, 1)).astype(np.uint8)
    for split in ("train", "val"):
        arrays = {"train": train, "val": train, split: train[:0]}
        np.savez(tmp_path / "images.npz", **arrays)
        with pytest.raises(DataError, match=f"has no images in its {split} split"):
            load_images(VQVAEOptions(data=str(tmp_path / "images.npz")))


# A step.


def test_a_step_measures_what_its_names_say(images: Path) -> None:
    task = task_of(images, warmup=4, lr=0.01)
    train = task.images.split("train").images
    x = to_unit(train[batch_indices(12, 4, 1, 0)])
    before = VQVAE.preset(
        "conv",
        channels=1,
        seed=0,
        hidden=4,
        code_dim=2,
        num_codes=6,
        pixel_variance=facts_of(task.images)["pixel_variance"],
        decay=task.options.decay,
        restart_below=task.options.restart_below,
    )(Tensor(x))
    record = task.step(1)
    assert record["loss"] == before.loss.item()
    # The same sums in the same order, in float32 each: equal, not only close.
    error = before.reconstruction_mse
    assert record["nmse"] == error / task.model.pixel_variance
    assert record["batch_perplexity"] == pytest.approx(
        metrics.batch_perplexity(before.indices, 6), rel=1e-12
    )
    assert record["batch_codes_used"] == len(np.unique(before.indices))
    assert record["codes_restarted"] == 0
    assert record["lr"] == 0.01 / 4
    assert record["gradient_norm"] > 0


@pytest.mark.parametrize("quantizer", ["ema", "gradient", "soft"])
def test_steps_are_what_one_would_write_by_hand(images: Path, quantizer: str) -> None:
    """Forward, backward, Adam, then the codebook; each once, and the same bits."""
    options = {"quantizer": quantizer, "warmup": 2, "cosine": True, "steps": 5}
    task, by_hand = task_of(images, **options), task_of(images, **options)
    model, adam = by_hand.model, by_hand.optimizer
    train = by_hand.images.split("train").images
    full = task.options.lr
    # Half and all of it, then half a cosine over the three steps that are left.
    rates = [
        full / 2,
        full,
        *[full * (1 + np.cos(np.pi * i / 3)) / 2 for i in (1, 2, 3)],
    ]
    for step in range(1, 6):
        record = task.step(step)
        assert record["lr"] == pytest.approx(rates[step - 1], rel=1e-12, abs=1e-20)
        model.zero_grad()
        output = model(Tensor(to_unit(train[batch_indices(12, 4, step, 0)])))
        output.loss.backward()
        adam.lr = record["lr"]
        adam.step()
        update = model.quantizer.update(output.stats)
        for codebook in model.quantizer.trained_codebook():
            adam.reset_rows(codebook, update.moved)
        ours, theirs = task.state(), by_hand.state()
        for name, array in theirs.items():
            assert ours[name].tobytes() == array.tobytes(), (step, name)


def test_the_first_step_starts_the_codebook_where_the_encoder_is(images: Path) -> None:
    task = task_of(images)
    before = task.state()["model.quantizer.codebook"]
    task.step(1)
    after = task.state()["model.quantizer.codebook"]
    assert (before != after).any()


def test_moments_of_a_code_that_moved_are_forgotten(images: Path) -> None:
    task = task_of(
        images, quantizer="gradient", num_codes=40, restart_below=0.99, decay=0.5
    )
    task.step(1)
    moments = [i for i, p in enumerate(task.optimizer.parameters) if p.shape == (40, 2)]
    (codebook,) = moments
    assert not task.optimizer.slots["m"][codebook].any()  # the start moved all
    restarted = task.step(2)["codes_restarted"]
    forgotten = (~task.optimizer.slots["m"][codebook].any(axis=1)).sum()
    assert 0 < restarted <= forgotten


# Validation, and collapse.


def collapse(task: VQVAETask) -> None:
    """Make all codes equal: ties go to the lowest, so one is used."""
    with task.model.quantizer.codebook.mutate() as codes:  # type: ignore[attr-defined]
        codes[...] = 0


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({}, "A higher --restart-below or a lower --lr may help"),
        ({"restart_below": 0.0}, "places codes anew that are hardly chosen"),
        (
            {"quantizer": "gradient", "restart_below": 0.0},
            "places codes anew that are hardly chosen",
        ),
        ({"quantizer": "soft"}, "A --kl-weight above 0 draws the assignment"),
    ],
)
def test_a_collapsing_codebook_is_told_with_its_remedy(
    images: Path,
    options: dict[str, Any],
    remedy: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = task_of(images, num_codes=20, **options)
    collapse(task)
    record = task.validate()
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("only 1 of 20 codes are in use: the codebook collapses. ")
    assert remedy in said
    assert record["val_codes_used"] == 1
    assert record["val_perplexity"] == 1.0


def test_a_codebook_in_use_is_no_reason_to_speak(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = task_of(images)
    task.step(1)
    record = task.validate()
    assert record["val_codes_used"] >= 0.1 * 6
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("command_line", "no_figures")
def test_collapse_is_told_while_training(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(codebook_use, "COLLAPSED", 0.99)
    assert main(train_words(tmp_path / "run", images, restart_below=0)) == 0
    said = capsys.readouterr().err
    assert "codes are in use: the codebook collapses. --restart-below 0." in said


def test_the_glance_is_of_all_classes(tmp_path: Path) -> None:
    """Images of a folder stand class by class; the first ones are of one alone."""
    count = 2 * VALIDATION_IMAGES
    val = np.zeros((count, 4, 4, 1), np.uint8)
    val[count // 2 :] = 1
    train = Stream(0).integers(256, (20, 4, 4, 1)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", train=train, val=val)
    glance = task_of(tmp_path / "images.npz").glance()
    assert len(glance) == VALIDATION_IMAGES
    assert glance.mean() == pytest.approx(0.5, abs=0.05)


def test_validation_looks_at_so_many_images_at_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    count = 2 * (VALIDATION_IMAGES + 50)
    shape = (count, 4, 4, 1)
    values = Stream(0).integers(256, shape).astype(np.uint8)
    np.savez(tmp_path / "images.npz", train=values[:20], val=values[20:])
    task = task_of(tmp_path / "images.npz")
    seen: list[int] = []
    from tinyvq.training import tokenizer

    real = tokenizer.evaluate

    def counting(model: VQVAE, images: Any) -> Any:
        seen.append(len(images))
        return real(model, images)

    monkeypatch.setattr(tokenizer, "evaluate", counting)
    task.validate()
    assert seen == [VALIDATION_IMAGES]


# Loading.


@pytest.fixture
def run(images: Path, tmp_path: Path, command_line: None, no_figures: None) -> Path:
    assert main(train_words(tmp_path / "run", images)) == 0
    return tmp_path / "run"


def test_a_loaded_model_is_the_trained_one_in_evaluation(run: Path) -> None:
    model, options, opened = load_tokenizer(run)
    assert not any(module.training for _, module in model.named_modules())
    saved = checkpoint.load_latest(opened.checkpoints).arrays
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, saved[f"model.{name}"])
    assert options.num_codes == 6
    assert model.pixel_variance == opened.facts["pixel_variance"]


def test_a_damaged_newest_checkpoint_is_passed_over_and_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = run / "checkpoints" / "step-00000008.safetensors"
    newest.write_bytes(b"cut")
    capsys.readouterr()
    load_tokenizer(run)
    assert "passing over checkpoint step-00000008: " in capsys.readouterr().err


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "dtype"])
def test_a_checkpoint_of_another_model_is_named(run: Path, change: str) -> None:
    saved = checkpoint.load_latest(run / "checkpoints")
    arrays = dict(saved.arrays)
    name = "model.quantizer.codebook"
    if change == "missing":
        del arrays[name]
    elif change == "unknown":
        arrays["model.more"] = np.zeros(3)
    elif change == "shape":
        arrays[name] = np.zeros((7, 2), np.float32)
    else:
        arrays[name] = arrays[name].astype(np.float64)
    checkpoint.save(run / "checkpoints", 9, arrays, saved.info)
    with pytest.raises(CheckpointError, match=r"step-00000009\.safetensors does not"):
        load_tokenizer(run)


def edit(run: Path, **changes: Any) -> None:
    content = config_of(run)
    for name, value in changes.items():
        content[name] = value(content[name]) if callable(value) else value
    (run / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "prior"}, "holds a prior run, a vqvae or vqgan run is needed"),
        ({"facts": {}}, r"config\.json has damaged facts: \{\}"),
        ({"facts": lambda f: {**f, "image_shape": [8, 8]}}, "has damaged facts"),
        ({"facts": lambda f: {**f, "image_shape": ["8", 8, 1]}}, "has damaged facts"),
        ({"facts": lambda f: {**f, "pixel_variance": 0.0}}, "has damaged facts"),
        ({"facts": lambda f: {**f, "data_digest": 3}}, "has damaged facts"),
        ({"options": lambda o: {**o, "hidden": "4"}}, "does not fit: hidden cannot be"),
        ({"options": lambda o: {**o, "quantizer": "x"}}, "does not fit: quantizer"),
        ({"options": lambda o: {**o, "steps": 0}}, "does not fit: --steps must be"),
        ({"options": lambda o: {**o, "later": 1}}, "does not fit: .*'later'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(
    run: Path, changes: dict[str, Any], message: str
) -> None:
    edit(run, **changes)
    with pytest.raises(RunError, match=message):
        open_tokenizer(run)


def test_an_edited_size_does_not_fit_the_checkpoint(run: Path) -> None:
    edit(run, options=lambda options: {**options, "hidden": 8})
    with pytest.raises(CheckpointError, match=r"does not fit: encoder"):
        load_tokenizer(run)


def test_a_run_without_a_checkpoint_is_named(images: Path, tmp_path: Path) -> None:
    facts = facts_of(data.load(str(images)))
    options = dataclasses.asdict(VQVAEOptions(data=str(images), **SMALL))
    create(tmp_path / "run", "vqvae", options, facts)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*: no step-\*\.json"):
        load_tokenizer(tmp_path / "run")


def test_state_and_load_state_are_inverse(images: Path) -> None:
    one, other = task_of(images), task_of(images, seed=5)
    for step in (1, 2, 3):
        one.step(step)
    other.load_state(one.state())
    for name, array in one.state().items():
        assert array.tobytes() == other.state()[name].tobytes(), name
    with pytest.raises(ModuleError):
        other.load_state({})


def test_colour_and_grey_of_any_size_that_divides_by_four(tmp_path: Path) -> None:
    for channels in (1, 3):
        path = write_images(tmp_path / f"{channels}.npz", size=12, channels=channels)
        task = task_of(path)
        assert np.isfinite(task.step(1)["loss"])
        assert np.isfinite(task.validate()["val_nmse"])
