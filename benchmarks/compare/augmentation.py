"""Does augmentation help? A classifier on few real images, with and without new ones.

    python -m benchmarks.compare.augmentation

From 500 training images per class of Fashion-MNIST, others for each seed, a tokenizer
and a prior learn to draw more (`tinyvq augment`, 500 per class); a small classifier of
the same layers is trained on the real ones, and on real and new ones together, for as
many steps. Its accuracy on all test images says whether the new ones told it anything.
All that the models have seen are those 500 a class. A result file a seed, in
results/compare.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.compare.__main__ import Stopped, runs_of, train
from benchmarks.compare.pieces import SEEDS
from benchmarks.compare.records import FOLDER
from benchmarks.record import environment, write_json
from tinyvq import data, ops
from tinyvq.cli import main as tinyvq
from tinyvq.cli._codes import write_npz
from tinyvq.data import Split, batch_indices, read_npz, to_unit
from tinyvq.files import make_folder
from tinyvq.messages import say
from tinyvq.nn import Conv2d, Linear, Module
from tinyvq.optim import Adam
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor, no_grad

PER_CLASS = 500
STEPS, BATCH, LR = 2000, 64, 1e-3
WORDS = {  # of the two commands that learn to draw
    "vqvae": "--model small --steps 3000",
    "vqgan": "--model small --steps 3000 --adversarial-start 1000",
    "prior": "--steps 2000",
}
QUICK = {
    "vqvae": "--model small --hidden 8 --num-codes 16 --code-dim 8 --steps 2",
    "vqgan": "--model small --hidden 8 --num-codes 16 --code-dim 8 --steps 2 "
    "--discriminator-width 8 --adversarial-start 1",
    "prior": "--steps 2 --width 16 --layers 1 --heads 2",
}


class Classifier(Module):
    """Two convolutions that halve the image, and two linear layers."""

    def __init__(self, size: int, channels: int, classes: int, seed: int) -> None:
        rng = Stream(seed, "classifier")
        self.first = Conv2d(
            channels, 32, 4, stride=2, padding=1, rng=rng.child("first")
        )
        self.second = Conv2d(32, 64, 4, stride=2, padding=1, rng=rng.child("second"))
        self.third = Linear(64 * (size // 4) ** 2, 128, rng=rng.child("third"))
        self.last = Linear(128, classes, rng=rng.child("last"))

    def __call__(self, x: Tensor) -> Tensor:
        """Map images (N,H,W,C) to logits (N,classes)."""
        x = ops.relu(self.second(ops.relu(self.first(x))))
        return self.last(ops.relu(self.third(x.reshape(len(x.array), -1))))


def few(images: Split, per_class: int, seed: int) -> Split:
    """Take so many of each class, drawn by a seed."""
    assert images.labels is not None
    mixed = Stream(seed, "few of each class").permutation(len(images))
    labels = images.labels[mixed]
    classes = range(int(labels.max()) + 1)
    chosen = [mixed[labels == c][:per_class] for c in classes]
    return images.take(np.sort(np.concatenate(chosen)))


def accuracy(train: Split, test: Split, seed: int, steps: int) -> float:
    """Train a classifier; return the share of test images that it names.

    The learning rate falls to 0, so that the last step is no better than its neighbours
    by chance.
    """
    assert train.labels is not None
    assert test.labels is not None
    _, size, _, channels = train.images.shape
    model = Classifier(size, channels, int(test.labels.max()) + 1, seed)
    adam = Adam(model.parameters(), LR)
    for step in range(1, steps + 1):
        adam.lr = LR * (1 - (step - 1) / steps)
        chosen = batch_indices(len(train), BATCH, step, seed)
        logits = model(Tensor.wrap(to_unit(train.images[chosen])))
        adam.zero_grad()
        ops.cross_entropy(logits, train.labels[chosen]).backward()
        adam.step()
    right = 0
    with no_grad():
        for first in range(0, len(test), 500):
            part = slice(first, first + 500)
            logits = model(Tensor.wrap(to_unit(test.images[part])))
            right += int((logits.numpy().argmax(-1) == test.labels[part]).sum())
    return right / len(test)


def drawn(kind: str, source: Path, runs: Path, seed: int, words: Any) -> Split:
    """Train a tokenizer and a prior on few images; draw as many again."""
    tokenizer, prior = runs / f"{kind}-{seed}", runs / f"{kind}-prior-{seed}"
    for name, given, folder in (
        (kind, ["--data", str(source)], tokenizer),
        ("prior", ["--tokenizer", str(tokenizer)], prior),
    ):
        place = ["--seed", str(seed), "--out", str(folder)]
        train(["train", name, *given, *words[name].split(), *place], folder)
    out = runs / f"{kind}-{seed}.npz"
    if not out.exists():
        status = tinyvq(["augment", str(prior), "--out", str(out), "--seed", str(seed)])
        if status != 0:
            raise Stopped(status)
    arrays = read_npz(out)
    return Split(arrays["images"], arrays["labels"])


def joined(*splits: Split) -> Split:
    """Put splits one after another."""
    labels = [s.labels for s in splits if s.labels is not None]
    return Split(np.concatenate([s.images for s in splits]), np.concatenate(labels))


def sources(runs: Path, quick: bool, seed: int) -> tuple[Path, Split, Split]:
    """Write the few images that all is learned from; -> their file, train and test."""
    images = data.load("fashion-mnist-5k" if quick else "fashion-mnist")
    train = few(images.split("train"), 20 if quick else PER_CLASS, seed)
    val = few(images.split("val"), 20 if quick else 100, seed)
    path, test = runs / f"few-{seed}.npz", images.split("test")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, split in (("train", train), ("val", val)):
        assert split.labels is not None
        arrays |= {name: split.images, f"{name}_labels": split.labels}
    if not path.exists():
        make_folder(runs)
        write_npz(path, arrays)
    return path, train, test


def main(argv: list[str] | None = None) -> int:
    """Do the seeds that are not done yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.augmentation")
    parser.add_argument("--quick", action="store_true", help="tiny, to see it work")
    parser.add_argument("--seed", type=int, nargs="*", default=SEEDS, help="only these")
    parser.add_argument("--runs", type=Path, help="where to train; runs/augmentation")
    parser.add_argument("--results", type=Path, default=FOLDER)
    asked = parser.parse_args(argv)
    asked.runs = asked.runs or runs_of("augmentation", asked.quick)
    words, steps = (QUICK, 4) if asked.quick else (WORDS, STEPS)
    if asked.quick and asked.results == FOLDER:
        asked.results = asked.runs / "results"
    for seed in asked.seed:
        path = asked.results / f"augmentation-{seed}.json"
        if path.exists():
            continue
        source, real, test = sources(asked.runs, asked.quick, seed)
        found = {"real alone": accuracy(real, test, seed, steps)}
        for kind, name in (("vqvae", "VQ-VAE + prior"), ("vqgan", "VQ-GAN + prior")):
            try:
                more = drawn(kind, source, asked.runs, seed, words)
            except Stopped as stopped:
                return stopped.status
            found[f"real and {name}"] = accuracy(joined(real, more), test, seed, steps)
            found[f"{name} alone"] = accuracy(more, test, seed, steps)
        say(f"seed {seed}: {found}")
        write_json(
            path,
            {
                "seed": seed,
                "real": len(real),
                "steps": steps,
                "accuracy": found,
                "environment": environment(),
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
