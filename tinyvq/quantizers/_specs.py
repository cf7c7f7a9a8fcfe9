"""What each quantizer is, said once; see `tinyvq.testing.OpSpec`.

A quantizer has two results with gradients, what the decoder gets and the loss. They are
checked as one vector: all quantized values, then the loss.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from tinyvq import ops
from tinyvq.function import Array, Function
from tinyvq.ops import _activations as act
from tinyvq.ops import _arithmetic as ari
from tinyvq.ops import _normalization as nor
from tinyvq.ops import _products as pro
from tinyvq.ops import _quantization as qua
from tinyvq.ops import _reductions as red
from tinyvq.ops import _shapes as sha
from tinyvq.ops._specs._losses import rotated
from tinyvq.quantizers._interface import QuantizerOutput
from tinyvq.quantizers._soft import SoftQuantizer
from tinyvq.quantizers._vector import Estimator, VectorQuantizer
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.testing import Case, Draw, OpSpec


def _case(draw: Draw, least_width: int = 1) -> Case:
    m, d = draw.integer(1, 9), draw.integer(least_width, 5)
    z = draw.array((*draw.shape(dims=(0, 3), sides=(1, 4)), d))
    return Case((z, draw.array((m, d))), {"commitment": draw.choice((0.25, 1.0, 0.0))})


def _as_vector(output: QuantizerOutput) -> Tensor:
    return ops.concatenate(
        [ops.reshape(output.quantized, -1), ops.reshape(output.loss, 1)]
    )


def _vector_quantizer(**options: Any) -> Callable[..., Tensor]:
    def op(z: Tensor, codebook: Tensor, commitment: float) -> Tensor:
        m, d = codebook.shape
        quantizer = VectorQuantizer(
            m, d, commitment=commitment, rng=Stream(0), **options
        )
        # The tensor itself, so that its gradient can be asked for.
        quantizer.codebook = codebook  # type: ignore[assignment]
        return _as_vector(quantizer(z))

    return op


def _nearest(z: Array, codebook: Array) -> Array:
    """Indices by measuring every distance."""
    return ((z[..., None, :] - codebook) ** 2).sum(axis=-1).argmin(axis=-1)


def _unit(x: Array) -> Array:
    return x / np.sqrt((x**2).sum(axis=-1, keepdims=True) + 1e-12)


def _reference(weight_of_codebook: float, normalize: bool) -> Callable[..., Array]:
    placed = _unit if normalize else np.array

    def value(z: Array, codebook: Array, commitment: float) -> Array:
        z, codebook = placed(z), placed(codebook)
        codes = codebook[_nearest(z, codebook)]
        loss = (weight_of_codebook + commitment) * ((z - codes) ** 2).mean()
        return np.append(codes, loss)

    return value


def _surrogate(
    weight_of_codebook: float, normalize: bool, estimator: Estimator
) -> Callable[..., Any]:
    """Indices and the way past the lookup frozen at the point; each loss one side."""
    placed = _unit if normalize else np.array

    def at(z: Array, codebook: Array, commitment: float) -> Callable[..., Array]:
        z, codebook = placed(z), placed(codebook)
        indices = _nearest(z, codebook)
        codes = codebook[indices]
        turned = rotated(z, codes)

        def value(z_now: Array, codebook_now: Array) -> Array:
            z_now, codebook_now = placed(z_now), placed(codebook_now)
            rotation = estimator == "rotation"
            quantized = turned(z_now) if rotation else z_now + (codes - z)
            codebook_loss = ((z - codebook_now[indices]) ** 2).mean()
            commitment_loss = ((z_now - codes) ** 2).mean()
            loss = weight_of_codebook * codebook_loss + commitment * commitment_loss
            return np.append(quantized, loss)

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


_PAST_THE_LOOKUP: dict[Estimator, type[Function]] = {
    "straight_through": qua.StraightThrough,
    "rotation": qua.RotationTrick,
}


def _vector_spec(
    learn: Literal["ema", "gradient"],
    normalize: bool = False,
    estimator: Estimator = "straight_through",
) -> OpSpec:
    options: dict[str, object] = {"normalize": normalize} if normalize else {}
    options |= {"estimator": estimator} if estimator != "straight_through" else {}
    said = "".join(f", {name}={value!r}" for name, value in options.items())
    weight = 1.0 if learn == "gradient" else 0.0
    return OpSpec(
        f"VectorQuantizer(learn={learn!r}{said})",
        _vector_quantizer(learn=learn, normalize=normalize, estimator=estimator),
        # Of width 1, all codes of length 1 would be -1 or 1: none is the nearest.
        partial(_case, least_width=2 if normalize else 1),
        _reference(weight, normalize),
        (
            qua.Embedding,
            _PAST_THE_LOOKUP[estimator],
            qua.VQLoss,
            sha.Concatenate,
            sha.Reshape,
            *((nor.L2Normalize,) if normalize else ()),
        ),
        constants=(1,) if learn == "ema" else (),
        surrogate=_surrogate(weight, normalize, estimator),
    )


SPECS: tuple[OpSpec, ...] = (
    _vector_spec("ema"),
    _vector_spec("gradient"),
    _vector_spec("ema", normalize=True),
    _vector_spec("gradient", normalize=True),
    _vector_spec("ema", estimator="rotation"),
    _vector_spec("gradient", estimator="rotation"),
    _vector_spec("ema", normalize=True, estimator="rotation"),
    _vector_spec("gradient", normalize=True, estimator="rotation"),
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
            red.Max,
            red.Mean,
            red.Sum,
            sha.Concatenate,
            sha.Reshape,
            sha.Transpose,
        ),
    ),
)
