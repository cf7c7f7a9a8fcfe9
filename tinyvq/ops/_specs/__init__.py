"""What each op is, said once: how to draw a call of it, and its value in plain NumPy.

`tinyvq gradcheck` and the tests derive every check from these. The references are
written to be plainly right: loops over pixels and taps where that says it best.
"""

from tinyvq.ops._specs._gaussian import GAUSSIAN
from tinyvq.ops._specs._likelihoods import LIKELIHOODS
from tinyvq.ops._specs._losses import LOSSES, QUANTIZATION
from tinyvq.ops._specs._normalization import NORMALIZATION
from tinyvq.ops._specs._products import PRODUCTS
from tinyvq.ops._specs._shapes import REDUCTIONS, SHAPES
from tinyvq.ops._specs._values import ACTIVATIONS, ARITHMETIC, ELEMENTWISE
from tinyvq.testing import OpSpec

SPECS: tuple[OpSpec, ...] = (
    *ARITHMETIC,
    *ELEMENTWISE,
    *ACTIVATIONS,
    *REDUCTIONS,
    *SHAPES,
    *PRODUCTS,
    *NORMALIZATION,
    *LOSSES,
    *LIKELIHOODS,
    *QUANTIZATION,
    *GAUSSIAN,
)
