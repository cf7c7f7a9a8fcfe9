"""The comparison: its page is made of its result files, and its pieces work."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from required import command_line
from training.run_fixtures import one_thread

command_line()

from benchmarks.compare import __main__ as command  # noqa: E402
from benchmarks.compare import augmentation, page, records  # noqa: E402
from benchmarks.compare.claims import Claim, verdict  # noqa: E402
from benchmarks.compare.failures import failures  # noqa: E402
from benchmarks.compare.measure import (  # noqa: E402
    SHOWN,
    by_detail,
    sharpness,
    steadiness,
)
from benchmarks.compare.pieces import (  # noqa: E402
    MODELS,
    SEEDS,
    WORDS,
    Piece,
    pieces,
)
from benchmarks.compare.plots import PLOTS  # noqa: E402
from benchmarks.compare.records import Results  # noqa: E402
from benchmarks.compare.weights import TRIED, weights_table  # noqa: E402
from benchmarks.compare.weights import command as with_weight  # noqa: E402
from benchmarks.plots import shows  # noqa: E402
from benchmarks.record import environment  # noqa: E402
from tinyvq.cli import main as tinyvq  # noqa: E402

__all__ = ["one_thread"]


def test_the_committed_page_is_what_the_result_files_say() -> None:
    assert page.page() == page.PAGE.read_text()


def test_the_committed_plots_show_what_the_result_files_say() -> None:
    found = records.results()
    for data in {of for of, _ in found}:
        for name, (take, _) in PLOTS.items():
            drawn = (page.PICTURES / f"{data}-{name}.png").read_bytes()
            assert shows(drawn, take(found, data))


def test_each_data_set_has_tokenizers_before_their_priors() -> None:
    everything = list(pieces())
    assert len({piece.name for piece in everything}) == len(everything)
    for data, words in WORDS.items():
        assert set(words) <= set(MODELS)
        for seed in SEEDS:
            done: set[str] = set()
            for piece in everything:
                if (piece.data, piece.seed) == (data, seed):
                    needed = MODELS[piece.model].tokenizer
                    assert needed is None or needed in done
                    done.add(piece.model)
            assert done == set(words)


def test_a_command_is_what_a_user_would_type() -> None:
    runs = Path("runs")
    assert Piece("emoji", "vqgan-prior", 2).command(runs) == [
        *("train", "prior", "--tokenizer", "runs/emoji/vqgan-2"),
        *("--labels", "ignore", "--steps", "1500", "--batch-size", "16"),
        *("--seed", "2", "--out", "runs/emoji/vqgan-prior-2"),
    ]
    short = Piece("fashion-mnist", "gan", 0, quick=True).command(runs)
    assert short[short.index("--steps") + 1] == "4"
    assert short[short.index("--data") + 1] == "fashion-mnist-5k"


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("models", [["vqvae", "vqvae-prior"], ["vae"], ["gan"]])
def test_pieces_are_trained_measured_and_done_once(
    models: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--quick", "--runs", str(tmp_path), "--model", *models]
    # what a kill leaves that came before the run's config.json
    (tmp_path / "fashion-mnist" / f"{models[0]}-0" / "samples").mkdir(parents=True)
    assert command.main(words) == 0
    found = {
        model: json.loads(
            (tmp_path / "results" / f"fashion-mnist-{model}-0.json").read_text()
        )
        for model in models
    }
    for model, record in found.items():
        assert record["command"].startswith(f"tinyvq train {MODELS[model].kind} ")
        assert record["parameters"] > 0
        assert record["seconds"] > 0
        assert set(record) & {"reconstruction", "samples"}
        if "samples" in record:
            assert 0 <= record["samples"]["coverage"] <= 1
            assert record["samples"]["copied"] <= 1
            assert record["samples"]["floor"]["coverage"] > 0.5
        if "reconstruction" in record:
            assert record["reconstruction"]["frechet"] > 0
    if "vqvae-prior" in found:
        assert found["vqvae-prior"]["nats"]["test"]["nats_per_token"] > 0
    pictures = tmp_path / "pictures"
    assert list(pictures.glob("*.png"))
    monkeypatch.setattr(records, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(page, "PICTURES", pictures)
    page.draw(records.results())
    text = page.page()
    for model, record in found.items():
        assert f"#### {MODELS[model].what}\n\n    {record['command']}\n" in text
    for link in re.findall(r"\]\(results/(.*?)\)", text):
        assert (pictures / link).exists()
    capsys.readouterr()
    assert command.main(words) == 0
    assert capsys.readouterr().err == ""  # nothing was left to do


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_was_begun_otherwise_is_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "fashion-mnist" / "vqvae-0"
    words = Piece("fashion-mnist", "vqvae", 0, quick=True).command(tmp_path)
    assert tinyvq([*words, "--lr", "0.01"]) == 0
    assert command.main(["--quick", "--runs", str(tmp_path), "--model", "vqvae"]) == 1
    assert f"{run} was trained with --lr 0.01" in capsys.readouterr().err
    assert not list(tmp_path.rglob("fashion-mnist-vqvae-0.json"))


def record(**figures: float) -> dict[str, Any]:
    return {"samples": figures}


@pytest.mark.parametrize(
    ("first", "second", "factor", "said"),
    [
        ([1.0, 1.5, 2.0], [3.0, 3.5, 4.0], 1.0, "supported"),
        ([3.0, 3.5, 4.0], [1.0, 1.5, 2.0], 1.0, "not supported"),
        ([1.0, 1.5, 3.5], [3.0, 3.5, 4.0], 1.0, "undecided"),
        ([1.0, 1.5, 3.0], [3.0, 3.5, 4.0], 1.0, "undecided"),
        ([3.5, 3.6, 4.0], [3.0, 3.1, 3.2], 1.3, "undecided"),
        ([3.5, 3.6, 3.8], [3.0, 3.1, 3.2], 1.3, "supported"),
        ([1.0, 2.0], [3.0, 3.5, 4.0], 1.0, "not yet: 2 of 3 seeds"),
    ],
)
def test_a_claim_is_judged_by_all_seeds(
    first: list[float], second: list[float], factor: float, said: str
) -> None:
    found = {
        ("d", "a"): [record(frechet=value) for value in first],
        ("d", "b"): [record(frechet=value) for value in second],
    }
    less = Claim("a is better", "a", "<", "b", "samples.frechet", factor)
    assert verdict(less, found, "d")[0] == said  # type: ignore[index]
    assert verdict(less, found, "other") is None
    if factor == 1.0:
        more = Claim("b is more", "b", ">", "a", "samples.frechet")
        assert verdict(more, found, "d")[0] == said  # type: ignore[index]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ([0.9, 2.9, 1.9], "supported"),  # though 2.9 is above 1 and 2
        ([1.1, 3.1, 2.1], "not supported"),
        ([0.9, 3.1, 1.9], "undecided"),
        ([0.9, 3.0, 1.9], "undecided"),
    ],
)
def test_twins_are_held_against_each_other_seed_by_seed(
    first: list[float], said: str
) -> None:
    found = {
        ("d", "vqgan"): [record(frechet=value) for value in first],
        ("d", "vqvae"): [record(frechet=value) for value in (1.0, 3.0, 2.0)],
    }
    claim = Claim("it is better", "vqgan", "<", "vqvae", "samples.frechet")
    assert verdict(claim, found, "d")[0] == said  # type: ignore[index]


def test_a_weight_that_is_tried_differs_in_nothing_else() -> None:
    chosen = Piece("photos", "vqgan", 0).command(Path("runs"))
    for weight in TRIED:
        words = with_weight(weight, Path("runs"))
        changed = {a for a, b in zip(words, chosen, strict=True) if a != b}
        place = f"runs/photos/weight-{weight}"
        assert changed == {str(weight), str(TRIED[weight]), place}


def test_weights_stand_in_order_with_the_comparisons_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_weight(weight: float, mse: float) -> dict[str, Any]:
        options = {"adversarial_weight": weight, "adversarial_ramp": 250}
        return {"seed": 0, "options": options, "reconstruction": {"mse": mse}}

    monkeypatch.setattr("benchmarks.compare.weights.FOLDER", tmp_path)
    found: Results = {
        ("photos", "vqvae"): [of_weight(0, 0.2)],
        ("photos", "vqgan"): [of_weight(0.2, 0.3)],
    }
    assert "Not measured yet" in weights_table(found)
    for weight, mse in ((0.8, 0.5), (0.1, 0.25)):
        text = json.dumps(of_weight(weight, mse))
        (tmp_path / f"weight-{weight}.json").write_text(text)
    rows = [line.split(" | ")[:3] for line in weights_table(found).splitlines()[2:]]
    assert rows == [
        ["| 0", "–", "0.200"],
        ["| 0.1", "250", "0.250"],
        ["| 0.2 (the comparison's)", "250", "0.300"],
        ["| 0.8", "250", "0.500"],
    ]
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    assert records.results() == {}  # they are no pieces of the comparison


def test_what_failed_is_told_run_by_run() -> None:
    good = {
        "seed": 0,
        "curve": {"discriminator_loss": [1.9, 0.9]},
        "steadiness": {"unrest": 0.1, "end_over_best": 1.0, "least_codes_used": 60},
        "reconstruction": {"codes_total": 64},
    }
    bad = good | {
        "seed": 1,
        "curve": {"discriminator_loss": [1.9, 0.01]},
        "steadiness": {"unrest": 0.1, "end_over_best": 1.2, "least_codes_used": 8},
    }
    drawn = {"seed": 2, "curve": {}, "samples": {"coverage": 0.05}}
    copied = {"copied": 0.9, "coverage": 0.5}
    found = {
        ("d", "vqgan"): [good, bad],
        ("d", "vqgan-prior"): [drawn, {"seed": 0, "curve": {}, "samples": copied}],
    }
    told = failures(found, "d").splitlines()
    lines = [line for line in told if "not yet" not in line]
    assert len(lines) == 5
    assert len(told) == 7
    assert told[0] == "- VQ-GAN: not trained to its end, or not yet: seed 2."
    assert [line for line in lines if line.startswith("- VQ-GAN, seed 1: ")] == lines[
        :3
    ]
    assert "codebook collapse" in lines[0]
    assert lines[0].endswith(" 0.125.")
    assert "little covered" in lines[3]
    assert "copies" in lines[4]
    all_good: Results = {("d", "vqgan"): [good | {"seed": seed} for seed in SEEDS]}
    assert failures(all_good, "d").startswith("None, of these: ")


def test_sharpness_is_the_square_of_differences() -> None:
    flat = np.full((2, 5, 4, 1), 0.3)
    assert sharpness(flat) == 0
    stripes = np.zeros((1, 4, 6, 1))
    stripes[:, :, ::2] = 2.0
    assert sharpness(stripes) == 4.0  # across, and none down


def test_a_row_goes_from_the_plainest_image_to_the_sharpest() -> None:
    ramp = np.arange(2001, dtype=np.float64)[:, None, None, None] / 8  # 0 to 250
    images = np.zeros((2001, 4, 28, 1)) + ramp * (np.arange(28) % 2)[:, None]
    mixed = np.random.default_rng(0).permutation(len(images))
    chosen = by_detail(images[mixed].astype(np.uint8))
    shown = images[mixed][chosen].max((1, 2, 3))
    assert len(chosen) == SHOWN
    np.testing.assert_allclose(shown, np.linspace(0, 250, SHOWN), atol=1)


def test_steadiness_looks_at_validations_of_the_second_half() -> None:
    errors = {1: 9.0, 3: 0.2, 4: 0.4, 5: 0.1, 6: 0.4}
    log: list[dict[str, Any]] = [{"step": step} for step in range(1, 7)]
    for step, error in errors.items():
        log[step - 1] |= {"val_nmse": error, "val_codes_used": 10 - step}
    found = steadiness(log)
    assert found["unrest"] == pytest.approx(np.log(4))  # from 4 to 5, and on to 6
    assert found["end_over_best"] == pytest.approx(4.0)
    assert found["least_codes_used"] == 4
    assert steadiness([{"step": 1}, {"step": 2}]) == {}


@pytest.mark.usefixtures("one_thread")
def test_augmentation_is_measured_once(tmp_path: Path) -> None:
    runs = tmp_path / "new" / "folder"
    words = ["--quick", "--seed", "0", "--runs", str(runs)]
    assert augmentation.main(words) == 0
    path = runs / "results" / "augmentation-0.json"
    found = json.loads(path.read_text())
    assert len(found["accuracy"]) == 5
    assert all(0 <= share <= 1 for share in found["accuracy"].values())
    written = path.stat().st_mtime_ns
    assert augmentation.main(words) == 0
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("helped", "said"),
    [
        ((0.81, 0.91, 0.71), "supported"),
        ((0.79, 0.89, 0.69), "not supported"),
        ((0.81, 0.89, 0.71), "undecided"),
        ((0.81, 0.91), "not yet: 2 of 3 seeds"),
    ],
)
def test_whether_augmentation_helps_goes_seed_by_seed(
    helped: tuple[float, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed, (real, both) in enumerate(zip((0.8, 0.9, 0.7), helped, strict=False)):
        accuracy = {"real alone": real, "real and X": both, "X alone": 1.0}
        record = {"accuracy": accuracy, "environment": environment()}
        (tmp_path / f"augmentation-{seed}.json").write_text(json.dumps(record))
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    alone, both, only = page.augmentation_table().splitlines()[2:5]
    assert both.endswith(f"| {said} |")
    assert alone.endswith("| – |")
    assert only.endswith("| – |")
