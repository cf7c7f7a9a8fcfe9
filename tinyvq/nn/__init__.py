"""Modules and layers."""

from tinyvq.nn._layers import (
    GELU,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
)
from tinyvq.nn._module import Buffer, Module, Parameter, evaluating, held
from tinyvq.nn._normalization import (
    BatchNorm2d,
    GroupNorm,
    LayerNorm,
    frozen_statistics,
)

__all__ = [
    "GELU",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "evaluating",
    "frozen_statistics",
    "held",
]
