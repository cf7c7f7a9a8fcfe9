"""The pictures of a run show its own model on its own images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.run_examples import train_words

from tinyvq import data
from tinyvq.cli import main
from tinyvq.data import from_unit, pick, read_picture
from tinyvq.report import _runs, draw_reconstructions, draw_results, draw_sample
from tinyvq.rng import Stream
from tinyvq.training.evaluation import reconstruct
from tinyvq.training.trained import load_tokenizer


def test_pick_takes_the_same_spread_of_images_each_time() -> None:
    chosen = pick(100, 20)
    assert len(chosen) == len(set(chosen.tolist())) == 20
    assert sorted(chosen) == chosen.tolist()
    assert chosen[0] < 20  # not all of one end
    assert chosen[-1] >= 80
    np.testing.assert_array_equal(pick(100, 20), chosen)
    np.testing.assert_array_equal(pick(100, 1000), np.arange(100))


@pytest.fixture
def run(images: Path, tmp_path: Path, no_figures: None) -> Path:
    assert main(train_words(tmp_path / "run", images)) == 0
    return tmp_path / "run"


def test_a_sample_shows_the_model_as_it_is_at_its_step(run: Path, images: Path) -> None:
    model, _, opened = load_tokenizer(run)
    found = data.load(str(images))
    (opened.samples / "step-00000008.png").unlink()
    draw_sample(opened, model, found, 8)
    shown = read_picture(opened.samples / "step-00000008.png")
    val = found.split("val").images  # 6 of them: in one row
    (made,) = [batch for _, batch, _ in reconstruct(model, val)]
    factor = shown.shape[0] // 17
    small = shown[::factor, ::factor, :1]
    for i in range(6):
        column = small[:, i * 12 : i * 12 + 8]
        np.testing.assert_array_equal(column[:8], val[i])
        np.testing.assert_array_equal(column[9:], from_unit(made[i]))
    later = (opened.samples / "step-00000004.png").read_bytes()
    assert later != (opened.samples / "step-00000008.png").read_bytes()


def test_the_results_of_one_run_are_the_same_bytes_twice(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with figures
    model, _, opened = load_tokenizer(run)
    found = data.load(str(images))
    paths = draw_results(opened, model, found)
    assert [path.name for path in paths] == [
        *["reconstructions.png", "curve.png", "codebook.png"]
    ]
    before = [path.read_bytes() for path in paths]
    assert [p.read_bytes() for p in draw_results(opened, model, found)] == before
    for path in paths:
        assert read_picture(path).shape[1] > 500


@pytest.mark.parametrize(
    ("model", "grid", "said"),
    [("conv", (6, 2, 2), False), ("dense", (6, 1, 1), True)],
)
def test_the_codebook_is_shown_as_the_decoder_sees_it(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    grid: tuple[int, int, int],
    said: bool,
) -> None:
    drawn: list[Any] = []

    def keep(counts: Any, made: Any, caption: str) -> bytes:
        drawn.append((counts, made, caption))
        return b"a codebook"

    monkeypatch.setattr(_runs, "curve_picture", lambda records, panels: b"a curve")
    monkeypatch.setattr(_runs, "codebook_picture", keep)
    run = tmp_path / "run"
    assert main(train_words(run, images, model=model)) == 0
    ((counts, made, caption),) = drawn
    trained, _, _ = load_tokenizer(run)
    each = np.broadcast_to(np.arange(6)[:, None, None], grid)
    np.testing.assert_array_equal(made, trained.decode(each).numpy())
    assert "each code that 6 validation images use decodes to" in caption
    assert ("one code per image, so it can make 6 images in all" in caption) == said
    val = data.load(str(images)).split("val").images
    (indices,) = [i for _, _, i in reconstruct(trained, val)]
    np.testing.assert_array_equal(counts, np.bincount(indices.reshape(-1), minlength=6))


def test_reconstructions_of_more_than_a_batch(run: Path, tmp_path: Path) -> None:
    model, _, _ = load_tokenizer(run)
    many = Stream(0).integers(256, (205, 8, 8, 1)).astype(np.uint8)
    draw_reconstructions(model, many, tmp_path / "many.png")
    # 21 rows of pairs of 17 pixels with gaps of 4, ten columns of 8.
    height, width = 21 * 17 + 20 * 4, 10 * 8 + 9 * 4
    shown = read_picture(tmp_path / "many.png")
    assert shown.shape[0] * width == shown.shape[1] * height
