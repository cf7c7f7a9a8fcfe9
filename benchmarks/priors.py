"""What priors know of codes: tinyvq's, the same networks in PyTorch, and counting.

    python -m benchmarks.priors --tokenizer runs/demo/tokenizer

Each prior is trained twice, by tinyvq and by PyTorch: from the same first weights, on
the same batches, with the same schedule, AdamW and clipping; what dropout drops each
library draws by itself. Nats a token on train, val and test, beside what counts of the
training codes give. A run that stands in the result file is not done again. Writes
results/priors.json.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, environment, write_json
from tinyvq import metrics
from tinyvq.data import batch_indices
from tinyvq.messages import say
from tinyvq.training.prior import CodedSplit, PriorOptions, PriorTask, encode, facts_of
from tinyvq.training.trained import images_of, load_tokenizer

STEPS = 500
RESULT = RESULTS / "priors.json"
PRIORS: dict[str, PriorOptions] = {
    "transformer": PriorOptions(steps=STEPS),
    "pixelcnn": PriorOptions(steps=STEPS, prior="pixelcnn", width=96, layers=5),
}

Splits = dict[str, CodedSplit]


def tinyvq_nats(options: PriorOptions, codes: Splits, facts: Any) -> dict[str, float]:
    """Train as `tinyvq train prior` does."""
    task = PriorTask(options, codes, facts)
    for step in range(1, options.steps + 1):
        task.step(step)
    return {name: task.nats(split) for name, split in codes.items()}


def torch_nats(options: PriorOptions, codes: Splits, facts: Any) -> dict[str, float]:
    """Train the same network in PyTorch."""
    import torch

    from benchmarks.peers.torch_priors import nats, weights_of

    prior = PriorTask(options, codes, facts).prior
    weights = weights_of(prior)
    optimizer = torch.optim.AdamW(
        weights.values(),
        options.lr,
        betas=(0.9, 0.95),
        weight_decay=options.weight_decay,
    )
    torch.manual_seed(options.seed)
    train = codes["train"]

    def loss(split: CodedSplit, chosen: Any, dropout: float) -> Any:
        labels = None if split.labels is None else torch.tensor(split.labels[chosen])
        return nats(
            prior, weights, torch.tensor(split.codes[chosen]), labels, dropout=dropout
        )

    for step in range(1, options.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = options.rate(step, options.lr)
        chosen = batch_indices(len(train), options.batch_size, step, options.seed)
        optimizer.zero_grad()
        loss(train, chosen, options.dropout).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), options.clip)
        optimizer.step()
    found = {}
    with torch.no_grad():
        for name, split in codes.items():
            parts = np.array_split(np.arange(len(split)), -(-len(split) // 100))
            total = sum(float(loss(split, part, 0.0)) * len(part) for part in parts)
            found[name] = total / len(split)
    return found


def counted_nats(codes: Splits, num_codes: int) -> Iterator[tuple[str, Any]]:
    """Measure what counting knows."""
    for name, count in (
        ("counts left and above", metrics.left_above_nats),
        ("counts at each position", metrics.position_histogram_nats),
    ):
        train = codes["train"].codes
        yield name, {k: count(train, v.codes, num_codes) for k, v in codes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    folder = parser.parse_args().tokenizer
    model, its_options, run = load_tokenizer(folder)
    images = images_of(its_options, run, None)
    codes = {
        name: encode(model, images.split(name), name)
        for name in ("train", "val", "test")
    }
    facts = facts_of(model, images, codes, labels=True)
    rows = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    done = {row["name"] for row in rows}

    def note(name: str, nats: dict[str, float], **more: Any) -> None:
        say(f"{name}: {nats}")
        rows.append({"name": name, "nats_per_token": nats, **more})
        write_json(RESULT, {"rows": rows, "environment": environment()})

    for name, nats in counted_nats(codes, model.quantizer.num_codes):
        if name not in done:
            note(name, nats)
    for name, options in PRIORS.items():
        for library, train in (("tinyvq", tinyvq_nats), ("PyTorch", torch_nats)):
            if f"{name}, {library}" not in done:
                nats = train(options, codes, facts)
                note(f"{name}, {library}", nats, steps=options.steps)


if __name__ == "__main__":
    main()
