"""A prior's steps, figure by figure: against a loop that is written out here."""

import math
from pathlib import Path

import numpy as np
import pytest
from cli.command_line import succeeds
from training.kind_examples import words_of, write_labelled

from tinyvq import metrics, ops
from tinyvq.data import batch_indices
from tinyvq.optim import AdamW
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.evaluation import reconstruct
from tinyvq.training.prior import (
    CodedSplit,
    PriorOptions,
    PriorTask,
    build_prior,
    nats_per_token,
)
from tinyvq.training.prior_evaluation import evaluate_prior
from tinyvq.training.trained import load_prior

FACTS = {"num_codes": 6, "grid": [2, 3], "num_classes": 3}


def coded(count: int, seed: int = 0) -> CodedSplit:
    codes = Stream(seed, "codes").integers(6, (count, 2, 3))
    return CodedSplit(codes, Stream(seed, "labels").integers(3, (count,)))


def test_steps_are_what_the_options_say() -> None:
    """AdamW with decay, clipping that bites, warm-up, then half a cosine."""
    size = {"width": 8, "heads": 2, "layers": 1, "batch_size": 4}
    options = PriorOptions(
        **size, steps=5, warmup=2, seed=3, clip=0.05, weight_decay=0.5, lr=0.01
    )
    codes = {"train": coded(13), "val": coded(7, seed=1)}
    train, task = codes["train"], PriorTask(options, codes, FACTS)
    by_hand = build_prior(options, FACTS)
    adam = AdamW(by_hand.parameters(), betas=(0.9, 0.95), weight_decay=0.5)
    assert train.labels is not None
    falling = [(1 + math.cos(math.pi * i / 3)) / 2 for i in (1, 2, 3)]
    for step, share in enumerate([0.5, 1.0, *falling], start=1):
        measured = task.step(step)
        chosen = batch_indices(13, 4, step, seed=3)
        by_hand.zero_grad()
        logits = by_hand(train.codes[chosen], train.labels[chosen])
        loss = ops.cross_entropy(logits, train.codes[chosen].reshape(4, -1))
        loss.backward()
        gradients = [p.grad.numpy() for p in by_hand.parameters() if p.grad is not None]
        squares = [np.square(g, dtype=np.float64).sum() for g in gradients]
        norm = math.sqrt(sum(squares))
        assert norm > 0.05
        for p, g in zip(by_hand.parameters(), gradients, strict=True):
            p.grad = Tensor(g * np.float32(0.05 / norm))
        adam.lr = 0.01 * share
        adam.step()
        assert measured["lr"] == pytest.approx(0.01 * share, abs=1e-18)
        assert measured["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for (name, found), (_, expected) in zip(
        task.prior.named_parameters(), by_hand.named_parameters(), strict=True
    ):
        close = {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(
            found.numpy(), expected.numpy(), **close, err_msg=name
        )
    nats = nats_per_token(task.prior, codes["val"])
    assert task.validate() == {"val_nats_per_token": nats}
    assert nats != nats_per_token(task.prior, train)


def test_dropout_acts_in_training_alone() -> None:
    size = {"width": 8, "heads": 2, "layers": 1, "batch_size": 4}
    codes = {"train": coded(13), "val": coded(7, seed=1)}
    losses = set()
    for dropout in (0.0, 0.5):
        task = PriorTask(PriorOptions(**size, dropout=dropout), codes, FACTS)
        before = task.validate()["val_nats_per_token"]
        losses.add((task.step(1)["loss"], before))
    (plain, first), (dropped, second) = losses
    assert plain != dropped
    assert first == second


def test_nats_are_a_mean_over_grids_not_over_batches() -> None:
    prior = build_prior(PriorOptions(width=8, heads=2, layers=1), FACTS)
    split = coded(103)
    assert split.labels is not None
    each = [
        nats_per_token(
            prior, CodedSplit(split.codes[i : i + 1], split.labels[i : i + 1])
        )
        for i in range(103)
    ]
    assert np.std(each) > 0
    assert nats_per_token(prior, split) == pytest.approx(np.mean(each), rel=1e-6)


@pytest.mark.usefixtures("command_line")
def test_its_evaluation_counts_on_training_and_measures_another_split(
    tmp_path: Path,
) -> None:
    write_labelled(tmp_path / "images.npz")
    succeeds(*words_of("vqvae", tmp_path / "tokenizer", tmp_path / "images.npz"))
    succeeds(*words_of("prior", tmp_path / "prior", tmp_path / "tokenizer"))
    trained = load_prior(tmp_path / "prior")
    images = trained.images()
    train, val = images.split("train"), images.split("val")
    (counted,) = reconstruct(trained.tokenizer, train.images)
    (measured,) = reconstruct(trained.tokenizer, val.images)
    codes, known = measured[2], counted[2]
    found = evaluate_prior(trained, images, "val")
    assert found.left_above_nats == metrics.left_above_nats(known, codes, 6)
    histogram = metrics.position_histogram_nats(known, codes, 6)
    assert found.position_histogram_nats == histogram != found.left_above_nats

    pixels = metrics.fit_scale(train.images, counted[1])
    nats = codes[0].size * nats_per_token(trained.prior, CodedSplit(codes, val.labels))
    nats += math.log(3)  # which class it is
    nats += float(pixels.nats_per_image(val.images, measured[1]).mean())
    bits = nats / (val.images[0].size * math.log(2))
    assert found.bits_per_dimension == pytest.approx(bits, rel=1e-9)
