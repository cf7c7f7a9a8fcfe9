"""SoftQuantizer: a mixture of all codes, weighted by how near they are."""

import math
from collections.abc import Sequence

import numpy as np
from tinyvq_kernels import nearest_code

from tinyvq import ops
from tinyvq.backends import module_of
from tinyvq.errors import ConfigError
from tinyvq.function import Array
from tinyvq.nn import Buffer, Module, Parameter
from tinyvq.quantizers._interface import (
    CodebookUpdate,
    QuantizerOutput,
    QuantizerStats,
    check_stats,
    check_vectors,
)
from tinyvq.quantizers._kmeans import kmeans
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor


class SoftQuantizer(Module):
    """Weigh the codes by softmax(-|z - e|² / temperature); no gradient is made up.

    In training the decoder gets the weighted codes, and the loss has
    kl_weight · KL(weights ‖ uniform): a posterior over codes and its uniform prior, as
    in a VAE. In evaluation it gets the nearest code, as a hard quantizer's would, so
    that what is measured is what indices alone can carry; the lower the temperature at
    the end of training, the smaller the gap between the two.

    num_codes, code_dim   M and D
    temperature    > 0: towards 0 the weights harden; may be changed between steps
    kl_weight      >= 0, of the divergence, in nats per position
    kmeans_start   place the codebook by k-means over the first batch

    Cost: an (N, M) array, which soft weights are.
    Source: Agustsson et al., "Soft-to-hard vector quantization", arXiv:1704.00648.
    """

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        *,
        temperature: float = 1.0,
        kl_weight: float = 0.0,
        kmeans_start: bool = True,
        rng: Stream | None = None,
    ) -> None:
        if num_codes < 1 or code_dim < 1:
            raise ConfigError(
                "a codebook needs at least one code and width, "
                f"got {num_codes}×{code_dim}"
            )
        self.num_codes, self.code_dim = num_codes, code_dim
        self.temperature = temperature
        self.kl_weight = kl_weight
        self._check_settings()
        self.kmeans_start = kmeans_start
        self._rng = rng or Stream.fresh()
        self.codebook = Parameter(
            self._rng.child("codebook").normal((num_codes, code_dim), "float32")
        )
        self.updates = Buffer(np.zeros((), np.int64))

    def __call__(self, z: Tensor) -> QuantizerOutput:
        """Quantize z (..., D)."""
        check_vectors("SoftQuantizer", z, self.code_dim)
        self._check_settings()
        rows = ops.reshape(z, -1, self.code_dim)  # (N, D)
        flat = nearest_code(rows.array, self.codebook.array)
        indices = flat.reshape(z.shape[:-1])  # (...)
        codes = ops.embedding(self.codebook.detach(), indices, check=False)
        logits = self._logits(rows)
        if self.training:
            mixed = ops.matmul(ops.softmax(logits), self.codebook)  # (N, D)
            quantized = ops.reshape(mixed, *z.shape)  # (..., D)
        else:
            quantized = codes
        return QuantizerOutput(
            quantized=quantized,
            codes=codes,
            indices=indices,
            loss=ops.uniform_kl(logits) * self.kl_weight,
            stats=QuantizerStats(self.num_codes, rows.array, flat),
        )

    def _check_settings(self) -> None:
        """Raise ConfigError where a setting, perhaps changed since, has no meaning."""
        if not (0 < self.temperature < math.inf and 0 <= self.kl_weight < math.inf):
            raise ConfigError(
                "SoftQuantizer: needs temperature > 0 and kl_weight >= 0, got "
                f"{self.temperature} and {self.kl_weight}"
            )

    def _logits(self, rows: Tensor) -> Tensor:
        """-|z - e|² / temperature (N, M), but for a number per row: the nearest has 0.

        A softmax does not see that, and 0 remains 0, however low the temperature. z and
        e are counted from the middle of the codes: seen from afar, squared distances
        would be small differences of large products.
        """
        middle = ops.mean(self.codebook.detach(), axis=0)  # (D,)
        z, codes = rows - middle, self.codebook - middle
        products = ops.matmul(z, ops.transpose(codes))  # (N, M)
        lengths = ops.sum(codes * codes, axis=1)  # (M,)
        scores = products * 2.0 - lengths
        scores = scores - ops.max(scores.detach(), axis=1, keepdims=True)
        smallest = float(np.finfo(scores.dtype).tiny)  # what is below may become 0
        with np.errstate(over="ignore"):  # -∞ is the logit of a code without weight
            return scores / max(self.temperature, smallest)

    def lookup(self, indices: Array) -> Tensor:
        """Return the codes of indices (...), NumPy or not: (..., D), constant."""
        return ops.embedding(self.codebook.detach(), indices)

    def update(self, stats: QuantizerStats) -> CodebookUpdate:
        """Place the codebook after the first batch; later the optimiser moves it."""
        self.average(stats)
        return self.settle(stats, None)

    def average(self, stats: QuantizerStats) -> None:
        """Do nothing: this codebook has no running means."""
        check_stats("SoftQuantizer", stats, (self.num_codes, self.code_dim))

    def settle(self, stats: QuantizerStats, dead: Array | None) -> CodebookUpdate:
        """Place the codebook after the first batch; none of its codes is dead."""
        start = self.kmeans_start and self.updates.item() == 0
        if start:
            rng = self._rng.child("k-means")
            codes, _ = kmeans(stats.vectors, self.num_codes, rng)
            with self.codebook.mutate() as codebook:
                codebook[...] = codes
        with self.updates.mutate() as updates:
            updates += 1
        return CodebookUpdate(start, module_of(stats.indices).zeros(0, np.int64))

    def trained_codebook(self) -> Sequence[Parameter]:
        """List the parameters whose rows are codes."""
        return [self.codebook]
