"""LeCAM: draws verdicts on real images to the mean of those on made ones, and back.

    R = mean (max(0, r - ā_f))² + mean (max(0, ā_r - f))²

with ā_r and ā_f the running means of the logits of real and of made images: a real
image's logit is not to be far above the mean of made ones, nor a made one's far below
that of real ones. It holds back a discriminator that trains on few images and would
learn them by heart.
Source: Tseng et al., "Regularizing generative adversarial networks under limited data",
arXiv:2104.03310, in the form of its authors' code, with max.
"""

import numpy as np

from tinyvq import ops
from tinyvq.backends import beside
from tinyvq.errors import ConfigError
from tinyvq.losses._logits import check_logits
from tinyvq.nn import Buffer, Module
from tinyvq.tensor import Tensor

FAR = 1e30


class LeCAM(Module):
    """The regulariser and its running means, which go into the checkpoint.

    decay   of the running means, from 0 (the last batch alone) to below 1

    The means are zero-debiased: of n batches seen, they are weighted means of these n,
    with nothing of the zeros that they started from. Before the first there are no
    means, and the regulariser is 0.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"LeCAM: needs decay in [0, 1), got {decay}")
        self.decay = decay
        self.sums = Buffer(np.zeros(2))  # of real and made logits, float64
        self.weight = Buffer(np.zeros(()))  # what the weights add up to so far

    def __call__(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the regulariser of a batch's logits; the means stay as they are."""
        check_logits("LeCAM", real, fake)
        weight, sums = self.weight.array, self.sums.array
        started = weight > 0
        means = sums / np.where(started, weight, 1.0)
        # Before the first batch the means are where no logit is beyond them.
        mean_real = np.where(started, means[0], -FAR).astype(real.dtype)
        mean_fake = np.where(started, means[1], FAR).astype(real.dtype)
        above = ops.relu(ops.sub(real, Tensor.wrap(mean_fake)))
        below = ops.relu(ops.sub(Tensor.wrap(mean_real), fake))
        return (above * above).mean() + (below * below).mean()

    def update(self, real: Tensor, fake: Tensor) -> None:
        """Take logits into the running means, once the discriminator has stepped."""
        check_logits("LeCAM.update", real, fake)
        keep, take = self.decay, 1 - self.decay
        batch = np.stack([x.array.mean(dtype=np.float64) for x in (real, fake)])
        with self.sums.mutate() as sums, self.weight.mutate() as weight:
            batch = beside(batch, sums)
            sums[...] = keep * sums + take * batch
            weight[...] = keep * weight + take
