"""Feature matching: made images should look like real ones inside the discriminator."""

from collections.abc import Sequence

from tinyvq import ops
from tinyvq.errors import ShapeError
from tinyvq.tensor import Tensor


def feature_matching(
    real_features: Sequence[Tensor], made_features: Sequence[Tensor]
) -> Tensor:
    """Mean over layers of the mean absolute difference of their activations.

    real_features, made_features   as `Discriminator.judge` gives them, layer by layer

    The real side is a constant: gradients flow to the made one alone. ShapeError where
    the two do not fit. Image by image, as in Wang et al., arXiv:1711.11585, eq. 4; the
    idea, on means of batches, is Salimans et al.'s, arXiv:1606.03498.
    """
    if len(real_features) != len(made_features) or not made_features:
        raise ShapeError(
            "feature_matching: needs as many layers of real features as of made ones, "
            f"and some, got {len(real_features)} and {len(made_features)}"
        )
    terms = [
        ops.l1_loss(made, real.detach())
        for real, made in zip(real_features, made_features, strict=True)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total / float(len(terms))
