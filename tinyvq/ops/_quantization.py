"""How gradients pass a codebook: lookup, straight-through, the losses of the codes.

A lookup of the nearest code has a derivative of zero almost everywhere. So each
gradient that a VQ-VAE uses is a decision, and each decision is a Function here, not an
accident of `detach` calls.
"""

from dataclasses import dataclass

import numpy as np
from tinyvq_kernels import code_sums

from tinyvq.errors import DTypeError, ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import as_floats, check_range, same_dtype, tensor_beside
from tinyvq.ops._losses import same_shape
from tinyvq.ops._products import as_rows
from tinyvq.tensor import Operand, Tensor, apply, as_tensor


@dataclass(frozen=True)
class Embedding(Function):
    """y = table[indices]."""

    def forward(self, ctx: Context, table: Array, indices: Array) -> Array:
        ctx.save(indices=indices, num_rows=table.shape[0])
        return table[indices]

    # A row's gradient is the sum over all places where it was looked up.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        rows = as_rows(gy)  # (lookups, D)
        sums, _ = code_sums(rows, ctx.indices.reshape(-1), ctx.num_rows)
        return sums, None


def embedding(table: Operand, indices: Operand, *, check: bool = True) -> Tensor:
    """Look up rows: table (M,D), indices (...) integers in 0 .. M-1 -> (...,D).

    check  whether to look at the indices, where they live; those on a GPU make Python
           wait. Only what a search gave is known to be in range

    Indices are then copied beside the table.
    """
    table, indices = as_tensor(table), as_tensor(indices)
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"embedding: indices must be integers, got {indices.dtype}")
    if table.ndim != 2:
        raise ShapeError(f"embedding: table must be (M,D), got {table.shape}")
    if check:
        check_range("embedding", "indices", indices, table.shape[0])
    indices = tensor_beside(indices, table)
    return apply(Embedding(), table, indices)


@dataclass(frozen=True)
class StraightThrough(Function):
    """y = codes; the gradient goes to z as if y were z."""

    def forward(self, ctx: Context, z: Array, codes: Array) -> Array:
        return codes.copy()

    # By design, not by derivation: gz = gy (Bengio et al., arXiv:1308.3432; van den
    # Oord et al., arXiv:1711.00937, section 3.2). Codes learn from their own loss.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        return gy, None


def straight_through(z: Operand, codes: Operand) -> Tensor:
    """Hand `codes` on and their gradient back to `z`; both of one shape."""
    return _past_the_codebook("straight_through", StraightThrough(), z, codes)


@dataclass(frozen=True)
class RotationTrick(Function):
    """y = codes; the gradient goes to z as if y were z, turned and stretched onto it.

    With ẑ and ê the directions of a vector and its code, R the rotation that takes ẑ to
    ê in the plane of the two and leaves all else in place, y = |e|/|z| · R z. For the
    gradient, R and |e|/|z| are constants.  Source: Fifty et al., arXiv:2410.06424.
    """

    def forward(self, ctx: Context, z: Array, codes: Array) -> Array:
        ctx.save(z=z, codes=codes)
        return codes.copy()

    # gz = |e|/|z| Rᵀ gy. With r = (ẑ + ê) / |ẑ + ê|, R = I - 2 r rᵀ + 2 ê ẑᵀ (first the
    # mirror that takes ẑ to -ê, then the part along ẑ is turned round to ê), so
    #   Rᵀ g = g - 2 r (r·g) + 2 ẑ (ê·g).
    # A vector of length 0 has no direction, and opposite ones have no plane: there the
    # gradient goes straight through. In float64, because for nearly opposite vectors
    # ẑ + ê keeps only the last digits.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        def dot(a: Array, b: Array) -> Array:
            return (a * b).sum(axis=-1, keepdims=True)  # (..., 1)

        z, e = ctx.z.astype(np.float64), ctx.codes.astype(np.float64)
        length_z, length_e = np.sqrt(dot(z, z)), np.sqrt(dot(e, e))
        plain = (length_z == 0) | (length_e == 0)
        z = z / np.where(plain, 1, length_z)
        e = e / np.where(plain, 1, length_e)
        middle = z + e
        square = dot(middle, middle)
        plain = plain | (square < np.finfo(gy.dtype).eps)
        along = dot(middle, gy) / np.where(plain, 1, square)
        turned = gy - 2 * middle * along + 2 * z * dot(e, gy)
        turned *= length_e / np.where(plain, 1, length_z)
        return np.where(plain, gy, turned).astype(gy.dtype), None


def rotation_trick(z: Operand, codes: Operand) -> Tensor:
    """Hand `codes` (...,D) on; carry their gradient back to `z` by a rotation."""
    z = as_tensor(z)
    if z.ndim < 1:
        raise ShapeError(f"rotation_trick: needs z (...,D), got {z.shape}")
    return _past_the_codebook("rotation_trick", RotationTrick(), z, codes)


def _past_the_codebook(
    op: str, function: Function, z: Operand, codes: Operand
) -> Tensor:
    z, codes = as_tensor(z), as_tensor(codes)
    if z.shape != codes.shape:
        raise ShapeError(f"{op}: shapes differ, {z.shape} and {codes.shape}")
    same_dtype(op, z, codes)
    return apply(function, z, codes.detach())


@dataclass(frozen=True)
class VQLoss(Function):
    """L = a · mean((sg(z) - e)²) + β · mean((z - sg(e))²), sg: stop the gradient.

    The first term, a = codebook_weight, moves the codes e to the vectors z; the second,
    β = commitment_weight, commits the encoder to its codes. As values the two means
    are equal; they differ in whom they move.  Source: arXiv:1711.00937, eq. 3, which
    sums over the code width where these are means over all values, and whose
    reconstruction term is not divided by the pixels' variance as it is in `models`: a β
    there and a β here do not compare.
    """

    codebook_weight: float
    commitment_weight: float

    def forward(self, ctx: Context, z: Array, e: Array) -> Array:
        difference = z - e
        ctx.save(difference=difference)
        weight = self.codebook_weight + self.commitment_weight
        return weight * (difference * difference).mean()

    # Each term moves one side: gz = β 2 (z - e) / n and ge = -a 2 (z - e) / n.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        scale = gy * (2 / ctx.difference.size)
        gz = ge = None
        if ctx.needs[0]:
            weight = (self.commitment_weight * scale).astype(gy.dtype, copy=False)
            gz = weight * ctx.difference
        if ctx.needs[1]:
            weight = (-self.codebook_weight * scale).astype(gy.dtype, copy=False)
            ge = weight * ctx.difference
        return gz, ge


def vq_loss(
    z: Operand,
    codes: Operand,
    *,
    codebook_weight: float = 1.0,
    commitment_weight: float = 0.25,
) -> Tensor:
    """Codebook loss + β · commitment loss, on values before the straight-through.

    z, codes  of one shape; `codes` may be constant (an EMA codebook)
    """
    function = VQLoss(float(codebook_weight), float(commitment_weight))
    return apply(function, *same_shape("vq_loss", z, codes))


@dataclass(frozen=True)
class UniformKL(Function):
    """L = mean over rows of KL(p ‖ uniform) = log M + Σ_m p_m log p_m, p = softmax(x).

    It takes the logits x (..., M), not p, because log p of a p that underflows to 0
    would be infinite, while p log p and its gradient go to 0. A logit of -∞ will do.
    """

    def forward(self, ctx: Context, x: Array) -> Array:
        x = x - x.max(axis=-1, keepdims=True)
        p = np.exp(x)
        total = p.sum(axis=-1, keepdims=True)  # (..., 1), in 1 .. M
        p /= total
        finite = np.where(p > 0, x, 0)  # 0 · -∞ would be NaN
        average = (p * finite).sum(axis=-1, keepdims=True)  # (..., 1)
        ctx.save(p=p, centred=finite - average)
        # log M + Σ p log p = Σ p x - log s, s = Σ eˣ / M. Where all x are nearly alike,
        # s is nearly 1 and s - 1 = Σ (eˣ - 1) / M has the digits; else s itself has.
        share = total / x.shape[-1]
        excess = np.expm1(x).mean(axis=-1, keepdims=True)
        log_share = np.where(share < 0.5, np.log(share), np.log1p(excess))
        return (average - log_share).mean()

    # ∂/∂p_m of Σ p log p is log p_m + 1, and ∂p_m/∂x_j = p_m (δ_mj - p_j), so
    # gx_j = p_j (log p_j - Σ_m p_m log p_m) / rows = p_j (x_j - Σ_m p_m x_m) / rows.
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        rows = ctx.p.size // ctx.p.shape[-1]
        return (gy / rows * ctx.p * ctx.centred,)


def uniform_kl(logits: Operand) -> Tensor:
    """Divergence, in nats, of softmax(logits) over the last axis from uniform.

    The mean over all rows; 0 where all are equally likely, log M where one is certain.
    """
    logits = as_floats("uniform_kl", logits, "logits")
    if logits.ndim < 1 or logits.size == 0:
        raise ShapeError(f"uniform_kl: needs logits (..., M), got {logits.shape}")
    return apply(UniformKL(), logits)
