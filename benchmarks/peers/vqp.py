"""The quantizer of vector-quantize-pytorch, in the shape that TorchVQVAE takes."""

from typing import Any

import torch
from torch import nn
from vector_quantize_pytorch import VectorQuantize


class VQPQuantizer(nn.Module):
    """lucidrains' VectorQuantize with k-means start and restart of dead codes.

    rotation_trick  gradients by arXiv:2410.06424 instead of straight-through
    """

    def __init__(
        self, num_codes: int, code_dim: int, *, rotation_trick: bool, commitment: float
    ) -> None:
        super().__init__()
        self.inner = VectorQuantize(
            dim=code_dim,
            codebook_size=num_codes,
            decay=0.8,  # its default
            kmeans_init=True,
            kmeans_iters=10,
            threshold_ema_dead_code=2,  # as its documentation shows
            commitment_weight=commitment,
            rotation_trick=rotation_trick,
        )

    def forward(
        self, z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n, p, q, d = z.shape
        quantized, indices, loss = self.inner(z.reshape(n, p * q, d))
        return quantized.reshape(z.shape), indices.reshape(n, p, q), loss.sum()

    def update(self, optimizer: Any = None) -> None:
        """Nothing to do: it moves its codebook in its forward."""

    @classmethod
    def started(cls, ours: Any) -> "VQPQuantizer":
        """Take over the codebook of a tinyvq VectorQuantizer and its running means."""
        theirs = cls(
            ours.num_codes,
            ours.code_dim,
            rotation_trick=False,
            commitment=ours.commitment,
        )
        book = theirs.inner._codebook  # its arrays have an axis of heads in front
        for name, array in (
            ("embed", ours.codebook),
            ("embed_avg", ours.embed_sum),
            ("cluster_size", ours.cluster_size),
        ):
            getattr(book, name).data.copy_(torch.tensor(array.numpy())[None])
        book.initted.data.copy_(torch.ones(()))
        return theirs
