"""What a prior that knows classes well draws of each, by the one that comes along."""

from pathlib import Path

import numpy as np
import pytest
from cli.command_line import succeeds

from tinyvq.data import read_npz
from tinyvq.training.generation import SamplingOptions, decode, draw_codes
from tinyvq.training.trained import load_prior


def test_each_new_image_is_of_the_class_that_it_is_filed_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    succeeds("augment", "fashion-prior", "--per-class", 1, "--out", "more.npz")
    more, trained = read_npz(Path("more.npz")), load_prior(Path("fashion-prior"))
    labels = more["labels"].astype(np.int64)
    codes = draw_codes(trained.prior, labels, 10, SamplingOptions())
    np.testing.assert_array_equal(more["images"], decode(trained.tokenizer, codes))
    other = draw_codes(trained.prior, labels[::-1].copy(), 10, SamplingOptions())
    assert (other != codes).any(axis=(1, 2)).sum() >= 8


@pytest.mark.parametrize("run", ["vae", "gan", "noise"])
def test_another_seed_draws_other_images(
    run: str, folder: Path, tmp_path: Path
) -> None:
    drawn = set()
    for seed in (0, 0, 3):
        out = tmp_path / f"{seed}.png"
        words = ("--grid", "2x2", "--seed", seed, "--out", out)
        succeeds("sample", folder / run, *words)
        drawn.add(out.read_bytes())
    assert len(drawn) == 2
