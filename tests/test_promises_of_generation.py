"""Promises about adversaries, priors and new images: what goes wrong elsewhere.

Each test stands under a line that says what was seen in other systems.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.kind_examples import OPTIONS, words_of, write_labelled
from training.run_fixtures import no_figures, one_thread

from tinyvq import Tensor, data
from tinyvq.cli import main
from tinyvq.losses import LOSSES, adaptive_weight, adversarial_loss
from tinyvq.tensor import grad
from tinyvq.training import checkpoint
from tinyvq.training.metrics_log import read
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vqgan import VQGANOptions, VQGANTask

__all__ = ["no_figures", "one_thread"]


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def images(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("data") / "images.npz"
    write_labelled(path)
    with np.load(path) as arrays:
        coloured = {
            name: array.repeat(request.param, axis=3) if array.ndim == 4 else array
            for name, array in arrays.items()
        }
    np.savez(path, **coloured)
    return path


def task_of(images: Path, **changes: Any) -> VQGANTask:
    found = data.load(str(images))
    return VQGANTask(
        VQGANOptions(**{**OPTIONS["vqgan"], **changes}), found, facts_of(found)
    )


# An adversary that ruins reconstructions: its gradient vanishes and the weight that
# divides by it explodes, or it comes in at full weight before it has learned anything.


def test_a_vanishing_adversary_cannot_make_the_weight_explode() -> None:
    wanted, nothing = np.ones(10), np.zeros(10)
    assert adaptive_weight(wanted, nothing, eps=1e-4, clamp=5.0) == 5.0
    assert adaptive_weight(wanted, nothing, eps=1.0, clamp=1e4) == np.sqrt(10)
    assert adaptive_weight(nothing, nothing) == 0.0


def test_the_adversary_comes_in_slowly_and_not_untrained(images: Path) -> None:
    options = {"adversarial_start": 6, "adversarial_ramp": 9, "head_start": 4}
    task = task_of(images, **options)
    measured = [task.step(step) for step in range(1, 9)]
    assert ["discriminator_loss" in m for m in measured] == [False] + 7 * [True]
    assert ["adaptive_weight" in m for m in measured] == 5 * [False] + 3 * [True]
    assert [m["ramp"] for m in measured[5:]] == pytest.approx([0.1, 0.2, 0.3])


def test_at_its_full_weight_it_pulls_no_harder_than_it_was_given(images: Path) -> None:
    """At the last layer, its share is adversarial_weight of the reconstruction's."""
    task = task_of(images, adversarial_weight=0.25, adaptive_eps=0.0)
    for step in range(1, 8):
        task.step(step)
    seen: list[tuple[float, float]] = []
    real = task._weight

    def weight(made: Tensor, gradient: Any, push: Any) -> float:
        found = real(made, gradient, push)
        lengths = []
        for g in (gradient, push):
            (at_last,) = grad(made, [task.last_weight], Tensor(g), retain_graph=True)
            lengths.append(float(np.linalg.norm(at_last.array)))
        seen.append((lengths[0], found * lengths[1]))
        return found

    task._weight = weight  # type: ignore[method-assign]
    task.step(8)
    ((of_reconstruction, of_adversary),) = seen
    assert of_adversary == pytest.approx(0.25 * of_reconstruction, rel=1e-5)


# Signs and arguments that were swapped: one side works for the other.


@pytest.mark.parametrize("name", LOSSES)
def test_each_side_is_better_off_when_the_verdict_goes_its_way(name: Any) -> None:
    loss = adversarial_loss(name)
    high, low = (Tensor(np.full((4, 1), v, np.float32)) for v in (0.5, -0.5))
    assert loss.discriminator(high, low).item() < loss.discriminator(low, high).item()
    assert loss.generator(high).item() < loss.generator(low).item()


# Gradients that leak from one side into the other.


def test_neither_side_moves_the_other(images: Path) -> None:
    task = task_of(images)
    for step in range(1, 5):
        task.step(step)
    generator, judge = task.model, task.adversary.discriminator
    kept = judge.state_dict()
    task._generator_step(5, task.batch(5))
    for name, array in judge.state_dict().items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)
    kept = generator.state_dict()
    task.adversary.step(5, task.batch(5), task.output.reconstruction)
    for name, array in generator.state_dict().items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)


# State that a checkpoint leaves out: a resumed run is another run.


@pytest.mark.usefixtures("command_line", "no_figures")
def test_what_a_regulariser_remembers_is_in_the_checkpoint(
    images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(words_of("vqgan", run, images)) == 0
    saved = checkpoint.load_latest(run / "checkpoints").arrays
    assert saved["lecam.weight"] > 0
    assert any(name.endswith("running_var") for name in saved)
    assert any(name.startswith("discriminator_adam.v.") for name in saved)
    assert "model.quantizer.embed_sum" in saved


# No way from codes to new images; grey images that nothing was ever run on.


@pytest.mark.usefixtures("command_line", "no_figures")
def test_new_images_are_three_commands_away(images: Path, tmp_path: Path) -> None:
    tokenizer, prior, out = (tmp_path / name for name in ("gan", "prior", "new.png"))
    assert main(words_of("vqgan", tokenizer, images)) == 0
    assert main(words_of("prior", prior, tokenizer)) == 0
    assert main(["sample", str(prior), "--grid", "2x3", "--out", str(out)]) == 0
    assert out.exists()
    assert all(np.isfinite(r["loss"]) for r in read(tokenizer / "metrics.jsonl"))
