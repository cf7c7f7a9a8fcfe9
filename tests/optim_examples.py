"""Parameters with gradients, and optimisers for them, by name."""

from collections.abc import Callable

import numpy as np

from tinyvq import nn
from tinyvq.optim import SGD, Adam, AdamW, Optimizer
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "SGD": lambda p: SGD(p, lr=0.1),
    "SGD, momentum": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: Adam(p, lr=0.1),
    "AdamW": lambda p: AdamW(p, lr=0.1, weight_decay=0.2),
}


def parameters(dtype: str = "float64") -> list[nn.Parameter]:
    return [
        nn.Parameter(Stream(0, "parameter", *shape).normal(shape, dtype))
        for shape in ((4, 3), (5,), ())
    ]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    for i, p in enumerate(parameters):
        gradient = Stream(step, "gradient", i).normal(p.shape, p.dtype)
        p.grad = Tensor.wrap(np.asarray(gradient))


def train(parameters: list[nn.Parameter], optimiser: Optimizer, steps: range) -> None:
    for step in steps:
        give_gradients(parameters, step)
        optimiser.step()


def bits(parameters: list[nn.Parameter]) -> list[bytes]:
    return [p.numpy().tobytes() for p in parameters]
