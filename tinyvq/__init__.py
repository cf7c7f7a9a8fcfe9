"""tinyvq: vector-quantised image models, every backward pass written out.

from tinyvq import Tensor, grad, no_grad
from tinyvq import data, models, nn, ops, optim, quantizers, testing
"""

from tinyvq import models, nn, ops, optim, quantizers, testing
from tinyvq.tensor import Tensor, grad, no_grad

__version__ = "0.1.0"

__all__ = [
    "Tensor",
    "__version__",
    "data",
    "grad",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "quantizers",
    "testing",
]
