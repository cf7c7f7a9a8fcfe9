"""Every option reaches what it is of: seeds, rates, betas, both sides of a GAN."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from training.kind_examples import OPTIONS, write_labelled

from tinyvq import data
from tinyvq.models import ConvDiscriminator, PatchGAN
from tinyvq.training.gan import GANOptions, GANTask, NoiseOptions, NoiseTask
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vae import VAEOptions, VAETask
from tinyvq.training.vqgan import VQGANOptions, VQGANTask
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

KINDS: dict[str, Any] = {
    "vqvae": (VQVAETask, VQVAEOptions),
    "vqgan": (VQGANTask, VQGANOptions),
    "vae": (VAETask, VAEOptions),
    "gan": (GANTask, GANOptions),
    "noise-vqgan": (NoiseTask, NoiseOptions),
}
TWO_SIDED = ("vqgan", "gan", "noise-vqgan")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> data.ImageData:
    path = tmp_path_factory.mktemp("data") / "images.npz"
    return data.load(str(write_labelled(path)))


def task_of(kind: str, images: data.ImageData, **changes: Any) -> Any:
    task, options = KINDS[kind]
    return task(options(**{**OPTIONS[kind], **changes}), images, facts_of(images))


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_drawn_depends_on_the_seed(
    kind: str, images: data.ImageData
) -> None:
    first, second = (task_of(kind, images, seed=seed) for seed in (0, 1))
    parts = ["model", *(["discriminator"] if kind in TWO_SIDED else [])]
    before, after = first.state(), second.state()
    for part in parts:
        drawn = [n for n in before if n.startswith(f"{part}.") and np.ptp(before[n])]
        assert drawn
        assert all((before[n] != after[n]).any() for n in drawn)
    assert (first.batch(1).numpy() != second.batch(1).numpy()).any()
    if hasattr(first, "noise"):
        noises = {t.noise(s).numpy().tobytes() for t in (first, second) for s in (1, 2)}
        assert len(noises) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_all_rates_follow_the_schedule(kind: str, images: data.ImageData) -> None:
    rates = {"lr": 1e-3}
    if kind in TWO_SIDED:
        rates["discriminator_lr"] = 4e-3
    task = task_of(kind, images, warmup=4, **rates)
    for step in (1, 2, 3, 4):
        task.step(step)
        assert task.optimizer.lr == pytest.approx(1e-3 * step / 4)
        # Its head start begins at step 2.
        if kind in TWO_SIDED and (kind != "vqgan" or step >= 2):
            assert task.adversary.optimizer.lr == pytest.approx(4e-3 * step / 4)


BETAS = {
    "vqvae": ((0.9, 0.999), None),
    "vqgan": ((0.9, 0.99), (0.5, 0.9)),
    "vae": ((0.9, 0.999), None),
    "gan": ((0.5, 0.999), (0.5, 0.999)),
    "noise-vqgan": ((0.5, 0.999), (0.5, 0.999)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_of_each_adam(kind: str, images: data.ImageData) -> None:
    task = task_of(kind, images)
    ours, adversarys = BETAS[kind]
    assert task.optimizer.betas == ours
    if adversarys is not None:
        assert task.adversary.optimizer.betas == adversarys


def test_the_discriminator_that_is_asked_for(images: data.ImageData) -> None:
    for name, kind in (("patch", PatchGAN), ("plain", ConvDiscriminator)):
        task = task_of("vqgan", images, discriminator=name)
        assert type(task.adversary.discriminator) is kind


def test_the_last_weights_are_those_that_make_the_images(
    images: data.ImageData,
) -> None:
    task = task_of("vqgan", images)
    assert task.last_weight is task.model.decoder.layers[-1].weight


SETTINGS = {
    "commitment": 0.5,
    "decay": 0.7,
    "restart_below": 0.1,
    "normalize": True,
    "estimator": "rotation",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_quantizers_setting_reaches_it(name: str, images: data.ImageData) -> None:
    task = task_of("vqvae", images, **{name: SETTINGS[name]})
    assert getattr(task.model.quantizer, name) == SETTINGS[name]


def test_what_a_run_does_by_default() -> None:
    """What is written of it, and measured with it, is of these."""
    options = VQVAEOptions()
    assert (options.commitment, options.decay, options.restart_below) == (2.0, 0.9, 0.2)
    assert dataclasses.astuple(options.schedule()) == (2000, 10, 250, 250, 250)


def test_the_adversarys_step_by_hand(images: data.ImageData) -> None:
    """Hinge loss and LeCAM in NumPy; which logits are of which side."""
    task = task_of("vqgan", images, adversarial="hinge", discriminator_norm="none")
    for step in (1, 2, 3):
        task.step(step)
    adversary, x = task.adversary, task.batch(4)
    made = task.output.reconstruction
    real = adversary.discriminator(x).numpy().astype(np.float64)
    fake = adversary.discriminator(made.detach()).numpy().astype(np.float64)
    sums = adversary.lecam.sums.numpy().copy()
    mean_real, mean_fake = sums / adversary.lecam.weight.item()
    hinge = (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()) / 2
    above = np.maximum(0, real - mean_fake)
    below = np.maximum(0, mean_real - fake)
    lecam = np.square(above).mean() + np.square(below).mean()

    found = adversary.step(4, x, made)
    assert found["discriminator_loss"] == pytest.approx(hinge + 0.5 * lecam, rel=1e-5)
    means = np.array([real.mean(), fake.mean()])
    logged = [found["logits_real"], found["logits_made"]]
    np.testing.assert_allclose(logged, means, rtol=1e-5)
    moved = 0.999 * sums + 0.001 * means
    np.testing.assert_allclose(adversary.lecam.sums.numpy(), moved, rtol=1e-6)
