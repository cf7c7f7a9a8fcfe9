"""What each quantizer is, said once; see `tinyvq.testing.OpSpec`.

A quantizer has two results with gradients, what the decoder gets and the loss. They are
checked as one vector: all quantized values, then the loss.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _activations as act
from tinyvq.ops import _arithmetic as ari
from tinyvq.ops import _products as pro
from tinyvq.ops import _quantization as qua
from tinyvq.ops import _reductions as red
from tinyvq.ops import _shapes as sha
from tinyvq.quantizers._interface import QuantizerOutput
from tinyvq.quantizers._soft import SoftQuantizer
from tinyvq.quantizers._vector import VectorQuantizer
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.testing import Case, Draw, OpSpec


def _case(draw: Draw) -> Case:
    m, d = draw.integer(1, 9), draw.integer(1, 5)
    z = draw.array((*draw.shape(dims=(0, 3), sides=(1, 4)), d))
    return Case((z, draw.array((m, d))), {"commitment": draw.choice((0.25, 1.0, 0.0))})


def _as_vector(output: QuantizerOutput) -> Tensor:
    return ops.concatenate(
        [ops.reshape(output.quantized, -1), ops.reshape(output.loss, 1)]
    )


def _vector_quantizer(learn: Literal["ema", "gradient"]) -> Callable[..., Tensor]:
    def op(z: Tensor, codebook: Tensor, commitment: float) -> Tensor:
        m, d = codebook.shape
        quantizer = VectorQuantizer(
            m, d, learn=learn, commitment=commitment, rng=Stream(0)
        )
        # The tensor itself, so that its gradient can be asked for.
        quantizer.codebook = codebook  # type: ignore[assignment]
        return _as_vector(quantizer(z))

    return op


def _nearest(z: Array, codebook: Array) -> Array:
    """Indices by measuring every distance."""
    return ((z[..., None, :] - codebook) ** 2).sum(axis=-1).argmin(axis=-1)


def _reference(weight_of_codebook: float) -> Callable[..., Array]:
    def value(z: Array, codebook: Array, commitment: float) -> Array:
        codes = codebook[_nearest(z, codebook)]
        loss = (weight_of_codebook + commitment) * ((z - codes) ** 2).mean()
        return np.append(codes, loss)

    return value


def _surrogate(weight_of_codebook: float) -> Callable[..., Any]:
    """Indices frozen at the point; the codes straight through; each loss one side."""

    def at(z: Array, codebook: Array, commitment: float) -> Callable[..., Array]:
        indices = _nearest(z, codebook)
        codes = codebook[indices]

        def value(z_now: Array, codebook_now: Array) -> Array:
            codebook_loss = ((z - codebook_now[indices]) ** 2).mean()
            commitment_loss = ((z_now - codes) ** 2).mean()
            loss = weight_of_codebook * codebook_loss + commitment * commitment_loss
            return np.append(z_now + (codes - z), loss)

        return value

    return at


def _soft_quantizer(
    z: Tensor, codebook: Tensor, temperature: float, kl_weight: float
) -> Tensor:
    m, d = codebook.shape
    quantizer = SoftQuantizer(
        m, d, temperature=temperature, kl_weight=kl_weight, rng=Stream(0)
    )
    quantizer.codebook = codebook  # type: ignore[assignment]
    return _as_vector(quantizer(z))


def _soft_case(draw: Draw) -> Case:
    settings = {"temperature": draw.choice((1.0, 0.3, 5.0)), "kl_weight": 0.7}
    return Case(_case(draw).args, settings)


def _soft_reference(
    z: Array, codebook: Array, temperature: float, kl_weight: float
) -> Array:
    distances = ((z[..., None, :] - codebook) ** 2).sum(axis=-1)  # (..., M)
    near = distances - distances.min(axis=-1, keepdims=True)
    weights = np.exp(-near / temperature)
    weights /= weights.sum(axis=-1, keepdims=True)
    kl = (weights * np.log(weights * len(codebook))).sum(axis=-1).mean()
    return np.append(weights @ codebook, kl_weight * kl)


_FUNCTIONS = (
    qua.Embedding,
    qua.StraightThrough,
    qua.VQLoss,
    sha.Concatenate,
    sha.Reshape,
)

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        "VectorQuantizer(learn='ema')",
        _vector_quantizer("ema"),
        _case,
        _reference(0.0),
        _FUNCTIONS,
        constants=(1,),
        surrogate=_surrogate(0.0),
    ),
    OpSpec(
        "VectorQuantizer(learn='gradient')",
        _vector_quantizer("gradient"),
        _case,
        _reference(1.0),
        _FUNCTIONS,
        surrogate=_surrogate(1.0),
    ),
    OpSpec(
        "SoftQuantizer",
        _soft_quantizer,
        _soft_case,
        _soft_reference,
        (
            qua.UniformKL,
            qua.Embedding,
            act.Softmax,
            pro.MatMul,
            ari.Sub,
            ari.Div,
            ari.Mul,
            red.Sum,
            sha.Concatenate,
            sha.Reshape,
            sha.Transpose,
        ),
    ),
)
