"""Losses of more than one op: adversarial ones, and what goes with them."""

from tinyvq.losses._adversarial import (
    LOSSES,
    AdversarialLoss,
    AdversarialName,
    adversarial_loss,
)
from tinyvq.losses._lecam import LeCAM
from tinyvq.losses._matching import feature_matching
from tinyvq.losses._perceptual import (
    FeatureNetwork,
    PerceptualLoss,
    perceptual_distance,
)
from tinyvq.losses._weighting import adaptive_weight

__all__ = [
    "LOSSES",
    "AdversarialLoss",
    "AdversarialName",
    "FeatureNetwork",
    "LeCAM",
    "PerceptualLoss",
    "adaptive_weight",
    "adversarial_loss",
    "feature_matching",
    "perceptual_distance",
]
