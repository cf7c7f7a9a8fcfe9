"""Modules and layers."""

from tinyvq.nn._layers import (
    Conv2d,
    ConvTranspose2d,
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
from tinyvq.nn._module import Buffer, Module, Parameter

__all__ = [
    "Buffer",
    "Conv2d",
    "ConvTranspose2d",
    "Embedding",
    "Layer",
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
]
