"""A VQ-VAE's training step, by tinyvq and by PyTorch, held against each other."""

from typing import Any

import numpy as np
import pytest
from parity.steps import (
    U64,
    Array,
    Errors,
    assert_gradients_agree,
    errors,
    gradients,
    gradients_of,
    to_nchw,
    turned,
)
from peers import require

from tinyvq import optim
from tinyvq.models import VQVAE, VQVAEOutput
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

torch = require("torch")

STEPS = 20
LR = 3e-4
LAYERS = 16  # of the preset: convolutions and what stands between; twice with backward

SMALL = {"hidden": 16, "residual_hidden": 8}
# 6 × (3×4) = 72 vectors per batch: at least one a code. Sizes of codes are whole
# numbers over powers of 5 (decay 0.8), and 0.37 · 72 / 24 = 1.11 is none: no code
# stands on the line between dead and alive, where a rounding would decide.
CODES = {"num_codes": 24, "code_dim": 8, "decay": 0.8}
PLACED = {"kmeans_start": True, "restart_below": 0.37}
LEFT = {"kmeans_start": False, "restart_below": 0.0}
AVERAGES = ("codebook", "cluster_size", "embed_sum")


def spread(model: VQVAE, x: Array) -> None:
    """Draw the codes like the encoder's vectors of x, so that many are chosen."""
    z = model.encoder(Tensor(x)).numpy()
    z = z.reshape(-1, z.shape[-1])  # (N·P·Q, D)
    with model.quantizer.codebook.mutate() as codes:  # type: ignore[attr-defined]
        drawn = Stream(0, "codes").normal(codes.shape, codes.dtype)
        codes[...] = z.mean(axis=0) + z.std(axis=0) * drawn


def train_ours(model: VQVAE, adam: optim.Adam, x: Array) -> VQVAEOutput:
    model.zero_grad()
    output = model(Tensor(x))
    output.loss.backward()
    adam.step()
    update = model.quantizer.update(output.stats)
    for codebook in model.quantizer.trained_codebook():
        adam.reset_rows(codebook, update.moved)
    return output


def train_theirs(model: Any, adam: Any, x: Array) -> Any:
    adam.zero_grad()
    output = model(to_nchw(x))
    output.loss.backward()
    adam.step()
    model.quantizer.update(adam)
    return output


def assert_steps_agree(
    model: VQVAE,
    theirs: Any,
    batches: list[Array],
    terms: int,
    state: tuple[str, ...] = AVERAGES,
) -> None:
    """Train both on the batches, comparing every step.

    terms  values in the longest sum of a forward or backward pass
    state  arrays of the quantizer, to be compared at the end

    A sum of n terms in two orders differs by about √n·u times the sum of their
    magnitudes, that is by n·u times a typical sum of random signs; one layer after
    another does that, against the largest value of each gradient.
    """
    adam = optim.Adam(model.parameters(), lr=LR)
    peer = torch.optim.Adam(theirs.parameters(), lr=LR)
    tolerance = 2 * LAYERS * terms * U64
    for step, x in enumerate(batches):
        ours = train_ours(model, adam, x)
        other = train_theirs(theirs, peer, x)
        assert ours.loss.item() == pytest.approx(other.loss.item(), rel=1e-9), step
        np.testing.assert_array_equal(ours.indices, other.indices.numpy())
        if step == 0:
            assert len(np.unique(ours.indices)) > 2
            assert_gradients_agree(model, theirs, tolerance)
    # What the losses are held to, 1e-9, of the way that Adam can have gone.
    reach = 1e-9 * LR * len(batches)
    for (name, mine), parameter in zip(
        model.named_parameters(), theirs.parameters(), strict=True
    ):
        np.testing.assert_allclose(
            turned(name, mine.numpy()), parameter.detach(), 1e-9, reach, err_msg=name
        )
    for name in state:
        np.testing.assert_allclose(
            getattr(model.quantizer, name).numpy(),
            getattr(theirs.quantizer, name).detach(),
            rtol=1e-9,
            atol=1e-12,
            err_msg=name,
        )


def float32_errors(model: VQVAE, theirs: Any, exact: Any, x: Array) -> Errors:
    """Run step 1 in float32, by us and by PyTorch, and in float64; see `errors`.

    Of the loss, the reconstruction and each gradient.
    """
    output = model(Tensor(x.astype(np.float32)))
    output.loss.backward()
    ours = {
        "loss": output.loss.numpy(),
        "reconstruction": output.reconstruction.numpy().transpose(0, 3, 1, 2),
        **gradients(model),
    }

    def run(peer: Any, dtype: str) -> list[Array]:
        found = peer(to_nchw(x.astype(np.float32).astype(dtype)))
        found.loss.backward()
        np.testing.assert_array_equal(found.indices, output.indices)
        values = [found.loss.detach().numpy(), found.reconstruction.detach().numpy()]
        return [*values, *gradients_of(model, peer)]

    return errors(ours, run(theirs, "float32"), run(exact, "float64"))
