"""The two sides of a VQ-GAN's step: who moves what, and how much the adversary counts.

The images are noise, the networks tiny: what is learned does not matter here.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from models.pretrained_examples import squeezenet
from training.kind_examples import (
    ADVERSARY,
    first_of,
    spoilt_before_step,
    words_of,
    write_labelled,
)

from tinyvq import Tensor, data, grad, ops
from tinyvq.cli import main
from tinyvq.errors import ConfigError, NonFiniteError
from tinyvq.losses import PerceptualLoss
from tinyvq.models import SqueezeNet
from tinyvq.nn import frozen_statistics
from tinyvq.optim import Adam
from tinyvq.training.loop import Schedule, resume
from tinyvq.training.run import open_run
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vqgan import VQGANOptions, VQGANTask
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

Array = npt.NDArray[Any]
SMALL: dict[str, Any] = {
    "hidden": 4,
    "code_dim": 2,
    "num_codes": 6,
    "batch_size": 4,
    "adversarial_start": 3,
    "adversarial_ramp": 1,
    "head_start": 1,
    **ADVERSARY,
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("data") / "labelled.npz")


def task_of(images: Path, **changes: Any) -> VQGANTask:
    found = data.load(str(images))
    return VQGANTask(VQGANOptions(**{**SMALL, **changes}), found, facts_of(found))


def trained(images: Path, steps: int, **changes: Any) -> VQGANTask:
    task = task_of(images, **changes)
    for step in range(1, steps + 1):
        task.step(step)
    return task


def moved(before: dict[str, Array], after: dict[str, Array]) -> set[str]:
    """Name the entries of the state that differ."""
    same = {n for n, array in before.items() if array.tobytes() == after[n].tobytes()}
    return before.keys() - same


def part_of(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


# Who moves what.


def test_the_generators_step_moves_nothing_of_the_discriminator(
    labelled: Path,
) -> None:
    task = trained(labelled, 3)
    before = task.state()
    task._generator_step(4, task.batch(4))
    changed = moved(before, task.state())
    assert part_of(changed) == {"model", "adam"}
    # All of it, the codebook and its running means included.
    for name in ("encoder", "decoder", "quantizer.codebook", "quantizer.cluster_size"):
        assert any(key.startswith(f"model.{name}") for key in changed), name
    for parameter in task.adversary.discriminator.parameters():
        parameter.grad = None
    task._generator_step(5, task.batch(5))
    assert all(p.grad is None for p in task.adversary.discriminator.parameters())


def test_the_discriminators_step_moves_nothing_of_the_generator(
    labelled: Path,
) -> None:
    task = trained(labelled, 3)
    before = task.state()
    gradients = [p.grad for p in task.model.parameters()]
    task.adversary.step(4, task.batch(4), task.output.reconstruction)
    changed = moved(before, task.state())
    assert part_of(changed) == {"discriminator", "discriminator_adam", "lecam"}
    assert any(name.endswith("running_mean") for name in changed)
    assert all(
        now.grad is then
        for now, then in zip(task.model.parameters(), gradients, strict=True)
    )


def test_until_the_adversary_counts_it_is_a_vqvae(labelled: Path) -> None:
    """Bit for bit, but for the momentum of the optimiser, which is set alike here."""
    gan = task_of(labelled, adversarial_start=100, head_start=100)
    found = data.load(str(labelled))
    options = {k: v for k, v in SMALL.items() if k in VQVAEOptions.__dataclass_fields__}
    plain = VQVAETask(VQVAEOptions(model="small", **options), found, facts_of(found))
    plain.optimizer.betas = gan.optimizer.betas
    for step in range(1, 6):
        ours, theirs = gan.step(step), plain.step(step)
        assert "discriminator_loss" in ours
        assert "adversarial_loss" not in ours
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)
    for name, array in plain.model.state_dict().items():
        np.testing.assert_allclose(
            gan.model.state_dict()[name], array, rtol=1e-4, atol=1e-6, err_msg=name
        )


# How much it counts.


def test_the_schedule_of_the_adversary() -> None:
    options = VQGANOptions(adversarial_start=10, adversarial_ramp=4, head_start=3)
    ramp = {step: options.ramp(step) for step in (1, 9, 10, 12, 13, 14, 50)}
    assert ramp == {1: 0, 9: 0, 10: 0.2, 12: 0.6, 13: 0.8, 14: 1, 50: 1}
    trains = [options.trains_discriminator(step) for step in (6, 7, 10)]
    assert trains == [False, True, True]
    at_once = VQGANOptions(adversarial_start=1, adversarial_ramp=0, head_start=0)
    assert (at_once.ramp(1), at_once.trains_discriminator(1)) == (1.0, True)
    without = VQGANOptions(adversarial_start=1, adversarial_weight=0.0)
    assert (without.ramp(9), without.trains_discriminator(9)) == (0.0, False)


def losses_of(task: VQGANTask, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the three terms on one graph: reconstruction, verdict, quantizer."""
    output = task.model(x)
    wanted = ops.mse_loss(output.reconstruction, x) / task.model.pixel_variance
    discriminator = task.adversary.discriminator
    with frozen_statistics(discriminator):
        logits, made = discriminator.judge(output.reconstruction)
        _, real = discriminator.judge(x)
    verdict = task.adversary.loss.generator(logits)
    terms = [ops.l1_loss(m, r.detach()) for m, r in zip(made, real, strict=True)]
    match = terms[0]
    for term in terms[1:]:
        match = match + term
    return wanted, verdict + match / float(len(terms)) * 0.5, output.quantizer_loss


@pytest.mark.parametrize("weighting", ["adaptive", "fixed"])
def test_the_step_follows_the_sum_of_the_losses(labelled: Path, weighting: str) -> None:
    """One backward from a gradient at the images is three backwards, added up."""
    task = trained(labelled, 5, weighting=weighting)
    for module in (task.model, task.adversary.discriminator):
        module.astype("float64")
    task.optimizer = Adam(task.model.parameters(), 1e-3)
    x = Tensor(task.batch(6).array.astype(np.float64))
    wanted, verdict, quantizer = losses_of(task, x)
    weight = task.options.adversarial_weight
    if weighting == "adaptive":
        (of_rec,) = grad(wanted, [task.last_weight], retain_graph=True)
        (of_gan,) = grad(verdict, [task.last_weight], retain_graph=True)
        lengths = [float(np.sqrt((g.array**2).sum())) for g in (of_rec, of_gan)]
        weight *= lengths[0] / (lengths[1] + task.options.adaptive_eps)
    task.model.zero_grad()
    total = wanted + verdict * weight + quantizer
    total.backward()
    expected = {
        name: parameter.grad.array.copy()
        for name, parameter in task.model.named_parameters()
        if parameter.grad is not None
    }
    before = task.model.state_dict()
    measures = task._generator_step(6, x)
    # After the step the gradients still stand, while the weights have moved.
    assert moved(before, task.model.state_dict())
    for name, parameter in task.model.named_parameters():
        assert parameter.grad is not None
        got, want = parameter.grad.array, expected[name]
        # Sums of the same terms in other orders, in float64.
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12, err_msg=name)
    assert measures["adaptive_weight"] == pytest.approx(weight, rel=1e-9)
    assert measures["loss"] == pytest.approx(total.item(), rel=1e-9)
    assert measures["adversarial_loss"] == pytest.approx(verdict.item(), rel=1e-9)


def test_the_adaptive_weight_is_clamped(labelled: Path) -> None:
    task = task_of(labelled, adaptive_most=0.01)
    for step in range(1, 5):
        measures = task.step(step)
    assert measures["adaptive_weight"] == task.options.adversarial_weight * 0.01


# What goes wrong.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("adversarial_weight", -1.0), ("adaptive_eps", -1.0), ("head_start", -1)],
        *[("adversarial_start", -1), ("adversarial_ramp", -1), ("lecam_weight", -1.0)],
        *[("adaptive_most", float("nan")), ("discriminator_lr", 0.0)],
        *[("discriminator_layers", 0), ("discriminator_width", 0)],
        *[("feature_matching", -0.5), ("hidden", 0), ("steps", 0)],
    ],
)
def test_an_option_out_of_its_range_is_named_as_it_is_typed(
    name: str, value: float
) -> None:
    with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} must be "):
        VQGANOptions(**{name: value})


def test_a_discriminator_too_deep_for_the_images_is_named(labelled: Path) -> None:
    with pytest.raises(ConfigError, match=r"PatchGAN.* 12×12"):
        task_of(labelled, discriminator_layers=3)


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_a_bad_value_inside_either_step_stops_the_run_and_loses_nothing(
    side: str,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    with spoilt_before_step(monkeypatch, VQGANTask, 6, first_of(side)):
        assert main(words_of("vqgan", run, labelled)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: step 6: ")
    assert "is not finite, the first bad value of the step" in said
    task = task_of(labelled, hidden=4)
    # The newest checkpoint, and a good one.
    assert resume(task, open_run(run), Schedule(8)) == 4
    assert math.isfinite(task.step(5)["loss"])


def test_a_spoilt_discriminator_is_found_before_its_optimiser_moves(
    labelled: Path,
) -> None:
    task = trained(labelled, 3)
    x = task.batch(4)
    bad = Tensor(np.full(x.shape, np.inf, np.float32))
    before = task.state()
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError):
        task.adversary.step(4, x, bad)
    changed = moved(before, task.state())
    # Batch norm has seen it in passing; no weight, moment or mean verdict has.
    assert all("running_" in name for name in changed)


def test_a_perceptual_weight_adds_its_gradient(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = squeezenet("float32")
    monkeypatch.setattr(SqueezeNet, "pretrained", staticmethod(lambda: network))
    task = task_of(labelled, perceptual_weight=0.5, adversarial_start=100)
    plain = task_of(labelled, adversarial_start=100)
    x = task.batch(1)
    output = plain.model(x)
    seen = PerceptualLoss(network)(output.reconstruction, x)
    (output.loss + seen * 0.5).backward()
    measures = task._generator_step(1, x)
    assert measures["perceptual_distance"] == pytest.approx(seen.item(), rel=1e-5)
    assert measures["loss"] == pytest.approx(
        output.loss.item() + 0.5 * seen.item(), rel=1e-5
    )
    for mine, expected in zip(
        task.model.parameters(), plain.model.parameters(), strict=True
    ):
        assert mine.grad is not None
        assert expected.grad is not None
        # The same sums in float32, in another order: a few digits of the largest.
        want = expected.grad.array
        atol = 1e-4 * max(float(np.abs(want).max()), 1e-4)
        np.testing.assert_allclose(mine.grad.array, want, rtol=0, atol=atol)
    # The network is no part of the model: neither moved nor saved.
    assert part_of(set(task.state())) == part_of(set(plain.state()))
