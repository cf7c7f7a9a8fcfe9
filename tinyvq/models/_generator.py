"""What makes images of noise, and nothing else."""

import numpy as np

from tinyvq.errors import ShapeError
from tinyvq.nn import Module
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor


class Generator(Module):
    """A model that makes an image of each row of noise (N, noise_dim).

    Subclasses define `generate`.
    """

    noise_dim: int

    def noise(self, count: int, stream: Stream) -> Tensor:
        """Draw noise (count, noise_dim), standard normal."""
        return Tensor.wrap(stream.normal((count, self.noise_dim), np.float32))

    def generate(self, noise: Tensor) -> Tensor:
        """Make images (N,H,W,C), values around [-0.5, 0.5], of noise (N, noise_dim)."""
        raise NotImplementedError(f"{type(self).__name__}.generate")

    def check_noise(self, noise: Tensor) -> None:
        """Raise ShapeError unless it is noise (N, noise_dim)."""
        if noise.ndim != 2 or noise.shape[1] != self.noise_dim:
            raise ShapeError(
                f"{type(self).__name__}: needs noise (N,{self.noise_dim}), "
                f"got {noise.shape}"
            )
