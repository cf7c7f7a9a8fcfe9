"""tinyvq: vector-quantised image models, every backward pass written out."""

__version__ = "0.1.0"
