"""Quantizers: one file each, one interface."""

from tinyvq.quantizers._interface import (
    CodebookUpdate,
    Quantizer,
    QuantizerOutput,
    QuantizerStats,
)
from tinyvq.quantizers._kmeans import kmeans
from tinyvq.quantizers._soft import SoftQuantizer
from tinyvq.quantizers._vector import VectorQuantizer

__all__ = [
    "CodebookUpdate",
    "Quantizer",
    "QuantizerOutput",
    "QuantizerStats",
    "SoftQuantizer",
    "VectorQuantizer",
    "kmeans",
]
