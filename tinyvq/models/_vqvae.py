"""VQVAE: encoder, quantizer, decoder."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq import ops
from tinyvq.backends import on_host
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.function import Array
from tinyvq.nn import Layer, Module
from tinyvq.quantizers import Quantizer, QuantizerOutput, QuantizerStats
from tinyvq.tensor import Tensor, no_grad


@dataclass(frozen=True)
class VQVAEOutput:
    """The result of a VQVAE's forward.

    reconstruction        (N,H,W,C)
    loss                  reconstruction term + the quantizer's loss
    quantizer_loss        the latter alone
    mse                   mean squared error over all pixel values
    indices               (N,P,Q) int64, where the model lives
    stats                 for `model.quantizer.update`, and for the log
    """

    reconstruction: Tensor
    loss: Tensor
    quantizer_loss: Tensor
    mse: Tensor
    indices: Array
    stats: QuantizerStats

    @property
    def reconstruction_mse(self) -> float:
        """The mean squared error as a number; waits for a GPU."""
        return self.mse.item()


class VQVAE(Module):
    """Images to a grid of codes and back (van den Oord et al., arXiv:1711.00937).

    encoder         (N,H,W,C) -> (N,P,Q,D), any module
    quantizer       (N,P,Q,D) -> codes
    decoder         (N,P,Q,D) -> (N,H,W,C), any module
    pixel_variance  of the training pixels; the reconstruction term is the mean squared
                    error over it, so that the same weights suit any data
    divides_by      what heights and widths must divide by: 4 for two halvings

    The loss is mse(x, reconstruction) / pixel_variance + the quantizer's loss.
    """

    def __init__(
        self,
        encoder: Layer,
        quantizer: Quantizer,
        decoder: Layer,
        *,
        pixel_variance: float = 1.0,
        divides_by: int = 1,
    ) -> None:
        if not 0 < pixel_variance < math.inf:
            raise ConfigError(f"pixel_variance must be above 0, got {pixel_variance}")
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.pixel_variance = pixel_variance
        self.divides_by = divides_by

    @classmethod
    def preset(cls, name: str, **settings: Any) -> "VQVAE":
        """Build one of the usual networks; their names are `tinyvq.models.PRESETS`."""
        from tinyvq.models._presets import build  # the presets build VQVAEs

        return build(name, **settings)

    def __call__(self, x: Tensor) -> VQVAEOutput:
        """Encode, quantize, decode images x (N,H,W,C); values around [-0.5, 0.5]."""
        quantized = self._quantize(x)
        reconstruction = self.decoder(quantized.quantized)
        if reconstruction.shape != x.shape:
            raise ShapeError(
                f"the decoder makes {reconstruction.shape} of images {x.shape}; "
                "their size must suit the network's strides"
            )
        mse = ops.mse_loss(reconstruction, x)
        return VQVAEOutput(
            reconstruction=reconstruction,
            loss=mse / self.pixel_variance + quantized.loss,
            quantizer_loss=quantized.loss,
            mse=mse,
            indices=quantized.indices,
            stats=quantized.stats,
        )

    def fingerprint(self) -> str:
        """Name this very model: a hash of all its parameters and buffers.

        Indices mean something only to the model that made them.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name, array in self.state_dict().items():
            digest.update(f"{name} {array.dtype} {array.shape} ".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def encode(self, x: Tensor) -> npt.NDArray[np.int64]:
        """Return the code indices (N,P,Q) of images (N,H,W,C), as a NumPy array."""
        with no_grad():
            return on_host(self._quantize(x).indices)

    def _quantize(self, x: Tensor) -> QuantizerOutput:
        by = self.divides_by
        if by > 1 and (x.ndim != 4 or x.shape[1] % by or x.shape[2] % by):
            raise ShapeError(
                f"VQVAE: needs images (N,H,W,C), H and W multiples of {by}, "
                f"got {x.shape}"
            )
        return self.quantizer(self.encoder(x))

    def decode(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images (N,H,W,C) of code indices (N,P,Q), where the codes live."""
        with no_grad():
            return self.decoder(self.quantizer.lookup(indices))
