"""What every op on two broadcast operands needs."""

from tinyvq.function import Array


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an operand of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    repeated = [
        axis + extra
        for axis, length in enumerate(shape)
        if length == 1 and gradient.shape[axis + extra] != 1
    ]
    return gradient.sum(axis=(*range(extra), *repeated)).reshape(shape)
