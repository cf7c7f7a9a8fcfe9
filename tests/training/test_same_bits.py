"""One seed gives one run: over a resume, for any number of threads, for each kind."""

import json
from pathlib import Path

import numba
import numpy as np
import pytest
from training.faults import Fault, injected
from training.run_examples import (
    STEPS,
    assert_same_run,
    assert_same_state,
    resume_words,
    start,
    train_words,
    untimed,
    write_images,
)

from tinyvq.cli import main
from tinyvq.training import checkpoint

pytestmark = pytest.mark.usefixtures("command_line")

KINDS = {
    "ema": {},
    "gradient": {"quantizer": "gradient"},
    "soft": {"quantizer": "soft", "kl_weight": 0.1},
    "dense": {"model": "dense"},
    "schedule": {"warmup": 3, "cooldown": 4},
    "restarts": {"restart_below": 0.99, "num_codes": 40, "decay": 0.5},
    "restarts of gradient": {
        "quantizer": "gradient",
        "restart_below": 0.99,
        "num_codes": 40,
        "decay": 0.5,
    },
    "batches over the end of an epoch": {"batch_size": 7},
}


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_run_that_was_never_stopped(
    images: Path, tmp_path: Path, kind: str
) -> None:
    expected, run = tmp_path / "never-stopped", tmp_path / "run"
    assert main(train_words(expected, images, **KINDS[kind])) == 0
    for call in (  # a dead disk leaves what a kill would leave
        "fsync /checkpoints/.step-00000004.safetensors",
        "replace /checkpoints/.step-00000008.json",
    ):
        with injected(call, Fault.DEAD):
            assert main(resume_words(run, images, **KINDS[kind])) == 1
    assert main(resume_words(run, images, **KINDS[kind])) == 0
    assert_same_run(run, expected)


@pytest.mark.usefixtures("no_figures")
def test_a_run_that_has_ended_cools_down_as_one_that_was_to(
    images: Path, tmp_path: Path
) -> None:
    """Until then the rate is the same, so the bits are."""
    at_once, later = tmp_path / "at-once", tmp_path / "later"
    longer = {"steps": STEPS + 4, "cooldown": 4}
    assert main(train_words(at_once, images, **longer)) == 0
    assert main(train_words(later, images)) == 0
    assert main(resume_words(later, images, **longer)) == 0
    assert_same_state(later, at_once, steps=STEPS + 4)
    rates = [record["lr"] for record in untimed(at_once) if "lr" in record]
    *before, third, last = rates  # every second step is logged; of 4 in 5 parts
    assert set(before) == {before[0]}
    assert [third, last] == pytest.approx([before[0] * 3 / 5, before[0] / 5])


@pytest.mark.usefixtures("no_figures")
def test_the_state_has_all_that_moves(images: Path, tmp_path: Path) -> None:
    """What a resume test cannot see is a state that happens not to matter yet."""
    saved = {}
    for kind in ("ema", "gradient", "soft"):
        run = tmp_path / kind
        assert main(train_words(run, images, **KINDS[kind])) == 0
        saved[kind] = checkpoint.load_latest(run / "checkpoints").arrays
    for kind, arrays in saved.items():
        code_moments = [
            name
            for name, array in arrays.items()
            if name.startswith("adam.m.") and array.shape == (6, 2)
        ]
        assert len(code_moments) == (0 if kind == "ema" else 1)
        assert all(saved[kind][name].any() for name in code_moments)
        assert arrays["model.quantizer.updates"] == STEPS
        assert (arrays["adam.steps"] == STEPS).all()
    assert {"model.quantizer.cluster_size", "model.quantizer.embed_sum"} <= (
        saved["ema"].keys() & saved["gradient"].keys()
    )


@pytest.mark.usefixtures("no_figures")
def test_codes_are_restarted_in_these_runs(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(train_words(run, images, **KINDS["restarts of gradient"])) == 0
    assert sum(record["codes_restarted"] for record in untimed(run)) > 5


@pytest.mark.usefixtures("no_figures")
def test_another_seed_is_another_run(images: Path, tmp_path: Path) -> None:
    for seed in (3, 4):
        assert main(train_words(tmp_path / str(seed), images, seed=seed)) == 0
    with pytest.raises(AssertionError):
        assert_same_state(tmp_path / "3", tmp_path / "4")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("quantizer", ["ema", "gradient", "soft"])
def test_one_thread_and_two_give_the_same_bits(tmp_path: Path, quantizer: str) -> None:
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread: there is no other number to compare with")
    # Large enough for the kernels to share the work between threads.
    images = write_images(tmp_path / "images.npz", count=128, size=28)
    changes = {"steps": 2, "batch_size": 32, "hidden": 32, "code_dim": 16}
    changes |= {"num_codes": 64, "quantizer": quantizer}
    runs = [tmp_path / str(threads) for threads in (1, 2)]
    for threads, run in enumerate(runs, start=1):
        numba.set_num_threads(threads)  # the fixture puts it back
        assert main(train_words(run, images, **changes)) == 0
    assert_same_run(runs[1], runs[0], steps=2)


def test_processes_with_one_thread_and_two_give_the_same_bits(
    images: Path, tmp_path: Path
) -> None:
    runs = [tmp_path / str(threads) for threads in (1, 2)]
    for threads, run in enumerate(runs, start=1):
        process = start(train_words(run, images, steps=3), threads=threads)
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert_same_run(runs[1], runs[0], steps=3)


@pytest.mark.usefixtures("no_figures")
def test_steps_may_grow(images: Path, tmp_path: Path) -> None:
    expected, run = tmp_path / "twelve", tmp_path / "eight"
    assert main(train_words(expected, images, steps=12)) == 0
    assert main(train_words(run, images)) == 0
    saved = (run / "config.json").read_bytes()
    assert main(resume_words(run, images, steps=12)) == 0
    assert_same_run(run, expected, steps=12)
    assert (run / "config.json").read_bytes() == saved
    # Without --steps it goes on to the number that was saved: there is nothing to do.
    short = ["train", "vqvae", "--out", str(run), "--resume"]
    assert main(short) == 0
    assert_same_run(run, expected, steps=12)
    assert json.loads(saved)["options"]["steps"] == 8
    assert np.isfinite(untimed(run)[-1]["val_nmse"])
