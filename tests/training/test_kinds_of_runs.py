"""What holds for a VQ-VAE's run holds for every kind: it cannot be lost."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from training.faults import Fault, injected
from training.killed_run import CommandServer
from training.kind_examples import assert_same, words_of, write_labelled

from tinyvq.cli import main
from tinyvq.training import checkpoint
from tinyvq.training.metrics_log import read
from tinyvq.training.trained import load_prior

pytestmark = pytest.mark.usefixtures("command_line")

PICTURES = {
    "vqgan": ("reconstructions.png", "codebook.png"),
    "vae": ("reconstructions.png", "samples.png", "nearest.png"),
    "gan": ("samples.png", "nearest.png"),
    "noise-vqgan": ("samples.png", "nearest.png"),
    "prior": ("samples.png", "nearest.png"),
}
VARIANTS = {
    "vqgan": {},
    "vqgan, conv, no norm": {"model": "conv", "discriminator_norm": "none"},
    "vqgan, plain judge": {"discriminator": "plain", "weighting": "fixed"},
    "vqgan, rotation": {"normalize": None, "estimator": "rotation"},
    "vae": {},
    "vae, small": {"model": "small", "warmup": 3},
    "gan": {},
    "gan, patch judge, no norm": {
        "discriminator": "patch",
        "discriminator_norm": "none",
    },
    "noise-vqgan": {},
    "prior": {},
    "prior, pixelcnn": {"prior": "pixelcnn"},
    "prior, no classes": {"labels": "ignore"},
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("data") / "labelled.npz")


@pytest.fixture(scope="module")
def tokenizer(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tokenizer"
    assert main(words_of("vqvae", run, labelled)) == 0
    return run


def command(variant: str, run: Path, labelled: Path, tokenizer: Path) -> list[str]:
    kind, _, _ = variant.partition(",")
    source = tokenizer if kind == "prior" else labelled
    changes = dict(VARIANTS[variant])
    flags = [name for name, value in changes.items() if value is None]
    for name in flags:
        del changes[name]
    return [*words_of(kind, run, source, **changes), *(f"--{flag}" for flag in flags)]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_is_the_run_that_was_never_stopped(
    variant: str, labelled: Path, tokenizer: Path, tmp_path: Path
) -> None:
    expected, run = tmp_path / "never-stopped", tmp_path / "run"
    assert main(command(variant, expected, labelled, tokenizer)) == 0
    for call in (  # a dead disk leaves what a kill would leave
        "fsync /checkpoints/.step-00000004.safetensors",
        "replace /checkpoints/.step-00000008.json",
    ):
        with injected(call, Fault.DEAD):
            assert main(command(variant, run, labelled, tokenizer)) == 1
    assert main(command(variant, run, labelled, tokenizer)) == 0
    assert_same(run, expected, PICTURES[variant.partition(",")[0]])


@pytest.fixture(scope="module")
def server() -> Iterator[CommandServer]:
    with CommandServer() as running:
        yield running


@pytest.mark.parametrize("kind", ["vqgan", "vae", "gan", "noise-vqgan", "prior"])
def test_a_killed_run_goes_on(
    kind: str, server: CommandServer, labelled: Path, tokenizer: Path, tmp_path: Path
) -> None:
    expected, run = tmp_path / "never-stopped", tmp_path / "run"
    assert server.run(command(kind, expected, labelled, tokenizer)).status == 0
    places = ["write /checkpoints/.step-00000002.safetensors", "write metrics.jsonl"]
    if kind == "prior":  # before its first step: while it copies the tokenizer
        places.insert(0, "write /tokenizer/.config.json")
        places.insert(1, "write /tokenizer/checkpoints/.step-00000000.safetensors")
    for place in places:
        ended = server.run(command(kind, run, labelled, tokenizer), kill_at=place)
        assert ended.status == -signal.SIGKILL, ended.err
    ended = server.run(command(kind, run, labelled, tokenizer))
    assert ended.status == 0, ended.err
    assert_same(run, expected, PICTURES[kind])


@pytest.mark.usefixtures("no_figures")
def test_the_state_of_a_vqgan_has_all_that_moves(
    labelled: Path, tokenizer: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(command("vqgan", run, labelled, tokenizer)) == 0
    arrays = checkpoint.load_latest(run / "checkpoints").arrays
    parts = {name.split(".")[0] for name in arrays}
    assert parts == {"model", "adam", "discriminator", "discriminator_adam", "lecam"}
    assert arrays["lecam.weight"] > 0
    assert arrays["lecam.sums"].all()
    assert (arrays["adam.steps"] == 8).all()
    # It trains from step 2 on: two steps before it counts.
    assert (arrays["discriminator_adam.steps"] == 7).all()
    moments = [a for n, a in arrays.items() if n.startswith("discriminator_adam.m.")]
    assert all(moment.any() for moment in moments)
    means = [a for n, a in arrays.items() if n.endswith("running_mean")]
    assert means
    assert all(mean.any() for mean in means)


@pytest.mark.usefixtures("no_figures")
def test_a_vqgan_logs_what_its_two_sides_do(
    labelled: Path, tokenizer: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(command("vqgan", run, labelled, tokenizer)) == 0
    by_step = {record["step"]: record for record in read(run / "metrics.jsonl")}
    assert "adaptive_weight" not in by_step[2]
    assert "discriminator_loss" in by_step[2]
    assert by_step[4]["ramp"] == pytest.approx(1 / 3)
    assert by_step[6]["ramp"] == by_step[8]["ramp"] == 1.0
    for name in ("adversarial_loss", "adaptive_weight", "logits_real", "logits_made"):
        assert np.isfinite(by_step[8][name])
    assert by_step[8]["adaptive_weight"] > 0
    assert by_step[8]["val_nmse"] > 0


@pytest.mark.usefixtures("no_figures")
def test_a_prior_keeps_its_own_tokenizer(labelled: Path, tmp_path: Path) -> None:
    tokenizer, run = tmp_path / "tokenizer", tmp_path / "run"
    assert main(words_of("vqvae", tokenizer, labelled)) == 0
    assert main(words_of("prior", run, tokenizer)) == 0
    before = load_prior(run).tokenizer.fingerprint()
    for path in sorted(tokenizer.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    trained = load_prior(run)
    assert trained.tokenizer.fingerprint() == before == trained.run.facts["tokenizer"]
    assert main(["sample", str(run), "--out", str(tmp_path / "new.png")]) == 0
