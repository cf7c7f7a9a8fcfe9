"""Normalisation layers: the ops' parameters, and batch norm's running means."""

from contextlib import AbstractContextManager

import numpy as np

from tinyvq import ops
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.nn._module import Buffer, Module, Parameter, held
from tinyvq.tensor import Tensor


class _Affine(Module):
    """weight (C) of ones, bias (C) of zeros."""

    def __init__(self, channels: int, eps: float) -> None:
        if channels < 1:
            raise ConfigError(f"a norm needs at least one channel, got {channels}")
        if not eps > 0:
            raise ConfigError(f"a norm needs eps > 0, got {eps}")
        self.eps = eps
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))


class GroupNorm(_Affine):
    """Normalise each image's channels in groups: (N,...,C) -> (N,...,C)."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps)
        if num_groups < 1 or num_channels % num_groups:
            raise ConfigError(
                f"GroupNorm: {num_channels} channels do not make {num_groups} groups"
            )
        self.groups = num_groups

    def __call__(self, x: Tensor) -> Tensor:
        return ops.group_norm(x, self.groups, self.weight, self.bias, self.eps)


class LayerNorm(_Affine):
    """Normalise the last axis: (...,C) -> (...,C)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps)

    def __call__(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.weight, self.bias, self.eps)


class BatchNorm2d(_Affine):
    """Normalise each channel of (N,...,C) over the batch.

    In training by the batch's own mean and variance, which running ones follow; in
    evaluation by these. `frozen_statistics` holds them still.

    momentum  share of a batch in the running mean and (unbiased) variance
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__(num_features, eps)
        if not 0 <= momentum <= 1:
            raise ConfigError(f"BatchNorm2d: needs momentum in 0 .. 1, got {momentum}")
        self.momentum = momentum
        self.tracking = True
        self.running_mean = Buffer(np.zeros(num_features, np.float32))
        self.running_var = Buffer(np.ones(num_features, np.float32))

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or x.shape[-1:] != self.weight.shape:
            raise ShapeError(
                f"BatchNorm2d: needs x (N,...,{self.weight.size}), got {x.shape}"
            )
        if not self.training:
            rstd = Tensor.wrap((self.running_var.array + self.eps) ** -0.5)
            return (x - self.running_mean) * (rstd * self.weight) + self.bias
        y = ops.batch_norm(x, self.weight, self.bias, self.eps)
        if self.tracking:
            self._track(x)
        return y

    def _track(self, x: Tensor) -> None:
        """Take a batch's mean and unbiased variance into the running ones."""
        x, axes = x.detach(), tuple(range(x.ndim - 1))
        unbiased = 1 if x.size > x.shape[-1] else 0  # of one value, it would be 0 / 0
        for running, batch in (
            (self.running_mean, ops.mean(x, axes)),
            (self.running_var, ops.var(x, axes, correction=unbiased)),
        ):
            with running.mutate() as array:
                array += self.momentum * (batch.array - array)


def frozen_statistics(module: Module) -> AbstractContextManager[None]:
    """Let no batch norm in a module follow what it sees inside the block.

    A discriminator that judges in the generator's step must not learn from it.
    """
    norms = (m for _, m in module.named_modules() if isinstance(m, BatchNorm2d))
    return held(norms, "tracking", False)
