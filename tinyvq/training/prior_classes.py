"""What a prior that knows classes makes of codes whose class it is not told."""

import numpy as np
import numpy.typing as npt

from tinyvq import ops
from tinyvq.models import Prior, filtered_probabilities
from tinyvq.models._sampling import draw
from tinyvq.nn import evaluating
from tinyvq.rng import Stream
from tinyvq.tensor import no_grad
from tinyvq.training.evaluation import BATCH

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def nats_by_class(prior: Prior, codes: Codes, first: int | None = None) -> Floats:
    """-log p(the first codes of each image | class) in nats, for each class.

    codes   (N,P,Q)
    first   how many, in raster order; all by default
    ->      (N,K) float64
    """
    flat = codes.reshape(len(codes), -1)[:, :first]  # (N,t)
    nats = np.zeros((len(codes), prior.num_classes))
    t = flat.shape[1]
    with evaluating(prior), no_grad():
        for start in range(0, len(codes) if t else 0, BATCH):
            part = slice(start, start + BATCH)
            chosen = flat[part, :, None]  # (n,t,1)
            for label in range(prior.num_classes):
                logits = prior(codes[part], np.full(len(chosen), label))
                logs = ops.log_softmax(logits).numpy()[:, :t]  # (n,t,M)
                found = np.take_along_axis(logs, chosen, axis=2)
                nats[part, label] = -found.sum(axis=(1, 2), dtype=np.float64)
    return nats


def drawn_classes(
    prior: Prior, codes: Codes, first: int, seed: int, temperature: float
) -> Codes:
    """Draw a class (N,) for each grid of codes (N,P,Q) of which the first are known.

    By Bayes' rule, from p(class | what is known), all classes being as likely before.
    So what is then drawn to complete it is from p(the rest | what is known), whatever
    the class. Temperatures as of `filtered_probabilities`. The seed, an image's place
    and its codes fix its class.
    """
    some, back = np.unique(codes, axis=0, return_inverse=True)
    nats = nats_by_class(prior, some, first)  # (n,K)
    likely = filtered_probabilities(-nats, temperature)[back.reshape(-1)]
    unit = [Stream(seed, "class", i).uniform(1) for i in range(len(codes))]
    return draw(likely, np.concatenate(unit))
