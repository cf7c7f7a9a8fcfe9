"""Calls of each op that are wrong, and what must be said about them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyvq import ops
from tinyvq.tensor import Tensor

Call = Callable[[], Any]


def t(*shape: int, dtype: str = "float32") -> Tensor:
    return Tensor(np.ones(shape, dtype))


# Ops of two tensors that must be alike.
PAIRS = (ops.mse_loss, ops.l1_loss, ops.huber_loss, ops.vq_loss, ops.gaussian_kl)
IMAGE, KERNEL = t(2, 5, 6, 3), t(3, 3, 3, 4)

SHAPES: dict[str, list[tuple[Call, str]]] = {
    **{
        op.__name__: [
            (
                lambda op=op: op(t(2, 3), t(4)),
                f"{op.__name__.capitalize()} of float32 (2, 3) and float32 (4,): "
                "operands could not be broadcast together",
            )
        ]
        for op in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum)
    },
    "where": [
        (
            lambda: ops.where(t(3, dtype="bool"), t(2, 3), t(4)),
            "Where of bool (3,) and float32 (2, 3) and float32 (4,): ",
        )
    ],
    **{
        f"{op.__name__}, axis": [
            (
                lambda op=op: op(t(2, 3), axis=2),
                f"{op.__name__}: there is no axis 2 in shape (2, 3)",
            ),
            (
                lambda op=op: op(t(2, 3), axis=-3),
                f"{op.__name__}: there is no axis -3 in shape (2, 3)",
            ),
            (
                lambda op=op: op(t(), axis=0),
                f"{op.__name__}: there is no axis 0 in shape ()",
            ),
        ]
        for op in (ops.sum, ops.mean, ops.var, ops.max, ops.softmax)
    },
    **{
        f"{op.__name__}, axis twice": [
            (
                lambda op=op: op(t(2, 3), axis=(1, -1)),
                f"{op.__name__.capitalize()} of float32 (2, 3): duplicate value in",
            ),
        ]
        for op in (ops.sum, ops.mean, ops.var, ops.max)
    },
    "mean": [
        (
            lambda: ops.mean(t(0, 3)),
            "mean: there is nothing to average in shape (0, 3)",
        ),
        (lambda: ops.mean(t(2, 0), axis=1), "nothing to average in shape (2, 0)"),
    ],
    "max": [
        (lambda: ops.max(t(0, 3)), "max: there is nothing to choose from in shape (0"),
        (lambda: ops.max(t(2, 0), axis=1), "nothing to choose from in shape (2, 0)"),
    ],
    "var": [
        (lambda: ops.var(t(0)), "needs more than correction=0 values, got 0 of (0,)"),
        (
            lambda: ops.var(t(3, 2), axis=1, correction=2),
            "var: needs more than correction=2 values, got 2 of (3, 2)",
        ),
    ],
    "softmax": [(lambda: ops.softmax(t(2, 0)), "Softmax of float32 (2, 0): zero-size")],
    "uniform_kl": [
        (lambda: ops.uniform_kl(t()), "uniform_kl: needs logits (..., M), got ()"),
        (lambda: ops.uniform_kl(t(0, 3)), "needs logits (..., M), got (0, 3)"),
    ],
    "reshape": [
        (
            lambda: ops.reshape(t(2, 3), 4),
            "Reshape of float32 (2, 3): cannot reshape array of size 6 into shape (4,)",
        ),
        (
            lambda: ops.reshape(t(2, 3), -1, -1),
            "can only specify one unknown dimension",
        ),
    ],
    "transpose": [
        (
            lambda: ops.transpose(t(2, 3, 4), 0, 1),
            "transpose: (0, 1) does not name each axis of (2, 3, 4) once",
        ),
        (lambda: ops.transpose(t(2, 3), 1, -1), "(1, -1) does not name each axis of"),
        (
            lambda: ops.transpose(t(2, 3), 2, 1),
            "transpose: there is no axis 2 in shape",
        ),
    ],
    "concatenate": [
        (lambda: ops.concatenate([]), "concatenate: needs at least one tensor"),
        (
            lambda: ops.concatenate([t(2, 3), t(2, 4)]),
            "Concatenate of float32 (2, 3) and float32 (2, 4): all the input array",
        ),
        (
            lambda: ops.concatenate([t(2, 3), t(2)], 1),
            "(2, 3) and float32 (2,): all the",
        ),
        (
            lambda: ops.concatenate([t(2), t(2)], 1),
            "concatenate: there is no axis 1 in",
        ),
        (lambda: ops.concatenate([t(), t()]), "there is no axis 0 in shape ()"),
    ],
    "pad": [
        (
            lambda: ops.pad(t(2, 3), [(1, 1)]),
            "pad: needs 2 pairs (before, after) >= 0 for (2, 3), got ((1, 1),)",
        ),
        (lambda: ops.pad(t(2), [(1, -1)]), "pad: needs 1 pairs (before, after) >= 0"),
    ],
    "upsample_nearest": [
        (
            lambda: ops.upsample_nearest(t(2, 3, 4)),
            "upsample_nearest: needs x (N,H,W,C) and scale >= 1, got (2, 3, 4), 2",
        ),
        (lambda: ops.upsample_nearest(IMAGE, 0), "scale >= 1, got (2, 5, 6, 3), 0"),
    ],
    "avg_pool2d": [
        (
            lambda: ops.avg_pool2d(t(2, 3, 4), 2),
            "avg_pool2d: needs x (N,H,W,C) of at least size=2 >= 1, stride >= 1, "
            "got (2, 3, 4), stride=2",
        ),
        (
            lambda: ops.avg_pool2d(IMAGE, 6),
            "at least size=6 >= 1, stride >= 1, got (2, 5",
        ),
        (lambda: ops.avg_pool2d(IMAGE, 0), "at least size=0 >= 1"),
        (lambda: ops.avg_pool2d(IMAGE, 2, 0), "got (2, 5, 6, 3), stride=0"),
    ],
    "matmul": [
        (
            lambda: ops.matmul(t(2, 3), t(4, 5)),
            "matmul: needs a (...,I,L) and b (...,L,J) or (L,J), got (2, 3) and (4, 5)",
        ),
        (lambda: ops.matmul(t(3), t(3)), "got (3,) and (3,)"),
        (lambda: ops.matmul(t(2, 2, 3), t(5, 3, 4)), "got (2, 2, 3) and (5, 3, 4)"),
    ],
    "linear": [
        (
            lambda: ops.linear(t(2, 3), t(4, 5)),
            "linear: needs x (...,C), w (C,K), b (K), got (2, 3), (4, 5)",
        ),
        (lambda: ops.linear(t(2, 3), t(3, 5), t(4)), "got (2, 3), (3, 5), (4,)"),
        (lambda: ops.linear(t(), t(3, 5)), "got (), (3, 5)"),
        (lambda: ops.linear(t(2, 3), t(3)), "got (2, 3), (3,)"),
    ],
    "conv2d": [
        (
            lambda: ops.conv2d(IMAGE, t(3, 3, 4, 4)),
            "x (2, 5, 6, 3) has 3 channels, w (3, 3, 4, 4) takes 4",
        ),
        (
            lambda: ops.conv2d(t(5, 6, 3), KERNEL),
            "Conv2d of float32 (5, 6, 3) and float32 (3, 3, 3, 4): "
            "conv2d: x must be (N,H,W,C), got shape (5, 6, 3)",
        ),
        (
            lambda: ops.conv2d(IMAGE, t(3, 3, 4)),
            "w must be (R,S,C,K), got shape (3, 3,",
        ),
        (lambda: ops.conv2d(IMAGE, KERNEL, t(3)), "b must have shape (4,), got (3,)"),
        (
            lambda: ops.conv2d(IMAGE, KERNEL, dilation=3),
            "a 3×3 kernel with dilation 3 does not fit into a 5×6 image padded by 0",
        ),
        (lambda: ops.conv2d(IMAGE, t(0, 3, 3, 4)), "a kernel must be at least 1×1"),
    ],
    "conv_transpose2d": [
        (
            lambda: ops.conv_transpose2d(t(5, 6, 4), KERNEL),
            "conv_transpose2d: needs y (N,P,Q,K), w (R,S,C,K), got (5, 6, 4), (3, 3, 3",
        ),
        (
            lambda: ops.conv_transpose2d(IMAGE, KERNEL),
            "ConvTranspose2d of float32 (2, 5, 6, 3) and float32 (3, 3, 3, 4): ",
        ),
        (
            lambda: ops.conv_transpose2d(t(2, 5, 6, 4), KERNEL, t(4)),
            "b must have shape (3,), got (4,)",
        ),
        (
            lambda: ops.conv_transpose2d(t(2, 1, 2, 4), KERNEL, padding=2),
            "y (2, 1, 2, 4) with w (3, 3, 3, 4), padding=2 would make a -1×0 image",
        ),
        (
            lambda: ops.conv_transpose2d(t(2, 5, 2, 4), KERNEL, padding=2),
            "padding=2 would make a 3×0 image",
        ),
    ],
    **{
        op.__name__: [
            (
                lambda op=op: op(t(2, 3), t(3)),
                f"{op.__name__}: needs two tensors of one shape, not empty, "
                "got (2, 3) and (3,)",
            ),
            (lambda op=op: op(t(0), t(0)), "not empty, got (0,) and (0,)"),
            (lambda op=op: op(t(2), 1.0), "got (2,) and ()"),
        ]
        for op in PAIRS
    },
    "embedding": [
        (
            lambda: ops.embedding(t(4, 2), np.array([0, 4])),
            "embedding: indices must be in 0 .. 3, got 0 .. 4",
        ),
        (lambda: ops.embedding(t(4, 2), -1), "indices must be in 0 .. 3, got -1 .. -1"),
        (lambda: ops.embedding(t(0, 2), 0), "indices must be in 0 .. -1, got 0 .. 0"),
        (lambda: ops.embedding(t(4), 0), "embedding: table must be (M,D), got (4,)"),
    ],
    "straight_through": [
        (
            lambda: ops.straight_through(t(2, 3), t(3)),
            "straight_through: shapes differ, (2, 3) and (3,)",
        )
    ],
    "reparameterize": [
        (
            lambda: ops.reparameterize(t(2, 3), t(3), t(2, 3)),
            "reparameterize: needs two tensors of one shape, not empty, "
            "got (2, 3) and (3,)",
        ),
        (
            lambda: ops.reparameterize(t(2, 3), t(2, 3), t(1, 3)),
            "not empty, got (2, 3) and (1, 3)",
        ),
    ],
    "gaussian_kl, rows": [
        (
            lambda: ops.gaussian_kl(t(), t()),
            "gaussian_kl: needs parameters (..., Z), got ()",
        )
    ],
}

MIXED = (("float32", "float64"), ("uint8", "uint8"), ("float16", "float16"))
DTYPES: dict[str, list[tuple[Call, str]]] = {
    **{
        op.__name__: [
            (
                lambda op=op: op(t(2), t(2, dtype="float64")),
                f"{op.__name__}: dtypes differ, float32 and float64; convert one",
            ),
            (
                lambda op=op: op(t(2, dtype="int64"), t(2)),
                f"{op.__name__}: dtypes differ, int64 and float32; convert one",
            ),
        ]
        for op in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum)
    },
    "where": [
        (
            lambda: ops.where(t(2), t(2), t(2)),
            "where: the condition must be bool, got float32",
        ),
        (
            lambda: ops.where(True, t(2), t(2, dtype="int64")),
            "where: dtypes differ, float32 and int64; convert one of them",
        ),
    ],
    "concatenate": [
        (
            lambda: ops.concatenate([t(2), t(2), t(2, dtype="int64")]),
            "concatenate: dtypes differ, float32 and int64; convert one of them",
        )
    ],
    "straight_through": [
        (
            lambda: ops.straight_through(t(2), t(2, dtype="int64")),
            "straight_through: dtypes differ, float32 and int64; convert one of them",
        )
    ],
    "reparameterize": [
        (
            lambda: ops.reparameterize(t(2), t(2), t(2, dtype="float64")),
            "reparameterize: needs two tensors of float32 or two of float64, got",
        )
    ],
    **{
        op.__name__: [
            (
                lambda op=op, a=a, b=b: op(t(2, dtype=a), t(2, dtype=b)),
                f"{op.__name__}: needs two tensors of float32 or two of float64, "
                f"got {a} and {b}",
            )
            for a, b in MIXED
        ]
        for op in PAIRS
    },
    "embedding": [
        (
            lambda: ops.embedding(t(4, 2), t(3)),
            "embedding: indices must be integers, got float32",
        ),
        (lambda: ops.embedding(t(4, 2), t(3, dtype="bool")), "integers, got bool"),
    ],
    "linear": [
        (
            lambda: ops.linear(t(2, 3), t(3, 4, dtype="float64"), t(4)),
            "Linear: dtypes differ, float32 and float64 and float32; convert one",
        )
    ],
    "matmul": [
        (
            lambda: ops.matmul(t(2, 3, dtype="float64"), t(3, 4)),
            "MatMul: dtypes differ, float64 and float32; convert one of them",
        )
    ],
    "conv2d": [
        (
            lambda: ops.conv2d(IMAGE, t(3, 3, 3, 4, dtype="float64")),
            "Conv2d: dtypes differ, float32 and float64; convert one of them",
        )
    ],
}

CONFIGS: dict[str, list[tuple[Call, str]]] = {
    "getitem": [
        (
            lambda: t(3)[[0, 1]],
            "slicing takes integers, slices, ... and None, not list; "
            "embedding(table, indices) looks up rows",
        ),
        (lambda: t(3)[np.array([0])], "not ndarray"),
        (lambda: t(3)[t(1)], "not Tensor"),
        (lambda: t(3)[True], "not bool"),
        (lambda: t(3, 3)[0, 1.0], "not float"),
    ],
    "clip": [
        (
            lambda: ops.clip(t(2), 1.0, -1.0),
            "clip: needs low <= high, got 1.0 and -1.0",
        ),
        (lambda: ops.clip(t(2), np.nan, 1.0), "clip: needs low <= high, got nan and 1"),
    ],
    "huber_loss": [
        (lambda d=d: ops.huber_loss(t(2), t(2), d), f"needs delta > 0, got {d}")
        for d in (0.0, -1.0, float("nan"))
    ],
    "upsample_nearest": [
        (
            lambda: ops.upsample_nearest(IMAGE, 2.0),  # type: ignore[arg-type]
            "upsample_nearest: needs whole numbers, got scale=2.0",
        )
    ],
    "avg_pool2d": [
        (
            lambda: ops.avg_pool2d(IMAGE, 2, (1, 1)),  # type: ignore[arg-type]
            "avg_pool2d: needs whole numbers, got size=2, stride=(1, 1)",
        )
    ],
    **{
        op.__name__: [
            (
                lambda op=op: op(IMAGE, KERNEL, stride=0),
                f"{op.__name__}: needs stride >= 1, padding >= 0, dilation >= 1, "
                "got stride=0, padding=0, dilation=1",
            ),
            (lambda op=op: op(IMAGE, KERNEL, padding=-1), "got stride=1, padding=-1"),
            (lambda op=op: op(IMAGE, KERNEL, dilation=0), "padding=0, dilation=0"),
            (
                lambda op=op: op(IMAGE, KERNEL, stride=(2, 2)),
                f"{op.__name__}: needs whole numbers, got stride=(2, 2), padding=0",
            ),
        ]
        for op in (ops.conv2d, ops.conv_transpose2d)
    },
    "conv_transpose2d, output_padding": [
        (
            lambda n=n: ops.conv_transpose2d(IMAGE, KERNEL, stride=2, output_padding=n),
            f"conv_transpose2d: needs 0 <= output_padding < stride, got {n} and 2",
        )
        for n in (2, -1)
    ],
}
