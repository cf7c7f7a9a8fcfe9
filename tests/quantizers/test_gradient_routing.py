"""Which loss reaches which parameter, with the gradients written out.

All numbers are whole or divide by powers of two, so every value is exact.
"""

from typing import Any

import numpy as np
import pytest
from quantizers.quantizer_examples import HARD, Array, still

from tinyvq import Tensor, grad, ops
from tinyvq.nn import Parameter

Z = np.array([[1.0, 0.5], [-2.0, 4.0]])
CODEBOOK = np.array([[0.0, 0.0], [-2.0, 2.0], [32.0, 32.0]])
CODES = np.array([[0.0, 0.0], [-2.0, 2.0]])  # of the two vectors: rows 0 and 1
TARGET = np.array([[1.0, 2.0], [3.0, 4.0]])
WEIGHT = 3.0  # of the decoder, which multiplies by it
BETA = 0.25

# d mean((z - e)²) = 2 (z - e) / 4, and z - e = [[1, 1/2], [0, 2]].
PULL = np.array([[0.5, 0.25], [0.0, 1.0]])
# Codes move to their vectors; the third was not chosen.
TO_CODES = np.array([[-0.5, -0.25], [0.0, -1.0], [0.0, 0.0]])
# The decoder makes 3 · codes. Its error is [[-1, -2], [-9, 2]], and the gradient of its
# input, 3 · 2 · error / 4, goes to z.
TO_Z = np.array([[-1.5, -3.0], [-13.5, 3.0]])
TO_DECODER = 11.0  # Σ 2 · error · codes / 4
NOTHING_Z, NOTHING_CODES = np.zeros((2, 2)), np.zeros((3, 2))

# loss: (what z gets, what the codebook gets, what the decoder gets)
TABLE: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "gradient": {
        "codebook loss": (NOTHING_Z, TO_CODES, None),
        "commitment loss": (BETA * PULL, NOTHING_CODES, None),
        "reconstruction": (TO_Z, None, TO_DECODER),
        "all": (BETA * PULL + TO_Z, TO_CODES, TO_DECODER),
    },
    "ema": {
        "codebook loss": (NOTHING_Z, None, None),
        "commitment loss": (BETA * PULL, None, None),
        "reconstruction": (TO_Z, None, TO_DECODER),
        "all": (BETA * PULL + TO_Z, None, TO_DECODER),
    },
}
# mean((z - e)²) = (1 + 1/4 + 0 + 4) / 4.
DISTANCE = 1.3125


class Step:
    """One forward, and the losses that a training step adds up."""

    def __init__(self, learn: str, commitment: float) -> None:
        self.z = Tensor(Z, requires_grad=True)
        self.quantizer = still(learn, CODEBOOK, commitment=commitment)
        self.weight = Parameter(np.array(WEIGHT))
        self.output = self.quantizer(self.z)
        picture = self.output.quantized * self.weight
        self.reconstruction = ops.mse_loss(picture, TARGET)

    def gradients(self, loss: Tensor) -> tuple[Array | None, ...]:
        loss.backward()
        leaves = (self.z, self.quantizer.codebook, self.weight)
        return tuple(None if t.grad is None else t.grad.numpy() for t in leaves)


def gradients(learn: str, loss: str) -> tuple[Array | None, ...]:
    if loss == "reconstruction":
        step = Step(learn, BETA)
        return step.gradients(step.reconstruction)
    if loss == "all":
        step = Step(learn, BETA)
        return step.gradients(step.reconstruction + step.output.loss)
    bare = Step(learn, 0.0)
    without = bare.gradients(bare.output.loss)
    if loss == "codebook loss":  # all that is left without the commitment
        return without
    full = Step(learn, BETA)
    both = full.gradients(full.output.loss)
    return tuple(
        None if a is None or b is None else a - b
        for a, b in zip(both, without, strict=True)
    )


@pytest.mark.parametrize("loss", TABLE["ema"])
@pytest.mark.parametrize("learn", HARD)
def test_routing_table(learn: str, loss: str) -> None:
    for name, found, expected in zip(
        ("z", "codebook", "decoder"),
        gradients(learn, loss),
        TABLE[learn][loss],
        strict=True,
    ):
        if expected is None:
            assert found is None, name
        else:
            np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 8.0])
def test_the_losses_are_means_over_all_values(beta: float) -> None:
    assert Step("ema", beta).output.loss.item() == beta * DISTANCE
    assert Step("gradient", beta).output.loss.item() == (1 + beta) * DISTANCE


@pytest.mark.parametrize("learn", HARD)
def test_a_gradient_that_is_not_asked_for_is_not_made(learn: str) -> None:
    step = Step(learn, BETA)
    (gz,) = grad(step.output.loss, [step.z])
    np.testing.assert_array_equal(gz.numpy(), BETA * PULL)
    assert step.quantizer.codebook.grad is None
    assert step.z.grad is None
