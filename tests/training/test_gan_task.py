"""The two sides of a GAN's step, with a codebook and without: who moves what."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from training.kind_examples import (
    OPTIONS,
    first_of,
    spoilt_before_step,
    words_of,
    write_labelled,
)

from tinyvq import data, ops
from tinyvq.cli import main
from tinyvq.errors import ConfigError
from tinyvq.models import NoiseVQGAN
from tinyvq.nn import Parameter, frozen_statistics
from tinyvq.optim import Adam
from tinyvq.tensor import Tensor
from tinyvq.training.gan import GANOptions, GANTask, NoiseOptions, NoiseTask
from tinyvq.training.generation import from_noise
from tinyvq.training.loop import Schedule, resume
from tinyvq.training.run import open_run
from tinyvq.training.tokenizer import facts_of

Array = npt.NDArray[Any]
KINDS: dict[str, tuple[Any, Any]] = {
    "gan": (GANTask, GANOptions),
    "noise-vqgan": (NoiseTask, NoiseOptions),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("data") / "labelled.npz")


def task_of(kind: str, images: Path, **changes: Any) -> GANTask:
    task, options = KINDS[kind]
    found = data.load(str(images))
    made: GANTask = task(options(**OPTIONS[kind] | changes), found, facts_of(found))
    return made


def moved(before: dict[str, Array], after: dict[str, Array]) -> set[str]:
    """Name the parts of the state that differ."""
    same = {n for n, array in before.items() if array.tobytes() == after[n].tobytes()}
    return {name.partition(".")[0] for name in before.keys() - same}


@each_kind
def test_neither_side_moves_the_other(kind: str, labelled: Path) -> None:
    task = task_of(kind, labelled)
    for step in range(1, 3):
        task.step(step)
    before = task.state()
    task._generator_step(3, task.batch(3), task.noise(3))
    between = task.state()
    assert moved(before, between) == {"model", "adam"}
    task.adversary.step(3, task.batch(3), task.made)
    sides = {"discriminator", "discriminator_adam", "lecam"}
    assert moved(between, task.state()) == sides


# part: whether the generator's step moves it, of a GAN and with a codebook
REACHES = {
    "dense": ("gan", "noise-vqgan"),
    "decoder": ("gan", "noise-vqgan"),
    "quantizer": ("noise-vqgan",),
}


@each_kind
def test_which_parts_the_generators_step_moves(kind: str, labelled: Path) -> None:
    task = task_of(kind, labelled)
    task.step(1)
    before = task.model.state_dict()
    task._generator_step(2, task.batch(2), task.noise(2))
    after = task.model.state_dict()
    assert moved(before, after) == {p for p, kinds in REACHES.items() if kind in kinds}


@each_kind
def test_the_step_follows_the_sum_of_the_losses(kind: str, labelled: Path) -> None:
    """One backward from a gradient at the images is that of one loss of all."""
    task = task_of(kind, labelled, feature_matching=0.0, adversarial="bce")
    task.step(1)  # places the codebook
    model, judge = task.model, task.adversary.discriminator
    for network in (model, judge):
        network.astype(np.float64)
    task.optimizer = Adam(model.parameters(), 1e-3)
    noise = Tensor(task.noise(2).numpy().astype(np.float64))
    originals = Tensor(task.batch(2).numpy().astype(np.float64))
    before = model.state_dict()
    if isinstance(model, NoiseVQGAN):
        output = model(noise)
        made, more = output.images, output.quantizer_loss
        assert more.item() > 0
    else:
        made, more = model.generate(noise), Tensor(np.array(0.0))
    with frozen_statistics(judge):
        # -log σ(f), the textbooks' loss of the generator.
        total = ops.softplus(-judge(made)).mean() + more
    model.zero_grad()
    total.backward()
    expected = {n: gradient_of(p).copy() for n, p in model.named_parameters()}
    model.load_state_dict(before)  # the running means of its norms
    measures = task._generator_step(2, originals, noise)
    assert measures["loss"] == pytest.approx(total.item(), rel=1e-9)
    for name, parameter in model.named_parameters():
        got, want = gradient_of(parameter), expected[name]
        # Sums of the same terms in other orders, in float64.
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12, err_msg=name)


def gradient_of(parameter: Parameter) -> Array:
    assert parameter.grad is not None
    return parameter.grad.numpy()


def test_a_gan_logs_what_its_two_sides_do(labelled: Path) -> None:
    measures = task_of("gan", labelled).step(1)
    assert list(measures) == [
        *["loss", "gradient_norm", "lr", "discriminator_loss", "logits_real"],
        *["logits_made", "discriminator_gradient_norm"],
    ]
    assert all(math.isfinite(value) for value in measures.values())
    coded = task_of("noise-vqgan", labelled).step(1)
    extra = {"batch_perplexity", "batch_codes_used", "quantizer_loss"}
    assert coded.keys() - measures.keys() == extra


@pytest.mark.parametrize("name", ["noise_dim", "hidden", "code_dim", "batch_size"])
def test_an_option_out_of_its_range_is_named_as_it_is_typed(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} must be "):
        GANOptions(**{name: 0})


def test_a_gan_has_no_options_of_a_codebook() -> None:
    plain, coded = (dataclasses.asdict(kind()) for kind in (GANOptions, NoiseOptions))
    assert coded.keys() - plain.keys() == {"num_codes", "commitment"}
    assert plain.items() <= coded.items()


@pytest.mark.usefixtures("command_line", "no_figures")
@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_a_bad_value_inside_either_step_stops_the_run_and_loses_nothing(
    side: str,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    with spoilt_before_step(monkeypatch, GANTask, 6, first_of(side)):
        assert main(words_of("gan", run, labelled)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: step 6: ")
    assert "is not finite, the first bad value of the step" in said
    task = task_of("gan", labelled)
    assert resume(task, open_run(run), Schedule(8)) == 4
    assert math.isfinite(task.step(5)["loss"])


@each_kind
def test_drawing_and_validating_move_nothing(kind: str, labelled: Path) -> None:
    task = task_of(kind, labelled)
    task.step(1)
    before = task.state()
    few, more = (from_noise(task.model, count, 5) for count in (3, 7))
    np.testing.assert_array_equal(few, more[:3])
    task.validate()
    assert moved(before, task.state()) == set()


def test_the_use_of_the_codebook_is_measured_and_its_collapse_told(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = task_of("noise-vqgan", labelled, num_codes=12)
    assert isinstance(task, NoiseTask)
    found = task.validate()
    assert 1 <= found["val_perplexity"] <= found["val_codes_used"] <= 12
    assert capsys.readouterr().err == ""
    with task.model.dense.layers[-1].weight.mutate() as weight:
        weight[...] = 0  # all noise makes the same vector
    assert task.validate() == {"val_perplexity": 1.0, "val_codes_used": 1}
    assert "only 1 of 12 codes are in use" in capsys.readouterr().err
    task.validate()
    assert capsys.readouterr().err == ""  # said once
