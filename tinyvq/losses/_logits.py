"""What a discriminator says, checked at the door of a loss."""

from tinyvq.errors import DTypeError, ShapeError
from tinyvq.tensor import Tensor


def check_logits(loss: str, *logits: Tensor) -> None:
    """Raise ShapeError where logits are empty, DTypeError where no floats, or mixed."""
    dtypes = sorted({str(x.dtype) for x in logits})
    if len(dtypes) > 1 or any(x.dtype.kind != "f" for x in logits):
        got = " and ".join(dtypes)
        raise DTypeError(f"{loss}: needs logits of one float dtype, got {got}")
    if any(x.size == 0 for x in logits):
        shapes = " and ".join(str(x.shape) for x in logits)
        raise ShapeError(f"{loss}: needs logits, not empty, got {shapes}")
