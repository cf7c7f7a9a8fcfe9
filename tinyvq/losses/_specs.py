"""What each loss is; `tinyvq gradcheck` and the tests derive every check from these.

An adversarial loss gives both its sides as a vector, so that one spec covers the two.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyvq import ops
from tinyvq.function import Array, Function
from tinyvq.losses._adversarial import AdversarialName, adversarial_loss
from tinyvq.losses._lecam import LeCAM
from tinyvq.losses._matching import feature_matching
from tinyvq.losses._perceptual_spec import PERCEPTUAL_LOSS
from tinyvq.ops import _activations as act
from tinyvq.ops import _arithmetic as ari
from tinyvq.ops import _likelihoods as lik
from tinyvq.ops import _losses as los
from tinyvq.ops import _reductions as red
from tinyvq.ops import _shapes as sha
from tinyvq.tensor import Tensor
from tinyvq.testing import Case, Draw, OpSpec


def _both_sides(name: AdversarialName) -> Callable[..., Tensor]:
    def op(real: Tensor, fake: Tensor) -> Tensor:
        loss = adversarial_loss(name)
        sides = (loss.discriminator(real, fake), loss.generator(fake))
        return ops.concatenate([ops.reshape(side, 1) for side in sides])

    return op


def _logits(draw: Draw, kinks: tuple[float, float] | None = None) -> Case:
    """Logits of real and of made images, not always as many; each away from a kink."""
    return Case(
        tuple(
            draw.array(
                draw.shape(sides=(1, 5)), away_from=() if kinks is None else kinks[side]
            )
            for side in (0, 1)
        )
    )


def _hinge(real: Array, fake: Array) -> Array:
    wrong = np.maximum(0, 1 - real).mean(), np.maximum(0, 1 + fake).mean()
    return np.array([sum(wrong) / 2, -fake.mean()])


def _negative_log_logistic(x: Array) -> Array:
    """-log σ(x)."""
    return np.logaddexp(0, -x)


def _likelihood(half: float) -> Callable[..., Array]:
    def value(real: Array, fake: Array) -> Array:
        right = _negative_log_logistic(real).mean()
        caught = _negative_log_logistic(-fake).mean()
        passed = _negative_log_logistic(fake).mean()
        return np.array([half * (right + caught), passed])

    return value


def _least_squares(real: Array, fake: Array) -> Array:
    wrong = ((real - 1) ** 2).mean() + (fake**2).mean()
    return np.array([wrong / 2, ((fake - 1) ** 2).mean() / 2])


def _adversarial(
    name: AdversarialName,
    reference: Callable[..., Array],
    functions: tuple[type[Function], ...],
    draw: Callable[[Draw], Case] = _logits,
) -> OpSpec:
    return OpSpec(
        f"adversarial_loss('{name}')",
        _both_sides(name),
        draw,
        reference,
        (*functions, ari.Add, sha.Concatenate, sha.Reshape),
    )


def _lecam(real: Tensor, fake: Tensor, means: list[tuple[float, float]]) -> Tensor:
    """Compute LeCAM after updates by logits of these means."""
    lecam = LeCAM(decay=0.5)
    for pair in means:
        lecam.update(*(Tensor(np.array([mean])) for mean in pair))
    return lecam.to(real.backend)(real, fake)


def _lecam_case(draw: Draw) -> Case:
    means = draw.choice(([(1.5, -0.5)], [], [(0.25, 0.75)], [(2.0, -1.0), (0.5, 0.5)]))
    real, fake = _running(means)
    return Case(_logits(draw, (fake, real)).args, {"means": means})


def _running(means: list[tuple[float, float]]) -> Array:
    """Average pairs; each weighs twice what the one before it does (decay 0.5)."""
    if not means:
        return np.zeros(2)
    return np.average(means, axis=0, weights=2.0 ** np.arange(len(means)))


def _lecam_reference(
    real: Array, fake: Array, means: list[tuple[float, float]]
) -> Array:
    if not means:
        return np.zeros(())
    mean_real, mean_fake = _running(means)
    above = np.maximum(0, real - mean_fake) ** 2
    below = np.maximum(0, mean_real - fake) ** 2
    return above.mean() + below.mean()


def _matching_case(draw: Draw) -> Case:
    """Two layers of features of one batch, nowhere nearer than a gap."""
    real = [draw.array(draw.shape(sides=(1, 5))) for _ in range(2)]
    made = [x + draw.array(x.shape, away_from=0.0) for x in real]
    return Case((*real, *made))


def _matching_reference(*features: Array) -> Array:
    layers = zip(features[:2], features[2:], strict=True)
    return np.mean([np.abs(real - made).mean() for real, made in layers])


def _feature_matching(*features: Any) -> Tensor:
    return feature_matching(features[:2], features[2:])


SPECS: tuple[OpSpec, ...] = (
    _adversarial(
        "hinge",
        _hinge,
        (act.ReLU, ari.Sub, ari.Div, ari.Neg, red.Mean),
        lambda draw: _logits(draw, (1.0, -1.0)),
    ),
    _adversarial(
        "non_saturating",
        _likelihood(0.5),
        (act.Softplus, ari.Div, ari.Neg, red.Mean),
    ),
    _adversarial("bce", _likelihood(1.0), (lik.BCEWithLogits,)),
    _adversarial(
        "least_squares",
        _least_squares,
        (ari.Sub, ari.Pow, ari.Div, red.Mean),
    ),
    OpSpec(
        "LeCAM",
        _lecam,
        _lecam_case,
        _lecam_reference,
        (act.ReLU, ari.Add, ari.Sub, ari.Mul, red.Mean),
    ),
    OpSpec(
        "feature_matching",
        _feature_matching,
        _matching_case,
        _matching_reference,
        (los.L1Loss, ari.Add, ari.Div),
        constants=(0, 1),
    ),
    PERCEPTUAL_LOSS,
)
