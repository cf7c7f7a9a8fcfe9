"""How fast each quantizer learns: the same network and data, tinyvq and its peers.

    python -m benchmarks.curves                  # three seeds of all: about an hour
    python -m benchmarks.curves --only tinyvq --seeds 0

Full Fashion-MNIST, the preset `conv` (hidden 128, D 64, M 512), batch 32, Adam 3e-4,
reconstruction term over the pixel variance, pixels in [-0.5, 0.5], raw weights. All see
the same batches; each library draws its own first weights. PyTorch's own codebooks have
the paper's β of 0.25, vector-quantize-pytorch its default of 1. A run that stands in
the result file is not done again, so the command can be stopped and repeated. Writes
results/curves.json.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, environment, write_json
from tinyvq.data import ImageData, batch_indices, load, to_unit
from tinyvq.messages import say
from tinyvq.training.evaluation import evaluate
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

MARKS = (500, 1000, 2000)
BATCH, LR = 32, 3e-4
RESULT = RESULTS / "curves.json"


@dataclass
class Learner:
    """A model in training: one step at a time, measured now and then."""

    step: Callable[[int], None]
    measure: Callable[[str], tuple[float, int]]  # split -> nmse, codes used


def tinyvq_learner(images: ImageData, seed: int, **options: Any) -> Learner:
    """Train as `tinyvq train vqvae` does."""
    chosen = VQVAEOptions(
        data="fashion-mnist", batch_size=BATCH, lr=LR, seed=seed, **options
    )
    task = VQVAETask(chosen, images, facts_of(images))

    def measure(split: str) -> tuple[float, int]:
        found = evaluate(task.model, images.split(split).images)
        return found.nmse, found.codes_used

    return Learner(lambda step: void(task.step(step)), measure)


def torch_learner(
    images: ImageData, seed: int, make_quantizer: Callable[[], Any]
) -> Learner:
    """Train the same network in PyTorch, eager, its own initial weights."""
    import torch

    from benchmarks.peers.torch_vqvae import TorchVQVAE

    torch.manual_seed(seed)
    variance = facts_of(images)["pixel_variance"]
    model = TorchVQVAE(make_quantizer(), channels=1, pixel_variance=variance)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    train = images.split("train").images

    def to_torch(chosen: Any) -> Any:
        return torch.from_numpy(to_unit(chosen).transpose(0, 3, 1, 2).copy())

    def step(number: int) -> None:
        x = to_torch(train[batch_indices(len(train), BATCH, number, seed)])
        optimizer.zero_grad()
        model(x).loss.backward()
        optimizer.step()
        model.quantizer.update(optimizer)

    def measure(split: str) -> tuple[float, int]:
        model.eval()
        total, used = 0.0, set()
        shown = images.split(split).images
        with torch.no_grad():
            for first in range(0, len(shown), 100):
                x = to_torch(shown[first : first + 100])
                output = model(x)
                total += float(output.mse) * len(x)
                used |= set(output.indices.unique().tolist())
        model.train()
        return total / len(shown) / variance, len(used)

    return Learner(step, measure)


def torch_plain(learn: str) -> Callable[[ImageData, int], Learner]:
    """Make the textbook's codebook: random start, nothing restarted."""

    def make(images: ImageData, seed: int) -> Learner:
        from benchmarks.peers.torch_vqvae import TorchQuantizer
        from tinyvq.rng import Stream

        return torch_learner(
            images,
            seed,
            lambda: TorchQuantizer(
                512,
                64,
                learn=learn,
                kmeans_start=False,
                restart_below=0.0,
                rng=Stream(seed),
            ),
        )

    return make


def torch_vqp(rotation_trick: bool) -> Callable[[ImageData, int], Learner]:
    """Make vector-quantize-pytorch's codebook: k-means start, restart."""

    def make(images: ImageData, seed: int) -> Learner:
        from benchmarks.peers.vqp import VQPQuantizer

        return torch_learner(
            images,
            seed,
            lambda: VQPQuantizer(
                512, 64, rotation_trick=rotation_trick, commitment=1.0
            ),
        )

    return make


CONTENDERS: dict[str, Callable[[ImageData, int], Learner]] = {
    "tinyvq": tinyvq_learner,
    "tinyvq, gradient": lambda images, seed: tinyvq_learner(
        images, seed, quantizer="gradient"
    ),
    "PyTorch, gradient codebook": torch_plain("gradient"),
    "PyTorch, EMA": torch_plain("ema"),
    "vector-quantize-pytorch, rotation trick": torch_vqp(rotation_trick=True),
    "vector-quantize-pytorch, straight-through": torch_vqp(rotation_trick=False),
}


def void(_: object) -> None:
    """Forget a result."""


def train(learner: Learner, steps: int) -> Iterator[dict[str, Any]]:
    """Train; yield what was measured at each mark."""
    for step in range(1, steps + 1):
        learner.step(step)
        if step in MARKS or step == steps:
            val, _ = learner.measure("val")
            test, used = learner.measure("test")
            yield {
                "step": step,
                "val_nmse": round(val, 5),
                "test_nmse": round(test, 5),
                "test_codes_used": used,
            }


def main() -> None:
    """Run what is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    runs = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else []
    images = load("fashion-mnist")
    for seed in asked.seeds:
        for name in asked.only or CONTENDERS:
            if any((r["contender"], r["seed"]) == (name, seed) for r in runs):
                continue
            run: dict[str, Any] = {"contender": name, "seed": seed}
            run["marks"] = []
            for mark in train(CONTENDERS[name](images, seed), asked.steps):
                run["marks"].append(mark)
                say(f"{name}, seed {seed}: {mark}")
            run["environment"] = environment()
            runs.append(run)
            write_json(asked.out, {"settings": __doc__, "runs": runs})


if __name__ == "__main__":
    main()
