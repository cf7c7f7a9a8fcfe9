"""Images on their way into a model: the one place where they reach a GPU."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tinyvq.backends import Backend, Place, move
from tinyvq.data import to_unit
from tinyvq.tensor import Tensor

Images = npt.NDArray[np.uint8]


def batch_on(backend: Backend, images: Images) -> Tensor:
    """Put images (N,H,W,C) on a backend, as models take them: floats -0.5 .. 0.5.

    Bytes cross over, a quarter of what their floats would be.
    """
    return Tensor.wrap(to_unit(move(images, backend)))


class Feed:
    """Puts the images of each step on a backend: on a GPU, into one and the same array.

    A captured step reads them there.

    choose  selects the images (N,H,W,C) of a step, as bytes
    """

    def __init__(self, choose: Callable[[int], Images], backend: Backend) -> None:
        self.choose = choose
        self.backend = backend
        self._bytes = Place(backend)
        self._unit: Tensor | None = None
        self._step = 0  # the last one
        self._ahead: Images | None = None  # of the next one

    def prepare(self) -> None:
        """Select the images of the next step, while a GPU is at work."""
        if self.backend != "cpu":
            self._ahead = self.choose(self._step + 1)

    def __call__(self, step: int) -> Tensor:
        """Put a step's images there, as models take them: floats -0.5 .. 0.5."""
        ahead = self._ahead if step == self._step + 1 else None
        images = self.choose(step) if ahead is None else ahead
        self._step, self._ahead = step, None
        unit = to_unit(self._bytes.fill(images))
        stays = self._unit is not None and self._unit.shape == unit.shape
        if self.backend == "cpu" or self._unit is None or not stays:
            self._unit = Tensor.wrap(unit)
        else:
            with self._unit.mutate() as kept:
                kept[...] = unit
        return self._unit
