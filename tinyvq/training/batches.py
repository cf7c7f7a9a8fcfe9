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
        self._ahead: tuple[int, Images] | None = None

    def prepare(self, step: int) -> None:
        """Select the images of a step to come, while a GPU is at work."""
        if self.backend != "cpu":
            self._ahead = step, self.choose(step)

    def __call__(self, step: int) -> Tensor:
        """Put a step's images there, as models take them: floats -0.5 .. 0.5."""
        prepared = self._ahead is not None and self._ahead[0] == step
        images = self._ahead[1] if self._ahead and prepared else self.choose(step)
        unit = to_unit(self._bytes.fill(images))
        if (
            self.backend == "cpu"
            or self._unit is None
            or unit.shape != self._unit.shape
        ):
            self._unit = Tensor.wrap(unit)
        else:
            with self._unit.mutate() as kept:
                kept[...] = unit
        return self._unit
