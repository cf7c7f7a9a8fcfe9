"""Wrong calls of the ops of VQ-GANs and priors, and what must be said about them."""

import numpy as np
from ops.wrong_calls import Call, t

from tinyvq import ops

SHAPES: dict[str, list[tuple[Call, str]]] = {
    "group_norm": [
        (
            lambda: ops.group_norm(t(2, 5, 6), 4, t(6), t(6)),
            "group_norm: 6 channels do not make 4 groups",
        ),
        (
            lambda: ops.group_norm(t(6), 2, t(6), t(6)),
            "group_norm: needs x (N,...,C), not empty, weight (C) and bias (C), "
            "got (6,)",
        ),
        (lambda: ops.group_norm(t(0, 6), 2, t(6), t(6)), "not empty"),
        (lambda: ops.group_norm(t(2, 6), 0, t(6), t(6)), "do not make 0 groups"),
    ],
    "layer_norm": [
        (
            lambda: ops.layer_norm(t(2, 6), t(5), t(6)),
            "layer_norm: needs x (...,C), not empty, weight (C) and bias (C), got "
            "(2, 6), (5,) and (6,)",
        ),
        (lambda: ops.layer_norm(t(), t(), t()), "layer_norm: needs x (...,C)"),
    ],
    "batch_norm": [
        (
            lambda: ops.batch_norm(t(2, 6), t(6), t(2)),
            "batch_norm: needs x (N,...,C), not empty",
        ),
        (lambda: ops.batch_norm(t(2, 0, 6), t(6), t(6)), "not empty"),
    ],
    "l2_normalize": [
        (lambda: ops.l2_normalize(t()), "l2_normalize: needs x (...,D), got ()")
    ],
    "attention": [
        (
            lambda: ops.attention(t(2, 3, 4), t(2, 3, 4), t(2, 3, 4)),
            "attention: needs q (N,A,T,E), k (N,A,S,E), v (N,A,S,F)",
        ),
        (
            lambda: ops.attention(t(1, 2, 3, 4), t(1, 2, 3, 5), t(1, 2, 3, 4)),
            "got (1, 2, 3, 4), (1, 2, 3, 5) and (1, 2, 3, 4)",
        ),
        (
            lambda: ops.attention(t(1, 2, 3, 4), t(2, 2, 3, 4), t(2, 2, 3, 4)),
            "got (1, 2, 3, 4), (2, 2, 3, 4) and (2, 2, 3, 4)",
        ),
        (
            lambda: ops.attention(t(1, 2, 3, 4), t(1, 2, 0, 4), t(1, 2, 0, 4)),
            "S and E >= 1",
        ),
        (
            lambda: ops.attention(t(1, 2, 3, 0), t(1, 2, 3, 0), t(1, 2, 3, 4)),
            "S and E >= 1",
        ),
        (
            lambda: ops.attention(
                t(1, 2, 4, 4), t(1, 2, 3, 4), t(1, 2, 3, 4), causal=True
            ),
            "T <= S where causal, got (1, 2, 4, 4)",
        ),
    ],
    "log_softmax": [
        (
            lambda: ops.log_softmax(t(3, 0)),
            "log_softmax: needs x (..., M) with M >= 1, got (3, 0)",
        ),
        (lambda: ops.log_softmax(t()), "log_softmax: needs x (..., M) with M >= 1"),
    ],
    "cross_entropy": [
        (
            lambda: ops.cross_entropy(t(2, 5), np.zeros(3, np.int64)),
            "cross_entropy: needs logits (..., M) and targets (...), not empty, got "
            "(2, 5) and (3,)",
        ),
        (
            lambda: ops.cross_entropy(t(2, 5), np.array([0, 5])),
            "cross_entropy: targets must be in 0 .. 4, got 0 .. 5",
        ),
        (
            lambda: ops.cross_entropy(t(2, 5), np.array([-1, 4])),
            "targets must be in 0 .. 4, got -1 .. 4",
        ),
        (
            lambda: ops.cross_entropy(t(0, 5), np.zeros(0, np.int64)),
            "not empty, got (0, 5) and (0,)",
        ),
        (lambda: ops.cross_entropy(t(), 0), "got () and ()"),
    ],
    "bce_with_logits": [
        (
            lambda: ops.bce_with_logits(t(2), t(3)),
            "bce_with_logits: needs two tensors of one shape, not empty",
        )
    ],
    "dropout": [
        (
            lambda: ops.dropout(t(2, 3), t(3, dtype="bool"), 0.5),
            "dropout: kept must have shape (2, 3), got (3,)",
        )
    ],
    "max_pool2d": [
        (
            lambda: ops.max_pool2d(t(1, 2, 5, 3), 3),
            "max_pool2d: needs x (N,H,W,C) of at least size=3 >= 1, stride >= 1, "
            "got (1, 2, 5, 3), stride=3",
        ),
        (lambda: ops.max_pool2d(t(1, 5, 5, 1), 0), "at least size=0 >= 1"),
        (lambda: ops.max_pool2d(t(1, 5, 5, 1), 2, 0), "got (1, 5, 5, 1), stride=0"),
    ],
    "rotation_trick": [
        (
            lambda: ops.rotation_trick(t(2, 3), t(3, 2)),
            "rotation_trick: shapes differ, (2, 3) and (3, 2)",
        ),
        (
            lambda: ops.rotation_trick(t(), t()),
            "rotation_trick: needs z (...,D), got (",
        ),
    ],
}

DTYPES: dict[str, list[tuple[Call, str]]] = {
    "cross_entropy": [
        (
            lambda: ops.cross_entropy(t(2, 5), t(2)),
            "cross_entropy: targets must be integers, got float32",
        ),
        (
            lambda: ops.cross_entropy(t(2, 5, dtype="int64"), np.zeros(2, np.int64)),
            "cross_entropy: logits must be float32 or float64, got int64",
        ),
    ],
    "dropout": [
        (
            lambda: ops.dropout(t(2), t(2), 0.5),
            "dropout: kept must be bool, got float32",
        )
    ],
    "l2_normalize": [
        (
            lambda: ops.l2_normalize(t(2, 3, dtype="int64")),
            "l2_normalize: x must be float32 or float64, got int64",
        )
    ],
    "bce_with_logits": [
        (
            lambda: ops.bce_with_logits(t(2), t(2, dtype="int64")),
            "bce_with_logits: needs two tensors of float32 or two of float64, got",
        )
    ],
    "rotation_trick": [
        (
            lambda: ops.rotation_trick(t(2, 3), t(2, 3, dtype="float64")),
            "rotation_trick: dtypes differ, float32 and float64; convert one of them",
        )
    ],
    **{
        name: [
            (
                lambda call=call: call(t(2, 6, dtype="float64"), t(6)),
                "Normalize: dtypes differ, float64 and float32 and float32; convert",
            )
        ]
        for name, call in {
            "group_norm": lambda x, w: ops.group_norm(x, 2, w, w),
            "layer_norm": lambda x, w: ops.layer_norm(x, w, w),
            "batch_norm": lambda x, w: ops.batch_norm(x, w, w),
        }.items()
    },
    "attention": [
        (
            lambda: ops.attention(
                t(1, 1, 2, 3), t(1, 1, 2, 3, dtype="float64"), t(1, 1, 2, 3)
            ),
            "Attention: dtypes differ, float32 and float64 and float32; convert one",
        )
    ],
}

CONFIGS: dict[str, list[tuple[Call, str]]] = {
    "pad": [
        (
            lambda: ops.pad(t(2), [(1.9, 0)]),  # type: ignore[list-item]
            "pad: needs whole numbers, got before=1.9, after=0",
        )
    ],
    **{
        op.__name__: [
            (
                lambda op=op, eps=eps: op(t(2, 6), t(6), t(6), eps=eps),
                f"{op.__name__}: needs eps > 0, got {eps}",
            )
            for eps in (0.0, -1.0, float("nan"))
        ]
        for op in (ops.layer_norm, ops.batch_norm)
    },
    "leaky_relu": [
        (
            lambda slope=slope: ops.leaky_relu(t(2), slope),
            f"leaky_relu: needs 0 <= slope <= 1, got {slope}",
        )
        for slope in (-0.1, 1.5, float("nan"))
    ],
    "dropout": [
        (
            lambda p=p: ops.dropout(t(2), t(2, dtype="bool"), p),
            f"dropout: needs p in [0, 1), got {p}",
        )
        for p in (1.0, -0.5, float("nan"))
    ],
    "group_norm": [
        (
            lambda: ops.group_norm(t(2, 6), 1.5, t(6), t(6)),  # type: ignore[arg-type]
            "group_norm: needs whole numbers, got groups=1.5",
        ),
        (
            lambda: ops.group_norm(t(2, 6), 2, t(6), t(6), 0.0),
            "group_norm: needs eps > 0, got 0.0",
        ),
    ],
    "l2_normalize": [
        (lambda: ops.l2_normalize(t(2), -1.0), "l2_normalize: needs eps > 0, got -1.0")
    ],
    "max_pool2d": [
        (
            lambda: ops.max_pool2d(t(1, 5, 5, 1), 1.5),  # type: ignore[arg-type]
            "max_pool2d: needs whole numbers, got size=1.5, stride=1.5",
        )
    ],
}
