"""Images on their way into a model: the one place where they reach a GPU."""

import numpy as np
import numpy.typing as npt

from tinyvq.backends import Backend, move
from tinyvq.data import to_unit
from tinyvq.tensor import Tensor


def batch_on(backend: Backend, images: npt.NDArray[np.uint8]) -> Tensor:
    """Put images (N,H,W,C) on a backend, as models take them: floats -0.5 .. 0.5.

    Bytes cross over, a quarter of what their floats would be.
    """
    return Tensor.wrap(to_unit(move(images, backend)))
