"""Networks that images are judged by, by name; and which may judge what."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tinyvq.errors import ConfigError, ShapeError
from tinyvq.models._efficientnet import EfficientNet
from tinyvq.models._random_convolutions import RandomConvolutions
from tinyvq.models._squeezenet import SqueezeNet

IMAGES_AT_ONCE = 8  # so that a layer's values stay near a core
JUDGED_AT = 128  # pixels of the shorter side, for pretrained networks


class Judge(Protocol):
    """A network that gives each image one vector of features."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def num_features(self) -> int:
        """The length F of the vectors."""
        ...

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Map images (N,H,W,1|3) to features (N,F)."""
        ...


JUDGES: dict[str, Callable[[], Judge]] = {
    SqueezeNet.name: lambda: SqueezeNet.pretrained(shorter_side=JUDGED_AT),
    EfficientNet.name: lambda: EfficientNet.pretrained(shorter_side=JUDGED_AT),
    RandomConvolutions.name: RandomConvolutions,
}


@cache
def judge(name: str) -> Judge:
    """Load a judge: "squeezenet1.1", "efficientnet-lite0" or "random-conv".

    The first two need weights that are installed apart; DataError says how. The last
    needs nothing and is weak.
    """
    if name not in JUDGES:
        raise ConfigError(f"there is no judge {name}; there is: {', '.join(JUDGES)}")
    return JUDGES[name]()


def features(judge_name: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Describe each image by a judge's last features, averaged over the image.

    images  (N,H,W,1|3) uint8; grey ones are repeated three times, and for pretrained
            networks those whose shorter side is under 128 are enlarged to it
    ->      (N,F) float32

    Each image's features depend on it alone, so a split may come in any batches. A
    Fréchet distance over these is one "over squeezenet1.1", say; it is no FID, which
    is made of another network's. On one core, an image of 28×28 takes about 0.3 ms
    for random-conv, 4 for squeezenet1.1, 11 for efficientnet-lite0.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ShapeError(f"features: needs images (N,H,W,1|3), got {images.shape}")
    loaded = judge(judge_name)
    out = np.empty((len(images), loaded.num_features), np.float32)
    for start in range(0, len(images), IMAGES_AT_ONCE):
        stop = start + IMAGES_AT_ONCE
        out[start:stop] = loaded.features(images[start:stop])
    return out


def check_judge(judge_name: str, trained_on: Iterable[str]) -> None:
    """Raise ConfigError where a network would judge what was trained to please it.

    trained_on  names of the networks that the model's losses are made of

    A loss over a network's features teaches a model that network's blind spots as well.
    """
    if judge_name not in JUDGES:
        raise ConfigError(
            f"there is no judge {judge_name}; there is: {', '.join(JUDGES)}"
        )
    others = set(trained_on)
    if judge_name in others:
        free = [name for name in JUDGES if name not in others]
        raise ConfigError(
            f"{judge_name} cannot judge this model, for a loss over its features "
            f"trained it; there is: {', '.join(free) or 'no other'}"
        )
