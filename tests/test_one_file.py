"""The VQ-VAE in one file: its gradients are tinyvq's, and it learns."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyvq import Tensor, ops
from tinyvq.rng import Stream

FILE = Path(__file__).parent.parent / "docs" / "vqvae_in_one_file.py"


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    """Run the file; its names."""
    return runpy.run_path(str(FILE), run_name="one_file")


def test_gradients_are_those_of_tinyvq(one: dict[str, Any]) -> None:
    pixels, variance = 12, 0.3
    p = one["initial"](pixels, np.random.default_rng(0))
    p["codes"] *= 3  # where several are chosen
    x = Stream(0, "images").normal((5, pixels))
    loss, gradients, chosen = one["gradients"](p, x, variance)
    assert len(np.unique(chosen)) > 5

    t = {name: Tensor(value, requires_grad=True) for name, value in p.items()}
    h = ops.relu(ops.linear(Tensor(x), t["w1"], t["b1"]))
    z = ops.linear(h, t["w2"], t["b2"]).reshape(5, one["POSITIONS"], one["WIDTH"])
    codes = ops.embedding(t["codes"], Tensor(chosen))
    q = ops.straight_through(z, codes).reshape(5, -1)
    made = ops.linear(ops.relu(ops.linear(q, t["w3"], t["b3"])), t["w4"], t["b4"])
    expected = ops.mse_loss(made, x) / variance + ops.vq_loss(
        z, codes, codebook_weight=1.0, commitment_weight=one["BETA"]
    )
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert gradients.keys() == p.keys()
    for name, gradient in gradients.items():
        found = t[name].grad
        assert found is not None
        np.testing.assert_allclose(gradient, found.numpy(), rtol=1e-9, atol=1e-12)


def test_it_learns(one: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    one["main"](250)
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("unseen images: nmse 0.2")
    assert " of 128 codes" in last
