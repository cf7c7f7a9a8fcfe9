"""A run that is gone on with: its saved options win, and what is told early."""

import shutil
from pathlib import Path

import pytest
from cli.command_line import contents, fails, succeeds, tinyvq
from training.kind_examples import words_of
from training.run_examples import train_words

pytestmark = pytest.mark.usefixtures("no_figures")


def test_what_is_typed_is_judged_beside_what_is_saved(
    folder: Path, tmp_path: Path
) -> None:
    """By default a prior's rate falls along a cosine; this one was begun without."""
    run = tmp_path / "prior"
    words = words_of("prior", run, folder / "tokenizer")
    succeeds(*words, "--no-cosine")
    again = ["train", "prior", "--out", run, "--resume", "--steps", 10]
    assert (
        "was going to step 8, now it goes to 10"
        in succeeds(*again, "--cooldown", 2).err
    )


def test_a_folder_in_use_is_told_before_all_else(trained: Path, tmp_path: Path) -> None:
    said = fails(*train_words(trained, tmp_path / "no such images"))
    assert "holds a run already; add --resume to go on with it" in said


def test_a_demo_goes_on(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyvq.cli import _demo
    from tinyvq.training.prior import PriorOptions
    from tinyvq.training.vqvae import VQVAEOptions

    small = VQVAEOptions(
        data=str(images), steps=2, batch_size=4, hidden=4, num_codes=6, code_dim=2
    )
    monkeypatch.setattr(_demo, "TOKENIZER", small)
    prior = PriorOptions(steps=2, batch_size=4, width=8, heads=2, layers=1)
    monkeypatch.setattr(_demo, "PRIOR", prior)
    out = tmp_path / "demo"
    assert "the demo fell short: nmse " in tinyvq("demo", "--out", out).err
    before = contents(out / "tokenizer")
    assert "--resume to go on with it, or choose another" in fails("demo", "--out", out)
    shutil.rmtree(out / "prior")  # as if it had been stopped
    assert "the demo fell short" in tinyvq("demo", "--out", out, "--resume").err
    assert (out / "new.png").exists()
    after = contents(out / "tokenizer")
    weights = "checkpoints/step-00000002.safetensors"
    assert after[weights] == before[weights]
