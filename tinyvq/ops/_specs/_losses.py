"""What losses, and the ops that pass a codebook, are."""

from collections.abc import Callable

import numpy as np

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.ops import _losses as los
from tinyvq.ops import _quantization as qua
from tinyvq.ops._specs._values import logits
from tinyvq.testing import Case, Draw, OpSpec


def _away_pair(draw: Draw) -> Case:
    """Two operands of one shape, nowhere nearer than a gap."""
    x = draw.array(draw.shape(sides=(1, 5)))
    return Case((x, x - draw.array(x.shape, away_from=0.0)))


def _same_shape_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(sides=(1, 5)))
    return Case((x, draw.array(x.shape)))


def _huber_case(draw: Draw) -> Case:
    x = draw.array(draw.shape(sides=(1, 5)))
    delta = draw.choice((1.0, 0.5))
    r = draw.array(x.shape, away_from=(-delta, delta))
    return Case((x, x - r), {"delta": delta})


def _huber_reference(x: Array, y: Array, delta: float) -> Array:
    r = np.abs(x - y)
    return np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)).mean()


LOSSES = (
    OpSpec(
        "mse_loss",
        ops.mse_loss,
        _same_shape_case,
        lambda x, y: ((x - y) ** 2).mean(),
        (los.MSELoss,),
    ),
    OpSpec(
        "l1_loss",
        ops.l1_loss,
        _away_pair,
        lambda x, y: np.abs(x - y).mean(),
        (los.L1Loss,),
    ),
    OpSpec(
        "huber_loss", ops.huber_loss, _huber_case, _huber_reference, (los.HuberLoss,)
    ),
)


def _embedding_case(draw: Draw) -> Case:
    m, d = draw.integer(1, 9), draw.integer(0, 5)
    return Case((draw.array((m, d)), draw.indices(m, draw.shape(dims=(0, 3)))))


def _uniform_kl_reference(logits: Array) -> Array:
    # Σ p log (p M) cancels where all p are nearly 1/M: more digits make up for it.
    p = np.exp(logits.astype(np.longdouble))
    p /= p.sum(axis=-1, keepdims=True)
    return (p * np.log(p * logits.shape[-1])).sum(axis=-1).mean()


def _frozen_vq_loss(
    z: Array, codes: Array, codebook_weight: float, commitment_weight: float
) -> Callable[..., Array]:
    """The loss with each term's stopped side held where it was."""

    def loss(z_now: Array, codes_now: Array) -> Array:
        codebook = ((z - codes_now) ** 2).mean()
        commitment = ((z_now - codes) ** 2).mean()
        return codebook_weight * codebook + commitment_weight * commitment

    return loss


def rotated(z: Array, codes: Array) -> Callable[[Array], Array]:
    """The map that the rotation trick takes for the lookup, made from a point.

    In the plane of the directions ẑ and ê, with A = ê ẑᵀ - ẑ êᵀ,
    R = I + A + A² / (1 + ẑ·ê). Where there is no plane, the map adds codes - z.
    """

    def of_vector(z: Array, e: Array) -> Callable[[Array], Array]:
        lengths = np.sqrt((z**2).sum()), np.sqrt((e**2).sum())
        if min(lengths) == 0:
            return lambda now: now + (e - z)
        a, b = z / lengths[0], e / lengths[1]
        turn = np.outer(b, a) - np.outer(a, b)
        double = np.square(a + b).sum()  # 2 (1 + ẑ·ê)
        if double < 1e-15:
            return lambda now: now + (e - z)
        matrix = np.eye(len(z)) + turn + 2 * turn @ turn / double
        return lambda now: lengths[1] / lengths[0] * (matrix * now).sum(axis=1)

    maps = [of_vector(z[at], codes[at]) for at in np.ndindex(z.shape[:-1])]

    def apply(now: Array) -> Array:
        y = np.empty_like(now)
        for at, each in zip(np.ndindex(now.shape[:-1]), maps, strict=True):
            y[at] = each(now[at])
        return y

    return apply


def _rotation_surrogate(z: Array, codes: Array) -> Callable[..., Array]:
    frozen = rotated(z, codes)
    return lambda z_now, codes_now: frozen(z_now)


def _rotation_case(draw: Draw) -> Case:
    """Draw directions far from opposite, where R is all rounding; or of width 1."""
    z = draw.array(draw.shape(dims=(1, 3), sides=(0, 5)))
    codes = draw.array(z.shape)
    if z.shape[-1] > 1:
        dot, zz, ee = (
            (a * b).sum(axis=-1, keepdims=True)
            for a, b in ((z, codes), (z, z), (codes, codes))
        )
        codes = np.where(dot < -0.99 * np.sqrt(zz * ee), -codes, codes)
    return Case((z, codes))


QUANTIZATION = (
    OpSpec(
        "embedding",
        ops.embedding,
        _embedding_case,
        lambda table, indices: np.eye(len(table))[indices] @ table,
        (qua.Embedding,),
        linear_in=((0,),),
        constants=(1,),
    ),
    OpSpec(
        "straight_through",
        ops.straight_through,
        _same_shape_case,
        lambda z, codes: codes + 0.0,
        (qua.StraightThrough,),
        constants=(1,),
        # y = z + sg(codes - z): the value of codes, the derivative of z.
        surrogate=lambda z, codes: lambda z_now, codes_now: z_now + (codes - z),
    ),
    OpSpec(
        "rotation_trick",
        ops.rotation_trick,
        _rotation_case,
        lambda z, codes: codes + 0.0,
        (qua.RotationTrick,),
        constants=(1,),
        surrogate=_rotation_surrogate,
    ),
    OpSpec(
        "vq_loss",
        ops.vq_loss,
        lambda draw: Case(
            _same_shape_case(draw).args,
            {
                "codebook_weight": draw.choice((1.0, 0.0, 0.5)),
                "commitment_weight": draw.choice((0.25, 0.0, 2.0)),
            },
        ),
        lambda z, e, codebook_weight, commitment_weight: (
            (codebook_weight + commitment_weight) * ((z - e) ** 2).mean()
        ),
        (qua.VQLoss,),
        surrogate=_frozen_vq_loss,
    ),
    OpSpec(
        "uniform_kl",
        ops.uniform_kl,
        lambda draw: Case((logits(draw, draw.shape(dims=(1, 3), sides=(1, 5))),)),
        _uniform_kl_reference,
        (qua.UniformKL,),
    ),
)
