"""VectorQuantizer: the nearest code of a learned codebook."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal

import numpy as np
from tinyvq_kernels import code_sums, deferred_checks, nearest_code, running_means

from tinyvq import ops
from tinyvq.backends import beside, module_of, read
from tinyvq.entropy import uniform_bits
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

Estimator = Literal["straight_through", "rotation"]
ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "straight_through": ops.straight_through,
    "rotation": ops.rotation_trick,
}


class VectorQuantizer(Module):
    """Replace each vector by the nearest of M codes (squared Euclidean distance).

    num_codes, code_dim   M and D
    learn          how codes move. "ema": each is the running mean of the vectors that
                   chose it. "gradient": an optimiser follows the codebook loss
    commitment     β, the weight of mean((z - sg(e))²)
    decay          of the running means; zero-debiased
    kmeans_start   place the codebook by k-means over the first batch
    restart_below  a code chosen less often than this share of the average code (by
                   running mean) is dead, and is placed on a random vector of the
                   batch; 0 turns it off
    normalize      vectors and codes of length 1, so that the nearest code is the one of
                   the most similar direction. With a code_dim that is small beside the
                   encoder's width (its last layer is the projection) these are the
                   factorised, l2-normalised codes of ViT-VQGAN
    estimator      how the decoder's gradient passes the lookup: "straight_through", or
                   "rotation", turned and stretched from the code's place to z's
    rng            draws the first codebook and the restarts

    Sources: van den Oord et al., arXiv:1711.00937; running means: its appendix A.1;
    normalised codes: Yu et al., arXiv:2110.04627, section 3.2; rotation: Fifty et al.,
    arXiv:2410.06424.
    """

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        *,
        learn: Literal["ema", "gradient"] = "ema",
        commitment: float = 0.25,
        decay: float = 0.99,
        kmeans_start: bool = True,
        restart_below: float = 0.1,
        normalize: bool = False,
        estimator: Estimator = "straight_through",
        rng: Stream | None = None,
    ) -> None:
        if num_codes < 1 or code_dim < 1:
            raise ConfigError(
                "a codebook needs at least one code and width, "
                f"got {num_codes}×{code_dim}"
            )
        if learn not in ("ema", "gradient"):
            raise ConfigError(f'learn must be "ema" or "gradient", got {learn!r}')
        if estimator not in ESTIMATORS:
            raise ConfigError(
                f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}"
            )
        shares = 0 <= decay < 1 and 0 <= restart_below < 1
        if not (shares and 0 <= commitment < math.inf):
            raise ConfigError(
                "needs decay and restart_below in [0, 1) and commitment >= 0, got "
                f"{decay}, {restart_below}, {commitment}"
            )
        self.num_codes, self.code_dim = num_codes, code_dim
        self.learn = learn
        self.commitment = commitment
        self.decay = decay
        self.kmeans_start = kmeans_start
        self.restart_below = restart_below
        self.normalize = normalize
        self.estimator = estimator
        self._rng = rng or Stream.fresh()
        # Directions are taken at any length, but from vectors long enough to have one.
        reach = 1.0 if normalize else 1 / num_codes
        first = self._rng.child("codebook").uniform(
            (num_codes, code_dim), -reach, reach, "float32"
        )
        self.codebook = Parameter(first) if learn == "gradient" else Buffer(first)
        # Running means, over the batches, of the count and the sum of each code, and of
        # N/M, the count of the average code. K-means gives them the first batch at its
        # full weight. Without it they start at 0, so all are too small at first, by one
        # factor, which cancels wherever one is held against another.
        self.cluster_size = Buffer(np.zeros(num_codes))
        self.embed_sum = Buffer(np.zeros((num_codes, code_dim)))
        self.average_size = Buffer(np.zeros(()))
        self.updates = Buffer(np.zeros((), np.int64))

    def __call__(self, z: Tensor) -> QuantizerOutput:
        """Quantize z (..., D); the codebook stays as it is."""
        check_vectors("VectorQuantizer", z, self.code_dim)
        z, table = self._placed(z), self._placed(self.codebook)
        vectors = z.array.reshape(-1, self.code_dim)  # (N, D)
        flat = nearest_code(vectors, table.array)
        indices = flat.reshape(z.shape[:-1])  # (...)
        codes = ops.embedding(table, indices, check=False)
        loss = ops.vq_loss(
            z,
            codes,
            codebook_weight=1.0 if self.learn == "gradient" else 0.0,
            commitment_weight=self.commitment,
        )
        return QuantizerOutput(
            quantized=ESTIMATORS[self.estimator](z, codes),
            codes=codes,
            indices=indices,
            loss=loss,
            stats=QuantizerStats(self.num_codes, vectors, flat),
        )

    def lookup(self, indices: Array) -> Tensor:
        """Return the codes of indices (...), NumPy or not: (..., D), constant."""
        table = self._placed(self.codebook.detach())
        return ops.embedding(table, indices)

    def _placed(self, vectors: Tensor) -> Tensor:
        """Put vectors (..., D) where they are compared: as they are, or at length 1."""
        return ops.l2_normalize(vectors) if self.normalize else vectors

    def update(self, stats: QuantizerStats) -> CodebookUpdate:
        """Move the codebook by what a batch chose: start, running means, restarts."""
        return self.settle(stats, self.average(stats))

    def average(self, stats: QuantizerStats) -> Array | None:
        """Do what of an update is the arrays' alone: the running means.

        ->  how many codes are dead now, (), where it lives; None before the start
        """
        check_stats("VectorQuantizer", stats, (self.num_codes, self.code_dim))
        if self._is_to_start():
            return None
        with deferred_checks():  # not read: the search finds no other codes
            sums, counts = code_sums(stats.vectors, stats.indices, self.num_codes)
        # An optimiser moves the codes of a "gradient" codebook.
        moved = self.codebook.mutate() if self.learn == "ema" else nullcontext()
        with (
            self.cluster_size.mutate() as size,
            self.embed_sum.mutate() as total,
            self.average_size.mutate() as average,
            moved as codes,
        ):
            running_means(
                *(sums, counts, size, total, average, codes),
                rows=len(stats.vectors),
                decay=self.decay,
            )
        dead: Array = np.count_nonzero(self._dead())
        return dead

    def settle(self, stats: QuantizerStats, dead: Array | None) -> CodebookUpdate:
        """Do what of an update Python decides: the start, and restarts of `dead` codes.

        Waits for a GPU, if codes may die.
        """
        nothing = module_of(stats.indices).zeros(0, np.int64)
        if self._is_to_start():
            self.start(stats.vectors)
            return CodebookUpdate(started=True, restarted=nothing)
        with self.updates.mutate() as updates:
            updates += 1
        if self.restart_below == 0 or not read(dead)[0]:
            return CodebookUpdate(started=False, restarted=nothing)
        return CodebookUpdate(started=False, restarted=self._restart(stats))

    def _is_to_start(self) -> bool:
        return self.kmeans_start and self.updates.item() == 0

    def _dead(self) -> Array:
        """Tell which codes are chosen too seldom (M,)."""
        size, average = self.cluster_size.array, self.average_size.array
        return size < self.restart_below * average

    def start(self, vectors: Array) -> None:
        """Place the codebook by k-means over vectors (N, D)."""
        codes, counts = kmeans(vectors, self.num_codes, self._rng.child("k-means"))
        with (
            self.codebook.mutate() as codebook,
            self.cluster_size.mutate() as size,
            self.embed_sum.mutate() as total,
            self.average_size.mutate() as average,
            self.updates.mutate() as updates,
        ):
            codebook[...] = codes
            size[...] = counts
            total[...] = codes * size[:, None]
            average[...] = len(vectors) / self.num_codes
            updates += 1

    def _restart(self, stats: QuantizerStats) -> Array:
        """Place dead codes on random vectors of the batch, as if of average size.

        Sum and size are reset together: an old sum would pull the code straight back.
        Waits for a GPU: how many are dead says how many positions to draw.
        """
        n = len(stats.vectors)
        average = self.average_size.array
        dead = np.flatnonzero(self._dead())
        if n == 0:  # nowhere to place them
            return dead[:0]
        rng = self._rng.child("restart", int(self.updates.item()))
        # Distinct positions while they last.
        chosen = beside(np.resize(rng.permutation(n), dead.size), stats.vectors)
        with (
            self.codebook.mutate() as codebook,
            self.cluster_size.mutate() as size,
            self.embed_sum.mutate() as total,
        ):
            codebook[dead] = stats.vectors[chosen]
            size[dead] = average
            total[dead] = codebook[dead] * size[dead, None]
        return dead

    def trained_codebook(self) -> Sequence[Parameter]:
        """List the parameters whose rows are codes: none for an EMA codebook."""
        return [self.codebook] if isinstance(self.codebook, Parameter) else []

    @property
    def bits_per_index(self) -> float:
        """log2 M: the KL of a one-hot posterior to the uniform prior, a constant."""
        return uniform_bits(self.num_codes)
