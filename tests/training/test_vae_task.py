"""A VAE's options, its step, and what it is measured by.

The images are noise, the networks tiny: what is learned does not matter here.
"""

import math
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.kind_examples import spoilt_before_step, words_of, write_labelled

from tinyvq import data, metrics
from tinyvq.cli import main
from tinyvq.data import from_unit, to_unit
from tinyvq.errors import ConfigError, NonFiniteError
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.evaluation import (
    BATCH,
    evaluate_vae,
    reconstructions,
    vae_bits_per_dimension,
)
from tinyvq.training.generation import from_noise, interpolate
from tinyvq.training.loop import Schedule, resume
from tinyvq.training.run import open_run
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.trained import load_autoencoder, load_generator
from tinyvq.training.vae import VAEOptions, VAETask

SMALL: dict[str, Any] = {"hidden": 4, "grid_dim": 2, "latent_dim": 3, "batch_size": 4}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("data") / "labelled.npz")


@pytest.fixture
def task(labelled: Path) -> VAETask:
    return task_of(labelled)


def task_of(images: Path, **changes: Any) -> VAETask:
    found = data.load(str(images))
    return VAETask(VAEOptions(**{**SMALL, **changes}), found, facts_of(found))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("beta", -0.1), ("beta", math.nan), ("beta", math.inf), ("hidden", 0)],
        *[("latent_dim", 0), ("grid_dim", 0), ("lr", 0.0), ("steps", 0)],
    ],
)
def test_an_option_out_of_its_range_is_named_as_it_is_typed(
    name: str, value: float
) -> None:
    with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} must be "):
        VAEOptions(**{name: value})


def test_a_step_measures_what_its_names_say(labelled: Path) -> None:
    task, before = (task_of(labelled, warmup=4, lr=0.01, beta=0.3) for _ in "ab")
    output = before.model(before.batch(1), before.noise(1))
    measures = task.step(1)
    assert list(measures) == ["loss", "nmse", "kl", "gradient_norm", "lr"]
    assert measures["loss"] == output.loss.item()
    assert measures["nmse"] == output.mse.item() / task.model.pixel_variance
    assert measures["kl"] == output.kl.item()
    assert measures["lr"] == 0.01 / 4
    expected = measures["nmse"] + 2 * 0.3 / 144 * measures["kl"]
    assert measures["loss"] == pytest.approx(expected, rel=1e-6)
    output.loss.backward()
    squares = [
        (p.grad.numpy().astype(np.float64) ** 2).sum()
        for p in before.model.parameters()
        if p.grad is not None
    ]
    assert measures["gradient_norm"] == pytest.approx(math.sqrt(sum(squares)), rel=1e-6)


def test_the_noise_is_a_function_of_seed_and_step(labelled: Path) -> None:
    drawn = {
        (seed, step): task_of(labelled, seed=seed).noise(step).numpy().tobytes()
        for seed in (0, 1)
        for step in (1, 2)
    }
    assert len(set(drawn.values())) == 4
    assert task_of(labelled).noise(2).numpy().tobytes() == drawn[0, 2]
    assert task_of(labelled).noise(1).shape == (4, 3)


def test_all_that_moves_is_in_the_state(task: VAETask) -> None:
    before = task.state()
    task.step(1)
    after = task.state()
    still = {n for n in before if before[n].tobytes() == after[n].tobytes()}
    assert still == set()
    assert {name.partition(".")[0] for name in after} == {"model", "adam"}


def test_validation_measures_the_means(task: VAETask) -> None:
    task.step(1)
    val = task.images.split("val").images
    found = evaluate_vae(task.model, val)
    assert task.validate() == {"val_nmse": found.nmse, "val_kl": found.kl}


# Evaluation.


@pytest.mark.parametrize("count", [1, BATCH + 3])
def test_each_figure_by_another_way(task: VAETask, count: int) -> None:
    images = Stream(0).integers(256, (count, 12, 12, 1)).astype(np.uint8)
    found = evaluate_vae(task.model, images)
    x = images.astype(np.float64) / 255
    output = task.model(Tensor(to_unit(images)))
    y = output.reconstruction.numpy().astype(np.float64) + 0.5
    mse = ((x - y) ** 2).mean()
    shown = np.clip(y, 0, 1)
    each = ((x - shown) ** 2).mean(axis=(1, 2, 3))
    # Pixels are of float32 here and of float64 there.
    close = {"rel": 1e-5}
    assert found.mse == pytest.approx(mse, **close)
    assert found.nmse == pytest.approx(mse / task.model.pixel_variance, **close)
    assert found.psnr_db == pytest.approx(np.mean(-10 * np.log10(each)), **close)
    assert found.ssim == pytest.approx(metrics.ssim(x, shown), **close)
    assert found.kl == pytest.approx(output.kl.item(), **close)
    assert found.images == count
    made = np.concatenate(list(reconstructions(task.model, images)))
    np.testing.assert_allclose(made, output.reconstruction, rtol=0, atol=1e-6)


def test_bits_per_dimension_are_the_divergence_and_the_pixels(task: VAETask) -> None:
    train, val = (task.images.split(name).images for name in ("train", "val"))
    model, noise = task.model, Stream(0, "noise to measure")
    found = vae_bits_per_dimension(model, val, train)

    def drawn(images: Any) -> Any:
        return model(Tensor(to_unit(images)), model.noise(len(images), noise))

    fitted = metrics.fit_scale(train, drawn(train).reconstruction.numpy())
    noise = Stream(0, "noise to measure")
    output = drawn(val)
    nats = fitted.nats_per_image(val, output.reconstruction.numpy()).mean()
    expected = (nats + output.kl.item()) / (144 * math.log(2))
    assert found == pytest.approx(expected, rel=1e-6)
    # Noise of 256 values needs 8 bits; no model of 12 images knows better.
    assert 7.5 < found < 10


def test_a_spoilt_model_is_an_error_of_ours(task: VAETask) -> None:
    with task.model.parameters()[-1].mutate() as array:
        array[...] = np.nan
    with pytest.raises(NonFiniteError, match="expected finite pixels"):
        evaluate_vae(task.model, task.images.split("val").images)


# What it makes.


def test_an_interpolation_goes_straight_from_mean_to_mean(
    task: VAETask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = task.model
    with model.from_latent.weight.mutate() as array:
        array *= 30  # so that other latents are decoded to other images
    ends = task.images.split("val").images[:2]
    means = np.array([[-2, 0, 2], [2, -4, 0]], np.float32)  # far apart, to be seen

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        np.testing.assert_array_equal(x, to_unit(ends))
        return Tensor(means), Tensor(np.full((2, 3), np.nan, np.float32))

    monkeypatch.setattr(model, "encode", encode)
    made = interpolate(model, ends, 5)
    share = np.array([[0], [0.25], [0.5], [0.75], [1]], np.float32)
    on_the_way = model.generate(Tensor((1 - share) * means[0] + share * means[1]))
    np.testing.assert_array_equal(made, from_unit(on_the_way.numpy()))
    assert len(np.unique(made.reshape(5, -1), axis=0)) == 5
    with pytest.raises(ConfigError, match="at least 2 images, got 1"):
        interpolate(model, ends, 1)


def test_a_new_image_is_the_same_for_any_number(task: VAETask) -> None:
    few, more = (from_noise(task.model, count, 5) for count in (3, 7))
    np.testing.assert_array_equal(few, more[:3])
    assert (from_noise(task.model, 3, 6) != few).any()


# In a whole run.


@pytest.mark.usefixtures("command_line", "no_figures")
def test_what_is_loaded_is_what_was_trained(labelled: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(words_of("vae", run, labelled)) == 0
    task = task_of(labelled, batch_size=4, seed=3)
    assert resume(task, open_run(run), Schedule(8)) == 8
    for model in (load_autoencoder(run)[0], load_generator(run)[0]):
        assert not model.training
        for name, array in task.model.state_dict().items():
            np.testing.assert_array_equal(model.state_dict()[name], array)


@pytest.mark.usefixtures("command_line", "no_figures")
def test_a_bad_value_stops_the_run_and_loses_nothing(
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    bias = attrgetter("model.to_log_variance.bias")  # a variance beyond float32
    with spoilt_before_step(monkeypatch, VAETask, 6, bias, 1e3):
        assert main(words_of("vae", run, labelled)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: step 6: the result of Reparameterize is not finite")
    task = task_of(labelled, seed=3)
    assert resume(task, open_run(run), Schedule(8)) == 4
    assert math.isfinite(task.step(5)["loss"])
